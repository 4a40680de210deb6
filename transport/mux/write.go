package mux

import (
	"io"
	"net"
	"os"

	"github.com/postern-dev/postern"
)

// inlineRounds is how many flushes a writer does itself, for everybody in turn, before the writer goroutine takes
// over. Without an end to it, one stream would serve all others for ever.
const inlineRounds = 4

// Write returns when the far end's credit has covered p and it is on its way. See postern.Stream for its errors.
func (s *Stream) Write(p []byte) (int, error) {
	s.writer.Lock()
	defer s.writer.Unlock()
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.writeError(); err != nil || len(p) == 0 {
		return 0, err
	}
	s.pending = p
	s.offer()
	c.pump(s)
	for len(s.pending) > 0 {
		if err := s.writeError(); err != nil {
			n := len(p) - len(s.pending)
			s.pending = nil
			return n, err
		}
		s.writeCond.Wait()
	}
	s.pending = nil
	return len(p), nil
}

// ReadFrom writes what r brings until its end, which it does not pass on. While r is quiet, the buffer is a small
// one. It implements io.ReaderFrom.
func (s *Stream) ReadFrom(r io.Reader) (int64, error) {
	b := &s.conn.buffers
	buf := b.get(sizes[0])
	defer func() { b.put(buf) }()
	var total int64
	for {
		n, err := r.Read(buf)
		if n > 0 {
			written, werr := s.Write(buf[:n])
			total += int64(written)
			if werr != nil {
				return total, werr
			}
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		if size := fit(n, len(buf)); size != len(buf) {
			b.put(buf)
			buf = b.get(size)
		}
	}
}

// fit returns how large the next buffer is, when n bytes came into one of the given size.
func fit(n, size int) int {
	switch {
	case n == size && size < maxData:
		return maxData
	case n <= sizes[0]:
		return sizes[0]
	}
	return size
}

// writeError is why nothing more can be written; nil while it can. c.mu is held.
func (s *Stream) writeError() error {
	switch {
	case s.closed:
		return net.ErrClosed
	case s.err != nil:
		return s.err
	case s.stopped:
		return &postern.Error{Kind: postern.Aborted, Detail: "the far end of the stream does not read any more"}
	case s.finDue:
		return net.ErrClosed
	case s.writeEnd.passed:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// pump writes to the road until what s wants to send is in frames, unless somebody else is at it already. c.mu is held.
func (c *Conn) pump(s *Stream) {
	// A deadline must be kept even when the road takes nothing, so somebody else has to wait for the road.
	inline := s.writeEnd.timer == nil
	for range inlineRounds {
		if !inline || c.flushing || !s.sendable() || !c.hasWork() {
			break
		}
		c.flush()
	}
	if !c.flushing {
		// The writer goroutine looks for what is left, or whether it is time to go.
		c.handOver()
	}
}

// handOver wakes the writer goroutine if there is something for it. c.mu is held.
func (c *Conn) handOver() {
	if c.hasWork() || c.err != nil {
		c.workCond.Signal()
	}
}
