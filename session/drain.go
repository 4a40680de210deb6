package session

import "context"

// Drain tells the far end to open nothing more and to finish what it has, takes nothing new itself, and returns when neither end
// has a stream left (what one end has sent, the other may have yet to pass on), the session is over, or ctx ends. The session goes
// on; Close it afterwards.
func (s *Session) Drain(ctx context.Context, reason string) error {
	err := s.send(&control{Type: ctlDrain, Detail: reason})
	s.stopOpening()
	if err != nil {
		return err
	}
	for _, drained := range []<-chan struct{}{s.drained, s.farDrained} {
		select {
		case <-drained:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// stopOpening makes Open fail with Draining and refuses further streams of the far end.
func (s *Session) stopOpening() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining, s.finishing = true, true
	s.noteDrained()
}

// finish notes that the far end drains. Streams that it opened before it said so may still come.
func (s *Session) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finishing = true
	s.noteDrained()
}

// noteDrained closes drained once. mu is held.
func (s *Session) noteDrained() {
	if s.finishing && s.streams == 0 {
		closeOnce(s.drained)
	}
}

// noteFarDrained closes farDrained once.
func (s *Session) noteFarDrained() {
	s.mu.Lock()
	defer s.mu.Unlock()
	closeOnce(s.farDrained)
}

// closeOnce closes ch unless it is closed. A mutex is held.
func closeOnce(ch chan struct{}) {
	select {
	case <-ch:
	default:
		close(ch)
	}
}

// sayDrained tells the far end when one of the two drains and no stream is left here.
func (s *Session) sayDrained(ctx context.Context) error {
	select {
	case <-s.drained:
		if err := s.send(&control{Type: ctlDrained}); err != nil {
			return err
		}
	case <-ctx.Done():
	}
	<-ctx.Done()
	return context.Cause(ctx)
}
