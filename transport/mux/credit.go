package mux

import "github.com/postern-dev/postern"

// Credit is given per stream only: a window over the whole connection would let streams that nobody reads stop all
// others (DESIGN D2). What the connection may queue is bounded in three steps, none of which stops reading the road:
//
//   - a new stream starts with less where many are open (firstWindow),
//   - windows grow only while together they stay within half the bound, and new credit is least while the queue is half full,
//   - if the bound would be exceeded all the same, the stream with the longest queue is reset as Overloaded.

// leastWindow is what a stream's new credit shrinks to while the queue is long.
const leastWindow = 16 << 10

// firstWindow is what a new stream may send beside so many others. All of them together may fill about 60 MiB with 2,000 streams.
func (c *Conn) firstWindow(open int) int {
	w := c.opts.Window
	switch {
	case open < 64:
		return w
	case open < 256:
		return min(w, 64<<10)
	case open < 2048:
		return min(w, leastWindow)
	}
	return min(w, leastWindow/4)
}

// announce tells the far end when the first window of its next streams changes. It rises a little later than it
// falls, so that a stream that comes and goes does not make a frame each time.
func (c *Conn) announce() {
	now, later := c.firstWindow(c.remoteOpen), c.firstWindow(c.remoteOpen*4/3)
	if now < c.announced || later > c.announced {
		c.announced = now
		c.control.settings = true
		c.workCond.Signal()
	}
}

// makeRoom sees to it that n more bytes for s stay within the bound, by resetting those that hold most of what is
// queued: their readers are the farthest behind. It reports whether s is still there to take them.
func (c *Conn) makeRoom(s *Stream, n int) bool {
	for c.queued+n > c.opts.MaxQueued && s.err == nil {
		victim := s
		for _, other := range c.streams {
			if other.unread.size > victim.unread.size {
				victim = other
			}
		}
		victim.breakOff(postern.Overloaded, "too many bytes wait to be read on this connection")
	}
	return s.err == nil
}

// consume notes that n bytes were read and gives credit for them.
func (s *Stream) consume(n int) {
	c := s.conn
	s.consumed += uint64(n)
	c.queued -= n
	if c.queued > c.opts.MaxQueued/2 {
		s.setWindow(min(s.window, leastWindow))
	}
	// A quarter of the window at a time: often enough not to stop the far end, seldom enough to cost nothing.
	s.grant(s.window / 4)
}

// grant raises the credit to the window's end if that makes at least step bytes.
func (s *Stream) grant(step int) {
	end := s.consumed + uint64(s.window)
	if s.finReceived || s.closed || s.over || s.err != nil || end <= s.granted || end-s.granted < uint64(step) {
		return
	}
	s.granted = end
	s.creditDue = true
	s.urge()
}

// remoteBlocked hears that the far end had more to send than its credit. If the reader kept up, the window was
// what limits the stream, and it grows.
func (s *Stream) remoteBlocked(at uint64) {
	if at < s.grownAt || s.unread.size > s.window/2 || s.finReceived || s.closed {
		// The far end did not know the last growth, or the reader is the limit.
		return
	}
	c := s.conn
	if c.queued <= c.opts.MaxQueued/2 {
		// The more windows have grown already, the smaller a part of the rest each may still take.
		rest := (c.opts.MaxQueued/2 - c.grown) / 4
		s.setWindow(max(s.window, min(2*s.window, c.opts.MaxWindow, s.window+rest)))
	}
	s.grant(1)
	s.grownAt = s.granted
}

// setWindow changes the window and keeps the account of how much windows have grown.
func (s *Stream) setWindow(w int) {
	s.conn.grown += max(w-s.first, 0) - max(s.window-s.first, 0)
	s.window = w
}

// credit takes in up to where the far end reads.
func (s *Stream) credit(limit uint64) {
	if limit <= s.limit {
		return
	}
	s.limit = limit
	s.offer()
	s.conn.handOver()
}
