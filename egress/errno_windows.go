package egress

import (
	"errors"

	"golang.org/x/sys/windows"
)

// isRefused: the target, or somebody on the way, said no. A reset before the connection stands is the same.
func isRefused(err error) bool {
	return errors.Is(err, windows.WSAECONNREFUSED) || errors.Is(err, windows.WSAECONNRESET)
}

// isExhausted: the agent or its machine has no descriptors or buffers left.
func isExhausted(err error) bool {
	for _, errno := range []windows.Errno{windows.WSAEMFILE, windows.WSAENOBUFS} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// isBusy: the queue of a unix socket is full.
func isBusy(err error) bool { return errors.Is(err, windows.WSAEWOULDBLOCK) }
