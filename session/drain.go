package session

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-dev/postern"
)

// waitGroup is sync.WaitGroup.
type waitGroup = sync.WaitGroup

// counter counts a stream's bytes until it is closed.
type counter struct {
	sent, received atomic.Int64
	closed         atomic.Bool
}

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

// Renewer makes a fresh token for an identity whose own nears its end, and the identity that goes with it. An empty token means that
// this relay cannot (it does not have the key): the session then ends a minute after the token does.
type Renewer func(id *postern.Identity) (token string, next *postern.Identity, err error)

// graceAfterExpiry is how long a session outlives its token (PROMISES P-8).
const graceAfterExpiry = time.Minute

// keepFresh sends the agent a fresh token at two thirds of the life of the one it has, and ends sessions whose token has expired.
// On the dialling side, and for identities that never expire, it only waits.
func (s *Session) keepFresh(ctx context.Context) error {
	for {
		id := s.Identity()
		if id == nil || id.Expires.IsZero() {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		left := time.Until(id.Expires)
		token, next, err := s.fresh(ctx, id, left)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil || token == "" {
			if err != nil {
				s.log.Error("a fresh token could not be made", "error", err)
			}
			return s.expire(ctx, id)
		}
		if err := s.send(&control{Type: ctlToken, Token: token}); err != nil {
			return err
		}
		s.mu.Lock()
		s.identity = next
		s.mu.Unlock()
		s.log.Info("sent a fresh token", "expires", next.Expires.UTC().Format(time.RFC3339))
	}
}

// fresh waits for two thirds of what is left of the token's life and makes the next one.
func (s *Session) fresh(ctx context.Context, id *postern.Identity, left time.Duration) (string, *postern.Identity, error) {
	if s.renew == nil || s.agent == "" {
		return "", nil, nil
	}
	if !sleep(ctx, left*2/3) {
		return "", nil, nil
	}
	return s.renew(id)
}

// expire waits until the token is over and a while longer, then ends the session.
func (s *Session) expire(ctx context.Context, id *postern.Identity) error {
	if !sleep(ctx, time.Until(id.Expires)+graceAfterExpiry) {
		return context.Cause(ctx)
	}
	return &postern.Error{Kind: postern.Unauthenticated, Hop: postern.HopRelay, Detail: "the token has expired"}
}

// sleep waits for d, or reports that ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
