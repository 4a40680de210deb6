package quic

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// bufferHint is what an administrator can do about small buffers.
const bufferHint = "sysctl -w net.core.rmem_max=7500000 net.core.wmem_max=7500000"

// enlarge asks for socketBuffer bytes in both directions, and reports what the kernel granted if it is less.
func enlarge(udp *net.UDPConn) error {
	raw, err := udp.SyscallConn()
	if err != nil {
		return err
	}
	var sized error
	err = raw.Control(func(fd uintptr) {
		sized = errors.Join(
			enlargeOne(int(fd), "receive", unix.SO_RCVBUF, unix.SO_RCVBUFFORCE),
			enlargeOne(int(fd), "send", unix.SO_SNDBUF, unix.SO_SNDBUFFORCE),
		)
	})
	return errors.Join(err, sized)
}

// enlargeOne sizes one direction. force goes beyond the system's limit and needs CAP_NET_ADMIN (socket(7)).
func enlargeOne(fd int, direction string, option, force int) error {
	if size, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option); err == nil && size >= socketBuffer {
		return nil
	}
	// The kernel cuts the wish to its limit without an error; what counts is what it says afterwards.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, socketBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, socketBuffer)
	}
	switch size, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option); {
	case err != nil:
		return fmt.Errorf("reading the size of the %s buffer: %w", direction, err)
	case size < socketBuffer:
		return fmt.Errorf("the %s buffer has %d KiB, wanted are %d", direction, size>>10, socketBuffer>>10)
	}
	return nil
}
