package mux

import (
	"errors"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/postern-dev/postern"
)

// The model: what two ends and their streams must look like after any order of calls. It is so much simpler than the
// multiplexer because it runs in a bubble, where Wait returns when nothing moves any more.

const (
	modelWindow  = 512
	modelStreams = 2 // of each end
)

// modelEnd is one end of a stream: what it wrote and what was read from it at the far end.
type modelEnd struct {
	s       *Stream
	written int           // by calls that returned, or that are in progress
	read    int           // by the other end
	writing chan struct{} // closed when the Write in progress has returned
	ended   bool          // CloseWrite or Close
	closed  bool
}

type modelStream struct {
	from    int // the Conn that opened it
	ends    [2]*modelEnd
	aborted postern.Kind // not OK: by one end
}

type model struct {
	t       *testing.T
	conns   [2]*Conn
	streams []*modelStream
}

// octet is what is written at offset i by end e.
func octet(e, i int) byte { return byte(i*7 + i>>8 + e) }

func TestAgainstTheModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(inBubble{t}, func(rt *rapid.T) {
			m := &model{t: t}
			relay, agent := conns(t, Options{Window: modelWindow, MaxWindow: 2 * modelWindow, MaxStreams: modelStreams})
			m.conns = [2]*Conn{relay, agent}
			synctest.Wait()
			rt.Repeat(map[string]func(*rapid.T){
				"open":       m.open,
				"write":      m.write,
				"read":       m.read,
				"drain":      m.drain,
				"cross":      m.cross,
				"closeWrite": m.closeWrite,
				"close":      m.close,
				"abort":      m.abort,
				"":           m.check,
			})
			m.finish(rt)
			end(relay, agent)
		})
	})
}

// inBubble is a test without Deadline, which cannot be asked for in a bubble.
type inBubble struct{ testing.TB }

func (m *model) open(rt *rapid.T) {
	from := rapid.IntRange(0, 1).Draw(rt, "from")
	count := 0
	for _, s := range m.streams {
		if s.from == from {
			count++
		}
	}
	if count == modelStreams {
		rt.Skip("as many as are allowed")
	}
	m.openFrom(from)
}

func (m *model) openFrom(from int) {
	near, far := pair(m.t, m.conns[from], m.conns[1-from])
	m.streams = append(m.streams, &modelStream{from: from, ends: [2]*modelEnd{{s: near, written: 1, read: 1}, {s: far}}})
}

// cross ends a stream from both ends before either can know of the other, and opens one in its place as soon as it may.
func (m *model) cross(rt *rapid.T) {
	s, first := m.pick(rt)
	for _, e := range []int{first, 1 - first} {
		switch end := s.ends[e].s; rapid.SampledFrom([]string{"abort", "close", "closeWrite then abort"}).Draw(rt, "how") {
		case "abort":
			end.Abort(postern.Denied)
		case "close":
			_ = end.Close()
		case "closeWrite then abort":
			_ = end.CloseWrite() // fails on an aborted stream, which is fine here
			end.Abort(postern.Denied)
		}
	}
	s.ends[0].interrupt()
	s.ends[1].interrupt()
	// A stream of which both directions had ended keeps what is unread until it is closed.
	_ = s.ends[0].s.Close()
	_ = s.ends[1].s.Close()
	s.ends[0].closed, s.ends[1].closed = true, true
	m.forget(s)
	m.openFrom(s.from)
}

// pick draws a stream and one of its ends.
func (m *model) pick(rt *rapid.T) (s *modelStream, e int) {
	if len(m.streams) == 0 {
		rt.Skip("no streams")
	}
	s = rapid.SampledFrom(m.streams).Draw(rt, "stream")
	return s, rapid.IntRange(0, 1).Draw(rt, "end")
}

func (m *model) write(rt *rapid.T) {
	s, e := m.pick(rt)
	from, to := s.ends[e], s.ends[1-e]
	n := rapid.IntRange(1, 3*modelWindow).Draw(rt, "bytes")
	p := make([]byte, n)
	for i := range p {
		p[i] = octet(e, from.written+i)
	}
	if s.aborted != postern.OK || from.ended || to.closed {
		if got, err := from.s.Write(p); got != 0 || err == nil || s.aborted != postern.OK && !from.closed && postern.KindOf(err) != s.aborted {
			rt.Fatalf("Write on a direction that is over: %d, %v; aborted as %v", got, err, s.aborted)
		}
		return
	}
	if from.writing != nil {
		select {
		case <-from.writing:
		default:
			rt.Skip("a Write is in progress")
		}
	}
	from.written += n
	done := make(chan struct{})
	from.writing = done
	go func() {
		defer close(done)
		// If the direction is ended meanwhile, this fails, as read finds out.
		_, _ = from.s.Write(p)
	}()
}

