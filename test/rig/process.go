//go:build linux

package rig

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a program that runs beside the test. Its methods may be called concurrently.
type Process struct {
	Name string

	t      testing.TB
	cmd    *exec.Cmd
	output output        // both outputs
	stdout output        // standard output alone
	done   chan struct{} // closed once it has ended; cmd.ProcessState may be read then
}

// Start runs a program until the test ends. Its input is empty.
func Start(t testing.TB, program string, args ...string) *Process {
	t.Helper()
	cmd := exec.Command(program, args...)
	return StartCmd(t, program, cmd)
}

// StartCmd is Start for a command whose folder, environment or credential the caller has set.
func StartCmd(t testing.TB, name string, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Name: name, t: t, cmd: cmd, done: make(chan struct{})}
	prepare(t, cmd)
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&p.stdout, &p.output), &p.output
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	go func() {
		// How it ended is read from ProcessState by those who want to know.
		_ = cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(p.end)
	return p
}

// prepare gives a command a process group, so that what it starts can be ended with it, and a clean environment.
func prepare(t testing.TB, cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.WaitDelay = 2 * time.Second
	if cmd.Dir == "" {
		cmd.Dir = t.TempDir()
	}
	cmd.Env = append(environ(t.TempDir()), cmd.Env...)
}

// end kills the process and what it has started, waits for it and prints its output if the test has failed.
func (p *Process) end() {
	if !p.Ended() {
		p.signalGroup(syscall.SIGKILL)
	}
	<-p.done
	checkSound(p.t, p.Name, p.Output())
	if p.t.Failed() {
		p.t.Logf("%s (pid %d) wrote:\n%s", p.Name, p.Pid(), tail(p.Output(), 60))
	}
}

// checkSound fails the test if a program has panicked, or the race detector that it was built with has found something.
func checkSound(t testing.TB, name, text string) {
	t.Helper()
	for _, sign := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
		if i := strings.Index(text, sign); i >= 0 {
			t.Errorf("%s: %s", name, text[i:min(len(text), i+4000)])
		}
	}
}

func (p *Process) signalGroup(sig syscall.Signal) {
	if err := syscall.Kill(-p.Pid(), sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		p.t.Errorf("signal %v to the group of %s: %v", sig, p.Name, err)
	}
}

// Pid is the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Output is everything that the process has written so far, to both outputs.
func (p *Process) Output() string { return p.output.String() }

// Stdout is what the process has written so far to its standard output.
func (p *Process) Stdout() string { return p.stdout.String() }

// Done is closed once the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Ended reports whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Signal sends a signal to the process alone.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatalf("signal %v to %s: %v", sig, p.Name, err)
	}
}

// Kill is kill -9, and waits until the process is gone.
func (p *Process) Kill() {
	p.t.Helper()
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Exit waits for the process to end by itself and returns its exit code, -1 if a signal ended it.
func (p *Process) Exit(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		p.t.Fatalf("%s has not ended within %v", p.Name, within)
		return -1
	}
}

// Files is how many file descriptors the process holds.
func (p *Process) Files() int {
	entries, err := os.ReadDir("/proc/" + strconv.Itoa(p.Pid()) + "/fd")
	if err != nil {
		p.t.Errorf("counting the descriptors of %s: %v", p.Name, err)
	}
	return len(entries)
}

// Goroutines ends a Go program and returns how many goroutines it had: SIGQUIT makes it print all of them.
func (p *Process) Goroutines() int {
	p.t.Helper()
	before := len(p.Output())
	p.Signal(syscall.SIGQUIT)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		p.t.Fatalf("%s has not ended after SIGQUIT", p.Name)
	}
	// The first blocks, of goroutine 0 and the like, are the runtime's own.
	return strings.Count(p.Output()[before:], "\ngoroutine ")
}

// Result is how a command that ran to its end went.
type Result struct {
	Stdout, Stderr string
	Code           int // -1: ended by a signal, or it took too long
	Took           time.Duration
}

// Run runs a program to its end, at most within; then it is killed with all it has started.
func Run(t testing.TB, within time.Duration, program string, args ...string) Result {
	t.Helper()
	return RunInput(t, within, nil, program, args...)
}

// RunInput is Run with an input.
func RunInput(t testing.TB, within time.Duration, input io.Reader, program string, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	prepare(t, cmd)
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, &stdout, &stderr
	start := time.Now()
	err := cmd.Run()
	r := Result{Stdout: stdout.String(), Stderr: stderr.String(), Took: time.Since(start), Code: -1}
	if cmd.ProcessState != nil {
		r.Code = cmd.ProcessState.ExitCode()
	}
	if ctx.Err() != nil {
		r.Code = -1
		r.Stderr += "\n(killed after " + r.Took.Round(time.Millisecond).String() + ")"
	}
	checkSound(t, program, r.Stderr)
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited && ctx.Err() == nil {
		t.Fatalf("running %s: %v", program, err)
	}
	return r
}

// MustRun is Run that fails the test unless the program exits 0. It returns its output.
func MustRun(t testing.TB, within time.Duration, program string, args ...string) string {
	t.Helper()
	r := Run(t, within, program, args...)
	r.MustSucceed(t, program+" "+strings.Join(args, " "))
	return r.Stdout
}

// MustSucceed fails the test unless the exit code is 0.
func (r Result) MustSucceed(t testing.TB, what string) {
	t.Helper()
	if r.Code != 0 {
		t.Fatalf("%s\nexit code %d after %v\nstdout: %s\nstderr: %s", what, r.Code, r.Took.Round(time.Millisecond), tail(r.Stdout, 20), tail(r.Stderr, 20))
	}
}

// output gathers what a process writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// tail is the last lines of a text.
func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	if len(all) > lines {
		all = append([]string{"..."}, all[len(all)-lines:]...)
	}
	return strings.Join(all, "\n")
}
