package mux

import (
	"io"
	"net"
	"os"
)

// Read waits for bytes and returns what there is. See postern.Stream for its errors.
func (s *Stream) Read(p []byte) (int, error) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	if err := s.awaitBytes(); err != nil {
		return 0, err
	}
	if len(s.unread.list[0].unread()) > len(p) {
		n := s.unread.take(p)
		s.consume(n)
		return n, nil
	}
	k := s.unread.pop()
	c.mu.Unlock()
	n := copy(p, k.unread())
	c.buffers.put(k.buf)
	c.mu.Lock()
	s.consume(n)
	return n, nil
}

// WriteTo writes what the stream still brings to w, and returns at its clean end or with the error of either. It
// holds no memory while it waits, and gives credit only for what w has taken. It implements io.WriterTo.
func (s *Stream) WriteTo(w io.Writer) (int64, error) {
	c := s.conn
	var total int64
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := s.awaitBytes(); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
		k := s.unread.pop()
		n, err := s.pass(w, k)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
}

// pass writes k to w without c.mu, which is held before and after.
func (s *Stream) pass(w io.Writer, k chunk) (int, error) {
	c := s.conn
	c.mu.Unlock()
	size := len(k.unread())
	n, err := w.Write(k.unread())
	if err == nil && n < size {
		err = io.ErrShortWrite
	}
	c.buffers.put(k.buf)
	c.mu.Lock()
	// All of it left the queue, whatever became of it.
	s.consume(size)
	return n, err
}

// awaitBytes returns when there are bytes to read, or with why there will be none. c.mu is held.
func (s *Stream) awaitBytes() error {
	for {
		switch {
		case s.closed:
			return net.ErrClosed
		case s.err != nil:
			return s.err
		case s.readEnd.passed:
			return os.ErrDeadlineExceeded
		case s.unread.size > 0:
			return nil
		case s.finReceived:
			return io.EOF
		}
		s.readCond.Wait()
	}
}
