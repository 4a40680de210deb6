//go:build linux

package link

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// namespace is a network of its own. It has no name: it lives as long as this descriptor, or a process or socket in it.
type namespace struct{ fd int }

// newNamespace makes one. The thread that does so ends with it, so that nothing else runs there by accident.
func newNamespace() (*namespace, error) {
	type result struct {
		fd  int
		err error
	}
	made := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the runtime ends the thread with this goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- result{err: needs("make a network namespace", err, os.Geteuid())}
			return
		}
		fd, err := currentNamespace()
		made <- result{fd, err}
	}()
	r := <-made
	if r.err != nil {
		return nil, r.err
	}
	return &namespace{fd: r.fd}, nil
}

// needs puts the remedy beside an error that nearly always has the same cause.
func needs(what string, err error, euid int) error {
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%s: %w", what, err)
	}
	if euid != 0 {
		return fmt.Errorf("%s: %w; this needs root: run make test as root, or where it may use sudo", what, err)
	}
	return fmt.Errorf("%s: %w; root alone is not enough in a container: it needs --cap-add SYS_ADMIN --cap-add NET_ADMIN --device /dev/net/tun", what, err)
}

// currentNamespace opens that of the calling thread.
func currentNamespace() (int, error) {
	const file = "/proc/thread-self/ns/net"
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", file, err)
	}
	return fd, nil
}

// run calls f in the namespace, in this goroutine.
func (n *namespace) run(f func() error) (err error) {
	runtime.LockOSThread()
	home, err := currentNamespace()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() {
		defer func() { _ = unix.Close(home) }() // a descriptor that was only read
		if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
			// The thread stays locked to this goroutine, and ends with it.
			err = errors.Join(err, fmt.Errorf("return from a namespace: %w", back))
			return
		}
		runtime.UnlockOSThread()
	}()
	if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
		return needs("enter a namespace", err, os.Geteuid())
	}
	return f()
}

// command makes a command that nsenter puts in the namespace; nsenter replaces itself with the program.
func (n *namespace) command(program string, args ...string) *exec.Cmd {
	file := "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(n.fd)
	return exec.Command("nsenter", append([]string{"--net=" + file, "--", program}, args...)...)
}

func (n *namespace) close() error { return unix.Close(n.fd) }
