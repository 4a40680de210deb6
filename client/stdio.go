package client

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/postern-dev/postern"
)

// stdio makes a postern.Stream of a program's input and output, with the manners of a ProxyCommand: when the far end has
// said everything, the output is closed and the input is over too, whether or not there would be more of it.
type stdio struct {
	in  *input
	out io.Writer

	mu     sync.Mutex // guards what follows
	closed bool       // the output takes nothing more
}

func newStdio(in io.Reader, out io.Writer) (*stdio, error) {
	i, err := newInput(in)
	if err != nil {
		return nil, err
	}
	return &stdio{in: i, out: out}, nil
}

// Read reads the input.
func (s *stdio) Read(p []byte) (int, error) { return s.in.Read(p) }

// Write writes to the output. When that fails nobody reads what the far end says, so the input ends with the same error:
// a ProxyCommand whose ssh has died must not wait for its input.
func (s *stdio) Write(p []byte) (int, error) {
	n, err := s.out.Write(p)
	if err != nil {
		err = &postern.Error{Kind: postern.Aborted, Hop: postern.HopClient, Detail: "the output cannot be written", Err: err}
		s.in.stop(err)
	}
	return n, err
}

// CloseWrite closes the output, for the far end has said everything, and ends the input.
func (s *stdio) CloseWrite() error {
	s.in.stop(io.EOF)
	return s.closeOutput()
}

// Abort ends the input with an error and closes the output. What was written to it is out already.
func (s *stdio) Abort(k postern.Kind) {
	s.in.stop(&postern.Error{Kind: k, Hop: postern.HopClient})
	// The failure that led here is the one that is reported.
	_ = s.closeOutput()
}

// Close ends both. Idempotent.
func (s *stdio) Close() error {
	s.in.stop(net.ErrClosed)
	return errors.Join(s.in.release(), s.closeOutput())
}

func (s *stdio) closeOutput() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if c, ok := s.out.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// SetReadDeadline and its likes are not supported: a file may have none.
func (*stdio) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (*stdio) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (*stdio) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// LocalAddr and RemoteAddr are there for net.Conn.
func (*stdio) LocalAddr() net.Addr  { return stdioAddr{} }
func (*stdio) RemoteAddr() net.Addr { return stdioAddr{} }

type stdioAddr struct{}

func (stdioAddr) Network() string { return "stdio" }
func (stdioAddr) String() string  { return "stdio" }

var _ postern.Stream = (*stdio)(nil)
