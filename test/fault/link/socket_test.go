//go:build linux

package link_test

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// congestion is the congestion control of a connection.
func congestion(t *testing.T, c *net.TCPConn) string {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var name string
	var getErr error
	if err := raw.Control(func(fd uintptr) {
		name, getErr = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	}); err != nil || getErr != nil {
		t.Fatal(err, getErr)
	}
	return name
}
