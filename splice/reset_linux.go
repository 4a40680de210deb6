package splice

import (
	"net"

	"golang.org/x/sys/unix"
)

// wasReset reports whether a TCP connection that reads an end, and was not half-closed by us, has been reset: after a FIN it would be
// in CLOSE-WAIT, after a RST it is CLOSED (RFC 9293 §3.3.2).
func wasReset(c net.Conn) bool {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	reset := false
	err = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		reset = err == nil && info.State == unix.BPF_TCP_CLOSE
	})
	return err == nil && reset
}
