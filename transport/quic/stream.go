package quic

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/postern-dev/postern"
)

// stream is a bidirectional stream of QUIC as a postern.Stream. QUIC forgets a stream only when both of its directions have
// ended, so Close and Abort end both.
type stream struct {
	conn *conn
	quic *quic.Stream

	writing sync.Mutex // held while writing, since quic-go wants Close to come after Write

	mu       sync.Mutex
	finished bool  // nothing more may be written; guarded by mu
	over     error // why this end of the stream may not be used any more; guarded by mu
}

var _ postern.Stream = (*stream)(nil)

func newStream(c *conn, s *quic.Stream) *stream { return &stream{conn: c, quic: s} }

// Read implements postern.Stream.
func (s *stream) Read(p []byte) (int, error) {
	if err := s.usable(); err != nil {
		return 0, err
	}
	n, err := s.quic.Read(p)
	if n > 0 {
		return n, nil // quic-go repeats the error
	}
	return 0, s.readError(err)
}

// Write implements postern.Stream.
func (s *stream) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.writable(); err != nil {
		return 0, err
	}
	n, err := s.quic.Write(p)
	return n, s.writeError(err)
}

// CloseWrite implements postern.Stream.
func (s *stream) CloseWrite() error {
	s.mu.Lock()
	first := !s.finished && s.over == nil
	s.finished = true
	s.mu.Unlock()
	if first {
		s.finish()
	}
	return nil
}

// finish sends FIN after what is written already. A Write that still waits for credit is interrupted.
func (s *stream) finish() {
	// It never fails. The deadline stays: writable refuses what comes later.
	_ = s.quic.SetWriteDeadline(time.Now())
	s.writing.Lock()
	defer s.writing.Unlock()
	// It fails when the far end has asked us to stop, which makes FIN pointless, and only then.
	_ = s.quic.Close()
}

// Abort implements postern.Stream.
func (s *stream) Abort(k postern.Kind) {
	if k == postern.OK {
		k = postern.Aborted
	}
	if !s.end(&postern.Error{Kind: k, Detail: "the stream was aborted here"}) {
		return
	}
	s.quic.CancelWrite(quic.StreamErrorCode(k))
	s.quic.CancelRead(quic.StreamErrorCode(k))
}

// Close implements postern.Stream.
func (s *stream) Close() error {
	s.mu.Lock()
	finish := !s.finished
	s.mu.Unlock()
	if !s.end(net.ErrClosed) {
		return nil
	}
	// STOP_SENDING (RFC 9000 §3.5) makes the far end's Write fail.
	s.quic.CancelRead(quic.StreamErrorCode(postern.Aborted))
	if finish {
		s.finish()
	}
	return nil
}

// end notes why this end is over, and reports whether it was not before.
func (s *stream) end(why error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over != nil {
		return false
	}
	s.over, s.finished = why, true
	return true
}

// usable says why the stream cannot be used any more.
func (s *stream) usable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// writable says why nothing can be written any more.
func (s *stream) writable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over == nil && s.finished {
		return net.ErrClosed
	}
	return s.over
}

// readError says err in the module's terms; what we did ourselves comes first.
func (s *stream) readError(err error) error {
	if over := s.usable(); err != nil && over != nil {
		return over
	}
	return streamError(err)
}

// writeError is readError for the other direction.
func (s *stream) writeError(err error) error {
	if over := s.writable(); err != nil && over != nil {
		return over
	}
	return streamError(err)
}

// LocalAddr implements net.Conn.
func (s *stream) LocalAddr() net.Addr { return s.conn.info.Local }

// RemoteAddr implements net.Conn.
func (s *stream) RemoteAddr() net.Addr { return s.conn.info.Remote }

// SetDeadline implements net.Conn.
func (s *stream) SetDeadline(t time.Time) error {
	if err := s.SetReadDeadline(t); err != nil {
		return err
	}
	return s.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (s *stream) SetReadDeadline(t time.Time) error { return s.quic.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn. After CloseWrite it does nothing, or it would undo the interruption of a Write.
func (s *stream) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finished {
		return nil
	}
	return s.quic.SetWriteDeadline(t)
}

// streamError says an error of a quic-go stream in the module's terms.
func streamError(err error) error {
	switch {
	case err == nil, err == io.EOF:
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return os.ErrDeadlineExceeded
	}
	if broken, ok := errors.AsType[*quic.StreamError](err); ok {
		return &postern.Error{Kind: streamKind(uint64(broken.ErrorCode)), Detail: "the far end broke the stream off"}
	}
	failed := connError(err)
	if failed.Kind == postern.OK {
		// A connection may end well; a stream that it takes along does not.
		failed.Kind = postern.Aborted
	}
	return failed
}
