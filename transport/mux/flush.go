package mux

import (
	"time"

	"github.com/postern-dev/postern"
)

// Outbound, in the order in which bytes meet the functions: Stream.Write in write.go, offer, pump (or writeLoop), flush, fill.

const (
	smallFrame = 2 << 10   // what goes before bulk
	urgentMost = 32 << 10  // how much of a flush goes before bulk, so that bulk is never starved
	flushMost  = largeRead // how much one write to the road carries
	bulkLeast  = 4 << 10   // less room than this is left to the next flush
)

// control is what the connection itself has to say. Each is a flag, so that a far end that asks much and reads nothing
// cannot make it grow.
type control struct {
	settings bool
	ping     bool
	pong     bool
	pongWith uint64
	close    bool
	kind     postern.Kind
	reason   string
}

func (k *control) due() bool { return k.settings || k.ping || k.pong || k.close }

// sendable reports whether a Write has bytes that the far end takes.
func (s *Stream) sendable() bool {
	return len(s.pending) > 0 && s.sent < s.limit && !s.finDue && s.err == nil
}

// offer puts s in the queue where its pending bytes belong; without credit it has the far end told so instead. Somebody
// has to flush after it.
func (s *Stream) offer() {
	switch {
	case len(s.pending) == 0:
	case s.sent == s.limit:
		if s.blockedAt != s.limit {
			s.blockedAt, s.blockedDue = s.limit, true
			s.queueUrgent()
		}
	case len(s.pending) <= smallFrame:
		s.queueUrgent()
	case !s.inBulk:
		s.inBulk = true
		s.conn.bulk.push(s)
	}
}

// queueUrgent puts s in the queue of those with control or small frames.
func (s *Stream) queueUrgent() {
	if !s.inUrgent {
		s.inUrgent = true
		s.conn.urgent.push(s)
	}
}

// urge has the writer goroutine send what s has to say.
func (s *Stream) urge() {
	s.queueUrgent()
	s.conn.workCond.Signal()
}

// hasWork reports whether a flush would carry anything.
func (c *Conn) hasWork() bool {
	switch {
	case c.broken != nil:
		return false
	case c.err != nil:
		return c.control.close
	}
	return c.control.due() || !c.urgent.empty() || !c.bulk.empty()
}

// writeLoop is the writer goroutine: it writes what the demultiplexer left to it and what inline writers handed over.
// It returns when the connection is over and CLOSE, if it is due, has been written.
func (c *Conn) writeLoop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for c.flushing || !c.hasWork() {
			if c.err != nil && !c.hasWork() {
				return
			}
			c.workCond.Wait()
		}
		c.flush()
	}
}

// flush puts frames together and writes them to the road in one piece. c.mu is held, but for the writing.
func (c *Conn) flush() {
	buf := c.buffers.get(flushMost)
	out := c.fill(buf[:0])
	if len(out) > 0 {
		c.flushing, c.flushSince = true, time.Now()
		c.mu.Unlock()
		_, err := c.road.Write(out)
		c.mu.Lock()
		c.flushing = false
		if err != nil {
			c.roadFull(err)
		}
	}
	c.buffers.put(buf)
}

// closeWait is how long the end of a connection may take: to tell the far end, or to hear from it what has happened.
const closeWait = time.Second

// roadFull notes that the road takes no more bytes. Often the far end has closed it and said why just before, so
// the demultiplexer gets the time to find that.
func (c *Conn) roadFull(err error) {
	if c.broken == nil {
		c.broken = err
		// If even this fails, the demultiplexer fails as well.
		_ = c.road.SetReadDeadline(time.Now().Add(closeWait))
	}
}

// fill appends frames to b, which has room for flushMost: of the connection, then control and small frames up to a
// bound, then bulk in turn.
func (c *Conn) fill(b []byte) []byte {
	b = c.fillControl(b)
	if c.err != nil {
		return b
	}
	for len(b) < urgentMost && !c.urgent.empty() {
		s := c.urgent.pop()
		s.inUrgent = false
		b = s.appendUrgent(b)
	}
	for cap(b)-len(b) >= bulkLeast && !c.bulk.empty() {
		s := c.bulk.pop()
		s.inBulk = false
		b = s.appendBulk(b)
	}
	return b
}

func (c *Conn) fillControl(b []byte) []byte {
	k := &c.control
	if c.err != nil {
		if k.close {
			b = appendClose(b, k.kind, k.reason)
			k.close = false
		}
		return b
	}
	if k.settings {
		b = appendSettings(b, settings{maxStreams: uint32(c.opts.MaxStreams), window: uint32(c.announced)})
	}
	if k.ping {
		b = appendNumber(b, typePing, 0, uint64(c.heard.Load()))
	}
	if k.pong {
		b = appendNumber(b, typePong, 0, k.pongWith)
	}
	k.settings, k.ping, k.pong = false, false, false
	return b
}

// appendUrgent appends everything of s but bulk: at most smallFrame and some headers.
func (s *Stream) appendUrgent(b []byte) []byte {
	switch {
	case s.over:
		return b
	case s.resetDue:
		return s.appendReset(b)
	}
	b = s.appendOpening(b)
	if s.creditDue {
		b = appendNumber(b, typeCredit, s.id, s.granted)
	}
	if s.blockedDue {
		b = appendNumber(b, typeBlocked, s.id, s.blockedAt)
	}
	s.creditDue, s.blockedDue = false, false
	if !s.inBulk && len(s.pending) <= smallFrame && s.sendable() {
		b = s.appendData(b, smallFrame)
	}
	if s.finDue && !s.finSent {
		b = appendNumber(b, typeFin, s.id, s.sent)
		s.finSent = true
	}
	if s.stopDue {
		b = appendHeader(b, 0, typeStop, s.id)
		s.stopDue = false
	}
	s.freeIfOver()
	return b
}

func (s *Stream) appendBulk(b []byte) []byte {
	if s.over || !s.sendable() {
		return b
	}
	b = s.appendOpening(b)
	return s.appendData(b, min(maxData, cap(b)-len(b)-headerSize))
}

// appendOpening appends OPEN if nothing of s has been sent yet. Only now it gets its number, so that numbers go up in
// the order in which they are sent.
func (s *Stream) appendOpening(b []byte) []byte {
	if s.id != 0 {
		return b
	}
	c := s.conn
	s.id = c.nextLocal
	c.nextLocal += 2
	delete(c.fresh, s)
	c.streams[s.id] = s
	return appendOpen(b, s.id, uint32(s.granted), uint32(s.limit))
}

// appendData appends a frame of up to most pending bytes.
func (s *Stream) appendData(b []byte, most int) []byte {
	n := min(len(s.pending), most)
	if left := s.limit - s.sent; uint64(n) > left {
		n = int(left)
	}
	b = appendHeader(b, n, typeData, s.id)
	b = append(b, s.pending[:n]...)
	s.pending = s.pending[n:]
	s.sent += uint64(n)
	if len(s.pending) == 0 {
		s.writeCond.Broadcast()
	}
	// What is left takes its turn behind the others.
	s.offer()
	return b
}

func (s *Stream) appendReset(b []byte) []byte {
	b = append(appendHeader(b, 1, typeReset, s.id), byte(s.resetKind))
	s.free()
	return b
}
