//go:build !unix

package client

import "syscall"

// ownerOnly does nothing: here the folder's rights protect a unix socket.
func ownerOnly(_, _ string, _ syscall.RawConn) error { return nil }
