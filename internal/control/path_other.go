//go:build !linux

package control

import "syscall"

// shorten returns path as it is: other systems have no way to a socket by descriptor.
func shorten(path string) (short string, done func(), err error) { return path, func() {}, nil }

// ownerOnly leaves it to the data folder, which is its owner's alone, and to the chmod after the socket has its name.
func ownerOnly(_, _ string, _ syscall.RawConn) error { return nil }
