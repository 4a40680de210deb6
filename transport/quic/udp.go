package quic

import (
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"syscall"
)

// socketBuffer is how many bytes quic-go wants a socket to buffer in each direction, so that bursts are not lost.
const socketBuffer = 7 << 20

// prepare sizes the buffers of pc and returns it in a form that keeps quic-go from doing so: when the system allows less,
// quic-go writes to the standard logger, while we tell the log with the remedy.
func prepare(pc net.PacketConn, log *slog.Logger) net.PacketConn {
	udp, ok := pc.(*net.UDPConn)
	if !ok {
		return sizedConn{pc}
	}
	if err := enlarge(udp); err != nil {
		log.Debug("the UDP socket's buffers are smaller than wanted, which costs speed", "err", err, "hint", bufferHint)
	}
	return &sizedUDP{UDPConn: udp}
}

// sizedConn is a PacketConn without a descriptor.
type sizedConn struct{ net.PacketConn }

// SetReadBuffer does nothing: there is nothing to size.
func (sizedConn) SetReadBuffer(int) error { return nil }

// SetWriteBuffer does nothing: there is nothing to size.
func (sizedConn) SetWriteBuffer(int) error { return nil }

// sizedUDP is a UDP socket that is sized already. quic-go first sizes the buffers and then looks for the descriptor to switch
// its optimisations on (GSO, ECN, batched reading). While it does the former there is no descriptor to be had,
// so that it believes what SetReadBuffer and SetWriteBuffer answer.
type sizedUDP struct {
	*net.UDPConn
	read, write atomic.Bool // the buffer of that direction has been asked for
}

var errSizing = errors.New("quic: the socket's buffers are sized by us")

// SetReadBuffer does nothing but note that quic-go has got that far.
func (s *sizedUDP) SetReadBuffer(int) error {
	s.read.Store(true)
	return nil
}

// SetWriteBuffer does nothing but note that quic-go has got that far.
func (s *sizedUDP) SetWriteBuffer(int) error {
	s.write.Store(true)
	return nil
}

// SyscallConn returns the descriptor once the buffers are done with.
func (s *sizedUDP) SyscallConn() (syscall.RawConn, error) {
	if !s.read.Load() || !s.write.Load() {
		return nil, errSizing
	}
	return s.UDPConn.SyscallConn()
}
