//go:build !windows

package egress

import (
	"errors"
	"syscall"
)

// isRefused: the target, or somebody on the way, said no. A reset before the connection stands is the same.
func isRefused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET)
}

// isExhausted: the agent or its machine has no descriptors or buffers left.
func isExhausted(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// isBusy: the queue of a unix socket is full, see connect(2).
func isBusy(err error) bool { return errors.Is(err, syscall.EAGAIN) }