func (m *model) read(rt *rapid.T) {
	s, e := m.pick(rt)
	to, from := s.ends[e], s.ends[1-e]
	p := make([]byte, rapid.IntRange(1, 2*modelWindow).Draw(rt, "at most"))
	_ = to.s.SetReadDeadline(time.Now().Add(time.Minute))
	n, err := to.s.Read(p)
	for i := range n {
		if want := octet(1-e, from.read+i); p[i] != want {
			rt.Fatalf("byte %d is %d, want %d", from.read+i, p[i], want)
		}
	}
	from.read += n
	switch {
	case to.closed:
		want(rt, n == 0 && err != nil && err != io.EOF, "Read after Close", n, err)
	case s.aborted != postern.OK:
		want(rt, n == 0 && postern.KindOf(err) == s.aborted, "Read after Abort", n, err)
	case from.read > from.written:
		rt.Fatalf("%d bytes were read of %d", from.read, from.written)
	case n > 0:
		want(rt, err == nil, "Read of bytes", n, err)
	case from.ended:
		want(rt, err == io.EOF, "Read at the end", n, err)
	default:
		want(rt, from.read == from.written && errors.Is(err, os.ErrDeadlineExceeded), "Read of nothing", n, err)
	}
}

// drain reads everything that was written, or that a Write in progress goes on to write.
func (m *model) drain(rt *rapid.T) {
	s, e := m.pick(rt)
	to, from := s.ends[e], s.ends[1-e]
	if to.closed || s.aborted != postern.OK || from.ended {
		rt.Skip("that direction is over")
	}
	_ = to.s.SetReadDeadline(time.Now().Add(time.Minute))
	p := make([]byte, from.written-from.read)
	if n, err := io.ReadFull(to.s, p); err != nil {
		rt.Fatalf("after %d of %d bytes: %v", n, len(p), err)
	}
	for i, got := range p {
		if want := octet(1-e, from.read+i); got != want {
			rt.Fatalf("byte %d is %d, want %d", from.read+i, got, want)
		}
	}
	from.read = from.written
	from.interrupt()
	from.writing = nil
}

func want(rt *rapid.T, ok bool, what string, n int, err error) {
	if !ok {
		rt.Fatalf("%s: %d, %v", what, n, err)
	}
}

// interrupt is what ends a Write in progress: then it is open how much of it was written.
func (e *modelEnd) interrupt() {
	if e.writing != nil {
		<-e.writing
	}
}

func (m *model) closeWrite(rt *rapid.T) {
	s, e := m.pick(rt)
	err := s.ends[e].s.CloseWrite()
	if (err != nil) != (s.aborted != postern.OK && !s.ends[e].closed) {
		rt.Fatalf("CloseWrite: %v; aborted as %v", err, s.aborted)
	}
	s.ends[e].ended = true
	s.ends[e].interrupt()
}

func (m *model) close(rt *rapid.T) {
	s, e := m.pick(rt)
	if err := s.ends[e].s.Close(); err != nil {
		rt.Fatalf("Close: %v", err)
	}
	s.ends[e].ended, s.ends[e].closed = true, true
	s.ends[e].interrupt()
	// The far end's Write fails as soon as it hears of it, and nobody will read what it wrote.
	synctest.Wait()
	s.ends[1-e].interrupt()
	m.forget(s)
}

func (m *model) abort(rt *rapid.T) {
	s, e := m.pick(rt)
	k := rapid.SampledFrom(postern.Kinds()).Draw(rt, "kind")
	over := s.ends[e].s.over
	s.ends[e].s.Abort(k)
	synctest.Wait()
	if s.ends[e].closed || s.aborted != postern.OK {
		return // no-op
	}
	if over {
		// Both directions had ended; only this end forgets what it has not read.
		_ = s.ends[e].s.Close()
		s.ends[e].closed = true
		m.forget(s)
		return
	}
	s.aborted = k
	s.ends[0].interrupt()
	s.ends[1].interrupt()
	m.forget(s)
}

// forget drops a stream of which both ends are closed.
func (m *model) forget(s *modelStream) {
	for i, other := range m.streams {
		if other == s && s.ends[0].closed && s.ends[1].closed {
			m.streams = append(m.streams[:i], m.streams[i+1:]...)
			return
		}
	}
}

// check compares what the ends keep with what they may.
func (m *model) check(rt *rapid.T) {
	synctest.Wait()
	for i := range m.conns {
		m.checkEnd(rt, i)
	}
}

func (m *model) checkEnd(rt *rapid.T, i int) {
	c := m.conns[i]
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		rt.Fatalf("end %d is over: %v", i, c.err)
	}
	queued, grown := 0, 0
	for _, s := range m.streams {
		for _, e := range s.ends {
			if e.s.conn == c {
				queued += e.s.unread.size
				grown += max(e.s.window-e.s.first, 0)
				want(rt, e.s.unread.size <= 2*modelWindow, "a stream's queue", e.s.unread.size, nil)
			}
		}
	}
	want(rt, queued == c.queued, "queued in all", c.queued, nil)
	want(rt, grown == c.grown, "grown in all", c.grown, nil)
	want(rt, c.localOpen == m.conns[1-i].remoteOpen, "streams counted by the opener", c.localOpen, nil)
}

// finish closes everything and checks that nothing is left.
func (m *model) finish(rt *rapid.T) {
	for _, s := range m.streams {
		_ = s.ends[0].s.Close()
		_ = s.ends[1].s.Close()
	}
	synctest.Wait()
	for i := range m.conns {
		m.checkEmpty(rt, i)
	}
}

func (m *model) checkEmpty(rt *rapid.T, i int) {
	c := m.conns[i]
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.streams)+len(c.fresh)+c.localOpen+c.remoteOpen+c.queued+c.grown != 0 {
		rt.Fatalf("end %d keeps %d streams, %d and %d counted, %d bytes, windows grown by %d",
			i, len(c.streams), c.localOpen, c.remoteOpen, c.queued, c.grown)
	}
}
