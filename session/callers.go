package session

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/transport"
)

// callers are the turned openings (turned.go) of a session on the side that is asked for them.
type callers struct {
	session *Session
	running sync.WaitGroup

	mu      sync.Mutex
	cancels map[uint64]context.CancelCauseFunc // by id, for every stream from its open to its end; guarded by mu
}

func newCallers(s *Session) *callers {
	return &callers{session: s, cancels: make(map[uint64]context.CancelCauseFunc)}
}

// errWithdrawn is why an open ends that nobody waits for any more.
var errWithdrawn = &postern.Error{Kind: postern.Aborted, Hop: postern.HopClient, Detail: "the open was withdrawn"}

// open starts to serve an open. It does not wait for the target. An error is a breach of the wire.
func (c *callers) open(ctx context.Context, m control) error {
	s := c.session
	if s.dialled || s.serve.Opener == nil || m.Open == nil {
		return &postern.Error{Kind: postern.BadCommand, Hop: s.far(), Detail: "the other side asked for a stream, which is not its part"}
	}
	opening, cancel := context.WithCancelCause(ctx)
	if err := c.enter(m.ID, cancel); err != nil {
		cancel(nil)
		if postern.KindOf(err) == postern.Limited {
			return s.send(refusalOf(m.ID, err, s.serve.Side))
		}
		return err
	}
	c.running.Go(func() {
		defer c.leave(m.ID)
		defer cancel(nil)
		s.serveCaller(ctx, opening, m)
	})
	return nil
}

func (c *callers) enter(id uint64, cancel context.CancelCauseFunc) error {
	most := c.session.serve.MaxStreams
	if most == 0 {
		most = transport.DefaultMaxStreams
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, twice := c.cancels[id]; twice {
		return postern.Errorf(postern.BadCommand, c.session.far(), "the id %d is in use", id)
	}
	if len(c.cancels) >= most {
		return postern.Errorf(postern.Limited, c.session.serve.Side, "all %d streams that a session may have are open", most)
	}
	c.cancels[id] = cancel
	return nil
}

func (c *callers) leave(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.cancels, id)
}

// cancel ends an open that has not been answered yet. A stream that was opened is ended by whoever gets it.
func (c *callers) cancel(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cancel, ok := c.cancels[id]; ok {
		cancel(errWithdrawn)
	}
}

// serveCaller answers an open and joins the stream that it leads to with its target. ctx ends with the session, opening when the
// far end gives the open up.
func (s *Session) serveCaller(ctx, opening context.Context, m control) {
	start := time.Now()
	req, stream, target, err := s.callBack(opening, m)
	if err == nil {
		s.join(ctx, start, req, stream, target)
		return
	}
	s.logRefused(req, start, err)
	if opening.Err() != nil {
		return // nobody waits for an answer
	}
	// If it cannot be sent the session is over.
	_ = s.send(refusalOf(m.ID, err, s.serve.Side))
}

// callBack connects to the target of an open and then opens the stream that begins with the answer. Without an error the
// stream has been counted in.
func (s *Session) callBack(ctx context.Context, m control) (req *postern.Request, stream, target postern.Stream, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.openTimeout())
	defer cancel()
	if req, err = m.Open.request(); err != nil {
		return nil, nil, nil, err
	}
	if target, err = s.connect(ctx, req); err != nil {
		return req, nil, nil, err
	}
	if stream, err = s.conn.OpenStream(ctx); err == nil {
		if err = sendAnswer(ctx, stream, &answer{ID: m.ID, Bound: boundOf(target)}); err == nil {
			return req, stream, target, nil
		}
		called{stream: stream}.drop()
	}
	called{stream: target}.drop()
	s.end(0, 0)
	return req, nil, nil, err
}

// refusalOf tells the far end why there is no stream.
func refusalOf(id uint64, err error, here postern.Hop) *control {
	a := answerTo(err, here)
	return &control{Type: ctlRefused, ID: id, Kind: a.Kind, Detail: a.Detail, Hop: a.Hop}
}

// refusal is what refusalOf says, as an error.
func refusal(m control) error {
	if err := errorFromWire(m.Kind, m.Hop, m.Detail); err != nil {
		return err
	}
	return errors.New("session: the far end refused a stream and gave no reason")
}
