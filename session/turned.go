package session

import (
	"context"
	"net"
	"time"

	"github.com/postern-dev/postern"
)

// Turned openings. Where the road cannot take many streams of the side that dialled (transport.Info.FewStreams), that side, a client's
// program, sends its open on the control stream; the relay connects to the target and then opens the stream itself, which begins with
// the answer. A failure is told on the control stream. It takes one round trip, as the other way round does.
//
// The functions stand in the order of an opening: ask for it, serve it (callers.go), take the stream.

// called is how a turned opening ended.
type called struct {
	stream postern.Stream
	bound  net.Addr
	err    error // no stream, and why
}

// drop breaks off a stream that nobody wants any more.
func (c called) drop() {
	if c.stream != nil {
		c.stream.Abort(postern.Aborted)
		_ = c.stream.Close() // the far end was told
	}
}

// openTurned asks the far end for a stream to req.Target and waits for it.
func (s *Session) openTurned(ctx context.Context, req *postern.Request) (postern.Stream, net.Addr, error) {
	id, answer, err := s.expect()
	if err != nil {
		return nil, nil, err
	}
	if err := s.send(&control{Type: ctlOpen, ID: id, Open: openOf(req)}); err != nil {
		s.unexpect(id, answer)
		return nil, nil, s.openFailed(err)
	}
	select {
	case c, ok := <-answer:
		if !ok {
			return nil, nil, s.openFailed(&postern.Error{Kind: postern.Aborted, Detail: "the session ended before the answer came"})
		}
		return c.stream, c.bound, c.err
	case <-ctx.Done():
	}
	if s.unexpect(id, answer) {
		// If it cannot be sent the session is over, and with it the open.
		_ = s.send(&control{Type: ctlCancel, ID: id})
	}
	return nil, nil, s.noAnswer(ctx)
}

// expect makes room for the answer to an open.
func (s *Session) expect() (id uint64, answer chan called, err error) {
	answer = make(chan called, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over != nil {
		return 0, nil, s.sessionOver()
	}
	s.nextID++
	s.asked[s.nextID] = answer
	return s.nextID, answer, nil
}

// unexpect gives an open up. It reports false if the answer has come already, which it drops.
func (s *Session) unexpect(id uint64, answer chan called) bool {
	s.mu.Lock()
	_, waits := s.asked[id]
	delete(s.asked, id)
	s.mu.Unlock()
	if !waits {
		(<-answer).drop() // or nothing, if the session has ended
	}
	return waits
}

// called hands the answer to an open to whoever waits for it.
func (s *Session) called(id uint64, c called) {
	s.mu.Lock()
	answer, waits := s.asked[id]
	delete(s.asked, id)
	s.mu.Unlock()
	if !waits {
		c.drop()
		return
	}
	answer <- c // never blocks: there is one for each
}

// takeStream reads the answer that begins a stream of the far end. An error is a breach of the wire.
func (s *Session) takeStream(stream postern.Stream) error {
	var a answer
	err := stream.SetReadDeadline(time.Now().Add(controlWrite))
	if err == nil {
		err = readMessage(stream, &a, maxOpen)
	}
	if err == nil {
		err = stream.SetReadDeadline(time.Time{})
	}
	if err == nil && a.Kind == uint8(postern.OK) {
		s.called(a.ID, called{stream: stream, bound: parseBound(a.Bound)})
		return nil
	}
	called{stream: stream}.drop()
	if postern.KindOf(err) == postern.BadCommand {
		return err
	}
	// Broken off before it began: whoever asked is told on the control stream.
	return nil
}
