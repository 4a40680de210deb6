package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/session"
	"github.com/postern-dev/postern/transport"
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

// dial returns the first session that a relay grants, for l. The relay of the session before is tried first, then the others in order.
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
	search := transport.NewSearch(c.options.Transports, append(slices.Clone(c.good), c.options.Relays...), nil)
	for {
		conn, relay, err := search.Next(ctx)
		if err != nil {
			break
		}
		s, err := c.hello(ctx, conn, l, token)
		if err == nil {
			c.good = []string{relay}
			return s, nil
		}
		search.Fail(relay, err)
	}
	if ctx.Err() != nil {
		return nil, errEnded
	}
	err := noRelay(search.Failures())
	if postern.KindOf(err) == postern.Unauthenticated {
		c.refused = refused{token: token, until: time.Now().Add(notAgain), err: err}
	}
	return nil, err
}

// noRelay makes one *Error of why each relay failed. One that answered and refused us tells more than one that could not be
// reached, so its kind is taken.
func noRelay(failed []transport.Failure) *postern.Error {
	kind := postern.Unreachable
	var errs []error
	for _, f := range failed {
		err := onTheWay(f.Err)
		errs = append(errs, fmt.Errorf("the relay %s: %w", f.Addr, err))
		if k := postern.KindOf(err); k != postern.Unreachable && kind == postern.Unreachable {
			kind = k
		}
	}
	err := errs[0]
	if len(errs) > 1 {
		err = errors.Join(errs...)
	}
	return postern.Errorf(kind, postern.HopRelay, "%w", err)
}

// hello makes a session of a connection.
func (c *Client) hello(ctx context.Context, conn transport.Conn, l *link, token string) (*session.Session, error) {
	return session.Connect(ctx, conn, session.ConnectOptions{
		Role:     postern.RoleClient,
		Token:    token,
		Instance: c.options.Instance,
		Software: c.options.Software,
		OnDrain:  func() { c.retire(l) },
		Log:      c.options.Log,
	})
}

// onTheWay makes Unreachable of every failure to reach a relay: that a relay's port is closed must not look as if a target's was.
func onTheWay(err error) error {
	switch postern.KindOf(err) {
	case postern.Refused, postern.NameNotFound, postern.Timeout, postern.Aborted, postern.Internal:
		return postern.Errorf(postern.Unreachable, postern.HopRelay, "%w", err)
	}
	return err
}
