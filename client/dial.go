package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/session"
)

// refused is a credential that no relay would take.
type refused struct {
	token string
	until time.Time // until then it is not shown again
	err   error
}

// notAgain is how long a refused credential is not shown. A program with an expired one and much to do would otherwise have the relay turn
// away everybody at its address (PROMISES P-11).
const notAgain = 15 * time.Second

// dial tries the relays in order and returns the first session it gets, for l.
func (c *Client) dial(ctx context.Context, l *link) (*session.Session, error) {
	token := ""
	if c.options.Token != nil {
		var err error
		if token, err = c.options.Token(); err != nil {
			return nil, postern.Errorf(postern.Unauthenticated, postern.HopClient, "reading the token: %w", err)
		}
	}
	if c.refused.token == token && time.Now().Before(c.refused.until) {
		return nil, c.refused.err
	}
	var failed []error
	for _, relay := range c.options.Relays {
		s, err := c.dialRelay(ctx, l, relay, token)
		if err == nil {
			return s, nil
		}
		failed = append(failed, fmt.Errorf("the relay %s: %w", relay, err))
		if ctx.Err() != nil {
			return nil, errEnded
		}
	}
	err := noRelay(failed)
	if postern.KindOf(err) == postern.Unauthenticated {
		c.refused = refused{token: token, until: time.Now().Add(notAgain), err: err}
	}
	return nil, err
}

// noRelay makes one *Error of why each relay failed. One that answered and refused us tells more than one that could not be
// reached, so its kind is taken.
func noRelay(failed []error) *postern.Error {
	kind := postern.Unreachable
	for _, err := range failed {
		if k := postern.KindOf(err); k != postern.Unreachable {
			kind = k
			break
		}
	}
	err := failed[0]
	if len(failed) > 1 {
		err = errors.Join(failed...)
	}
	return postern.Errorf(kind, postern.HopRelay, "%w", err)
}

func (c *Client) dialRelay(ctx context.Context, l *link, relay, token string) (*session.Session, error) {
	conn, err := c.options.Transports.Dial(ctx, relay)
	if err != nil {
		return nil, onTheWay(err)
	}
	s, err := session.Connect(ctx, conn, session.ConnectOptions{
		Role:     postern.RoleClient,
		Token:    token,
		Instance: c.options.Instance,
		Software: c.options.Software,
		OnDrain:  func() { c.retire(l) },
		Log:      c.options.Log,
	})
	if err != nil {
		return nil, onTheWay(err)
	}
	return s, nil
}

// onTheWay makes Unreachable of every failure to reach a relay: that a relay's port is closed must not look as if a target's was.
func onTheWay(err error) error {
	switch postern.KindOf(err) {
	case postern.Refused, postern.NameNotFound, postern.Timeout, postern.Aborted, postern.Internal:
		return postern.Errorf(postern.Unreachable, postern.HopRelay, "%w", err)
	}
	return err
}
