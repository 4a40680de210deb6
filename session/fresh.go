package session

import (
	"context"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/backoff"
)

// Renewer makes a fresh token for an identity whose own nears its end, and the identity that goes with it. An empty token means that
// this relay cannot (it does not have the key): the session then takes nothing new once the token has expired, and ends soon after.
type Renewer func(id *postern.Identity) (token string, next *postern.Identity, err error)

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
	if !backoff.Sleep(ctx, left*2/3) {
		return "", nil, nil
	}
	return s.renew(id)
}

// expire lets nothing begin once the token is over, and a while later ends the session with what still runs. The far end is told to
// move: it may have been given a better token since.
func (s *Session) expire(ctx context.Context, id *postern.Identity) error {
	const why = "the token has expired"
	if !backoff.Sleep(ctx, time.Until(id.Expires.Add(postern.ClockLeeway))) {
		return context.Cause(ctx)
	}
	s.log.Info("the session drains", "session", s.id, "reason", why)
	if err := s.send(&control{Type: ctlDrain, Detail: why}); err != nil {
		return err
	}
	s.onDrain()
	if !backoff.Sleep(ctx, time.Until(id.Expires.Add(postern.ExpiryGrace))) {
		return context.Cause(ctx)
	}
	return &postern.Error{Kind: postern.Unauthenticated, Hop: postern.HopRelay, Detail: why}
}
