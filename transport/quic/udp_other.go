//go:build !linux

package quic

import (
	"errors"
	"net"
)

// bufferHint is what an administrator can do about small buffers.
const bufferHint = "raise the system's limit of socket buffers (kern.ipc.maxsockbuf on BSD and macOS)"

// enlarge asks for socketBuffer bytes in both directions.
func enlarge(udp *net.UDPConn) error {
	return errors.Join(udp.SetReadBuffer(socketBuffer), udp.SetWriteBuffer(socketBuffer))
}
