package testnet

import (
	"net"
	"sync"
	"time"

	"github.com/postern-dev/postern"
)

// stream is one end of a pipe: it reads from in and writes to out.
type stream struct {
	in, out       *half
	local, remote net.Addr

	mu    sync.Mutex
	ended bool // Close or Abort was called; guarded by mu
}

var _ postern.Stream = (*stream)(nil)

// Read implements net.Conn.
func (s *stream) Read(p []byte) (int, error) { return s.in.read(p) }

// Write implements net.Conn.
func (s *stream) Write(p []byte) (int, error) { return s.out.write(p) }

// CloseWrite implements postern.Stream.
func (s *stream) CloseWrite() error {
	s.out.set(func() { s.out.fin = true })
	return nil
}

// Abort implements postern.Stream.
func (s *stream) Abort(k postern.Kind) {
	if !s.end() {
		return
	}
	err := &postern.Error{Kind: k, Detail: "the stream was aborted: " + k.Sentence()}
	s.in.breakOff(err)
	s.out.breakOff(err)
}

// Close implements postern.Stream.
func (s *stream) Close() error {
	s.end()
	s.out.set(func() { s.out.fin, s.out.writerGone = true, true })
	s.in.set(func() { s.in.readerGone, s.in.buf = true, nil })
	return nil
}

// end reports whether this is the first call that ends the stream.
func (s *stream) end() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.ended
	s.ended = true
	return first
}

// LocalAddr implements net.Conn.
func (s *stream) LocalAddr() net.Addr { return s.local }

// RemoteAddr implements net.Conn.
func (s *stream) RemoteAddr() net.Addr { return s.remote }

// SetDeadline implements net.Conn.
func (s *stream) SetDeadline(t time.Time) error {
	// Neither of the two ever fails.
	_ = s.SetReadDeadline(t)
	return s.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (s *stream) SetReadDeadline(t time.Time) error {
	s.in.set(func() { s.in.readDeadline = t })
	return nil
}

// SetWriteDeadline implements net.Conn.
func (s *stream) SetWriteDeadline(t time.Time) error {
	s.out.set(func() { s.out.writeDeadline = t })
	return nil
}
