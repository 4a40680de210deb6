//go:build linux

package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/postern-dev/postern/test/bench/usage"
)

// process is a program that runs in the background. What it writes is kept in a file of the site, as a service manager does.
type process struct {
	name   string
	cmd    *exec.Cmd
	stdout string // file
	stderr string // file
	ended  chan struct{}
}

// run starts a program.
func (s *Site) run(h Host, name, program string, args ...string) (*process, error) {
	return s.runWith(h, name, nil, program, args...)
}

// runWith is run with additions to the environment.
func (s *Site) runWith(h Host, name string, env []string, program string, args ...string) (*process, error) {
	path, err := look(program)
	if err != nil {
		return nil, err
	}
	p := &process{
		name: name, cmd: h.Command(path, args...), ended: make(chan struct{}),
		stdout: filepath.Join(s.Dir, name+".out"), stderr: filepath.Join(s.Dir, name+".err"),
	}
	stdout, err := os.Create(p.stdout)
	if err != nil {
		return nil, err
	}
	defer func() { _ = stdout.Close() }() // the process has its own
	stderr, err := os.Create(p.stderr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = stderr.Close() }() // the same
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir = stdout, stderr, s.Dir
	p.cmd.Env = append(environ(s.Dir), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is told by whoever misses it
		close(p.ended)
	}()
	return p, nil
}

// environ is this process's environment without what changes how programs behave.
func environ(home string) []string {
	var out []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if upper := strings.ToUpper(name); !strings.HasPrefix(upper, "POSTERN_") && !strings.HasSuffix(upper, "_PROXY") && upper != "HOME" {
			out = append(out, kv)
		}
	}
	return append(out, "HOME="+home)
}

// until asks every few milliseconds until something is the case, while the process lives.
func (p *process) until(ctx context.Context, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return fmt.Errorf("%s ended before it %s: %s", p.name, what, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s: that it %s was waited for in vain: %s", p.name, what, p.tail())
		}
	}
}

// line waits for a whole line of its standard output.
func (p *process) line(ctx context.Context) (line string, err error) {
	err = p.until(ctx, "writes a line", func() (bool, error) {
		text, err := os.ReadFile(p.stdout)
		first, _, whole := strings.Cut(string(text), "\n")
		line = first
		return whole, err
	})
	return line, err
}

// tail is the end of what it wrote.
func (p *process) tail() string {
	var all []byte
	for _, file := range []string{p.stdout, p.stderr} {
		text, err := os.ReadFile(file)
		if err != nil {
			text = []byte(err.Error())
		}
		all = append(all, text[max(0, len(text)-600):]...)
	}
	return strings.Join(strings.Fields(string(bytes.ToValidUTF8(all, nil))), " ")
}

// stop kills the process and all that descend from it. Nothing of a tunnel is worth being kept.
func (p *process) stop() error {
	tree, err := usage.Tree(p.cmd.Process.Pid)
	errs := []error{err}
	select {
	case <-p.ended:
		return nil // and whoever it started had the time to notice
	default:
	}
	for _, pid := range tree {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("end process %d of %s: %w", pid, p.name, err))
		}
	}
	<-p.ended
	return errors.Join(errs...)
}

// firstLine runs a program to its end and returns the first line that it writes, to either output.
func firstLine(cmd *exec.Cmd) (string, error) {
	out, err := cmd.CombinedOutput()
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, first)
	}
	return first, nil
}
