package mux

import "github.com/postern-dev/postern"

// CloseWrite says that nothing more will be written. A Write in progress fails. After Close it does nothing.
func (s *Stream) CloseWrite() error {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	switch {
	case s.closed:
		return nil
	case s.err != nil:
		return s.err
	}
	s.endWriting()
	return nil
}

// endWriting has FIN sent. c.mu is held, as in all functions below.
func (s *Stream) endWriting() {
	if !s.finDue {
		s.finDue = true
		s.writeCond.Broadcast()
		s.urge()
	}
}

// Close frees the stream: the far end reads what was written and a clean end, and its writes fail.
func (s *Stream) Close() error {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.readEnd.stop()
	s.writeEnd.stop()
	s.discard()
	s.wake()
	if s.err == nil && !s.over {
		s.stopDue = !s.finReceived
		s.endWriting()
		s.urge()
	}
	return nil
}

// Abort ends both directions so that the far end sees a failure of kind k.
func (s *Stream) Abort(k postern.Kind) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.closed || s.err != nil {
		return
	}
	s.breakOff(k, "the stream was broken off at this end")
}

// breakOff has RESET sent, unless both directions have ended already, and fails this end.
func (s *Stream) breakOff(k postern.Kind, detail string) {
	if k == postern.OK {
		k = postern.Aborted
	}
	s.failWith(&postern.Error{Kind: k, Detail: detail})
	switch {
	case s.over:
	case s.id == 0:
		// The far end has not heard of it.
		s.free()
	default:
		s.resetDue, s.resetKind = true, k
		s.urge()
	}
}

// resetByRemote is the far end's Abort.
func (s *Stream) resetByRemote(k postern.Kind) {
	if k == postern.OK {
		k = postern.Aborted
	}
	s.failWith(&postern.Error{Kind: k, Err: errFarEnd})
	s.free()
}

// stoppedByRemote hears that the far end does not read any more, so nothing more is sent.
func (s *Stream) stoppedByRemote() {
	s.stopped = true
	s.writeCond.Broadcast()
	s.endWriting()
}

// failWith makes Read and Write fail with err and throws away what was not read.
func (s *Stream) failWith(err error) {
	s.err = err
	s.discard()
	s.wake()
}

func (s *Stream) discard() {
	s.conn.queued -= s.unread.drop(&s.conn.buffers)
	s.setWindow(0)
}

// freeIfOver frees the stream's number when both ends have said FIN. What was received can still be read.
func (s *Stream) freeIfOver() {
	if s.finSent && s.finReceived {
		s.free()
	}
}

// free forgets the stream, of which the far end wants to hear no more.
func (s *Stream) free() {
	if s.over {
		return
	}
	s.over = true
	c := s.conn
	delete(c.streams, s.id)
	delete(c.fresh, s)
	s.setWindow(0)
	if s.local {
		c.localOpen--
		c.openCond.Signal()
	} else {
		c.remoteOpen--
		c.announce()
	}
}
