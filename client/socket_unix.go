//go:build unix

package client

import "syscall"

// ownerOnly sets the mode of a unix socket before it is bound, so that it is never open to others. Linux takes it over
// for the file; elsewhere it may fail or do nothing, and the chmod that follows has to do.
func ownerOnly(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) })
}
