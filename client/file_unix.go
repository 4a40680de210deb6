//go:build unix

package client

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// waitForFile makes in read f only when poll(2) says that it will not wait. The descriptor stays as it is: setting
// O_NONBLOCK would set it for the shell that shares the terminal with us, too.
func (in *input) waitForFile(f *os.File) error {
	wakeRead, wakeWrite, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("preparing to read the input: %w", err)
	}
	// Taken once: Fd must not be called on a file that is being closed.
	file, wake := int32(f.Fd()), int32(wakeRead.Fd())
	in.read = func(p []byte) (int, error) {
		woken, err := pollInput(file, wake)
		if woken || err != nil {
			return 0, err
		}
		return f.Read(p)
	}
	// Closing it makes the pipe's other end ready, which is all that a Read waits for.
	in.interrupt = func() { _ = wakeWrite.Close() }
	in.release = sync.OnceValue(wakeRead.Close)
	return nil
}

// pollInput waits until file can be read, or has ended, or wake is closed at its other end.
func pollInput(file, wake int32) (woken bool, err error) {
	for {
		fds := []unix.PollFd{{Fd: file, Events: unix.POLLIN}, {Fd: wake, Events: unix.POLLIN}}
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case err != nil:
			return false, fmt.Errorf("waiting for the input: %w", err)
		}
		// Whatever else poll says of the file (POLLHUP, POLLERR, POLLNVAL) its Read says better.
		return fds[1].Revents != 0, nil
	}
}
