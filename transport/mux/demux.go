package mux

import (
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/postern-dev/postern"
)

// Inbound, in the order in which bytes meet the functions: readLoop, handle, handleStream, deliver, and Stream.Read or
// WriteTo in read.go.

// readLoop is the demultiplexer. It returns when the connection is over and the far end has said so too, or the road is.
func (c *Conn) readLoop() {
	defer close(c.readerDone)
	frames := newFrameReader(c.road, &c.buffers, c.hear)
	defer frames.release()
	for {
		f, err := frames.next()
		if err == nil && f.typ == typeClose {
			c.closedByRemote(f.payload)
			return
		}
		if err == nil {
			err = c.handle(f)
		}
		if err != nil && c.endReading(err) {
			// What the far end sends is no longer understood, but if the road were closed with bytes unread, TCP would
			// take the reason away from it that the writer is sending. Its end, or run, ends this.
			_, _ = io.Copy(io.Discard, c.road)
		}
		if err != nil {
			return
		}
	}
}

// hear notes a sign of life.
func (c *Conn) hear() { c.heard.Store(int64(time.Since(c.started))) }

// endReading fails the connection for an error of next or handle, and reports whether the far end is to be told.
func (c *Conn) endReading(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if fault, ok := errors.AsType[*violated](err); ok {
		return c.fail(fault.said, true)
	}
	if c.broken != nil {
		err = c.broken
	}
	return c.fail(roadBroken(err), false)
}

func roadBroken(err error) *postern.Error {
	if err == io.EOF {
		// Only CLOSE is a clean end.
		err = io.ErrUnexpectedEOF
	}
	return &postern.Error{Kind: postern.Aborted, Detail: "the connection beneath broke", Err: err}
}

// closedByRemote ends the connection with what the far end gave as reason.
func (c *Conn) closedByRemote(payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// If we were about to say the same, there is nobody left to hear it.
	c.control.close = false
	c.clean = true
	c.fail(&postern.Error{Kind: postern.Kind(payload[0]), Detail: strings.ToValidUTF8(string(payload[1:]), "?"), Err: errFarEnd}, false)
	c.workCond.Signal()
}

// handle does what a frame says. It never waits for anything.
func (c *Conn) handle(f frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil
	}
	if !c.greeted && f.typ != typeSettings {
		return violation("a %v frame before SETTINGS", f.typ)
	}
	switch f.typ {
	case typeSettings:
		return c.settle(f.payload)
	case typePing:
		// However many PINGs there are, the last one alone is answered: nothing piles up.
		c.control.pong, c.control.pongWith = true, binary.BigEndian.Uint64(f.payload)
		c.workCond.Signal()
		return nil
	case typePong:
		return nil
	case typeOpen:
		return c.openedByRemote(f)
	}
	s, ok := c.streams[f.stream]
	if !ok {
		return c.stray(f)
	}
	return s.handle(f)
}

// settle takes the far end's SETTINGS in.
func (c *Conn) settle(payload []byte) error {
	said, err := parseSettings(payload)
	if err != nil {
		return err
	}
	c.remote, c.greeted = said, true
	c.openCond.Broadcast()
	return nil
}

// stray tells a late frame of a stream that is over from one of a stream that never was.
func (c *Conn) stray(f frame) error {
	next := c.nextLocal
	if f.stream%2 == c.nextRemote%2 {
		next = c.nextRemote
	}
	if f.stream >= next {
		return violation("a %v frame on stream %d, which nobody has opened", f.typ, f.stream)
	}
	return nil
}

// openedByRemote starts a stream of the far end.
func (c *Conn) openedByRemote(f frame) error {
	granted, assumed := binary.BigEndian.Uint32(f.payload), binary.BigEndian.Uint32(f.payload[4:])
	switch {
	case f.stream != c.nextRemote:
		return violation("stream %d opened out of turn, the next is %d", f.stream, c.nextRemote)
	case c.remoteOpen >= c.opts.MaxStreams:
		return violation("more than %d streams at once", c.opts.MaxStreams)
	case int64(assumed) > int64(c.opts.Window):
		return violation("stream %d claims a window of %d bytes, at most %d were granted", f.stream, assumed, c.opts.Window)
	}
	c.nextRemote += 2
	c.remoteOpen++
	s := newStream(c, false, int(assumed), uint64(granted))
	s.id = f.stream
	c.streams[f.stream] = s
	c.trimBacklog()
	c.backlog = append(c.backlog, s)
	c.backlogCond.Signal()
	c.announce()
	return nil
}

// handle does what a frame says to this stream. c.mu is held.
func (s *Stream) handle(f frame) error {
	if s.resetDue {
		s.handleLate(f)
		return nil
	}
	switch f.typ {
	case typeData:
		return s.deliver(f.payload)
	case typeFin:
		return s.finish(binary.BigEndian.Uint64(f.payload))
	case typeCredit:
		s.credit(binary.BigEndian.Uint64(f.payload))
	case typeBlocked:
		s.remoteBlocked(binary.BigEndian.Uint64(f.payload))
	case typeReset:
		s.resetByRemote(postern.Kind(f.payload[0]))
	case typeStop:
		s.stoppedByRemote()
	default:
		return violation("a %v frame on stream %d", f.typ, f.stream)
	}
	return nil
}

// handleLate looks at what the far end sent before it could know of our RESET, which is on its way. It matters only
// whether the far end counts the stream as over already, because then it may open another one in its place.
func (s *Stream) handleLate(f frame) {
	switch f.typ {
	case typeReset:
		s.free()
	case typeFin:
		s.finReceived = true
		s.freeIfOver()
	}
}

// deliver hands bytes to whoever reads the stream. It is the one place where they pass from the road's buffer to
// their destination. c.mu is held.
func (s *Stream) deliver(p []byte) error {
	c := s.conn
	switch {
	case s.finReceived:
		return violation("bytes on stream %d after its end", s.id)
	case s.received+uint64(len(p)) > s.granted:
		return violation("stream %d has %d bytes more than its window", s.id, s.received+uint64(len(p))-s.granted)
	}
	s.received += uint64(len(p))
	if s.closed {
		// Nobody reads any more, and STOP is on its way.
		return nil
	}
	if !c.makeRoom(s, len(p)) {
		return nil
	}
	s.unread.push(p, &c.buffers)
	c.queued += len(p)
	s.readCond.Broadcast()
	return nil
}

// finish ends the direction towards us at offset total. c.mu is held.
func (s *Stream) finish(total uint64) error {
	switch {
	case s.finReceived:
		return violation("a second end of stream %d", s.id)
	case total != s.received:
		return violation("stream %d ended at %d, but %d bytes arrived", s.id, total, s.received)
	}
	s.finReceived = true
	s.setWindow(0)
	s.readCond.Broadcast()
	s.freeIfOver()
	return nil
}

// errFarEnd is the cause in errors that the far end is behind.
var errFarEnd = errors.New("said the far end")
