package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth/jwt"
	"github.com/postern-dev/postern/internal/backoff"
	"github.com/postern-dev/postern/session"
)

// Waits that are not the backoff's.
const (
	// stable is how long a session must have lasted for the next outage to count as a new one (PROMISES P-22).
	stable = 30 * time.Second
	// afterReplaced keeps two agents with one credential from throwing each other out more than a few times a minute.
	afterReplaced = 30 * time.Second
	// conflictGrace is longer than a ghost of ours can live at the relay. Within it a conflict is tried again this often, so that whoever
	// was killed and started anew, and has no credential to show that it is the same, is let in as soon as the ghost is gone.
	conflictGrace = 12 * time.Second
	conflictWait  = time.Second
	// afterRefused is for a credential that was good and is so no more. A relay turns away addresses from which wrong ones come
	// all the time, and others may live there (PROMISES P-11).
	afterRefused = 30 * time.Second
	// dialTimeout bounds one try: transports and hello.
	dialTimeout = 15 * time.Second
)

// keepConnected dials, serves and dials again until ctx ends. A session that drains is served beside its successor.
func (a *Agent) keepConnected(ctx context.Context) error {
	var links sync.WaitGroup
	defer links.Wait()
	o := outage{log: a.log, began: time.Now()}
	for {
		l, err := a.connect(ctx)
		if err == nil {
			gone := make(chan error, 1)
			links.Go(func() { l.serve(ctx, gone) })
			began := time.Now()
			err = <-gone
			o.served(time.Since(began), err)
		}
		if ctx.Err() != nil {
			return nil
		}
		if o.final(err) {
			return err
		}
		if !backoff.Sleep(ctx, o.wait(err)) {
			return nil
		}
	}
}

// outage is what the agent knows of its tries since it was last connected.
type outage struct {
	log     interface{ Warn(msg string, args ...any) }
	began   time.Time
	ever    bool // there was a session, with all its ports
	backoff backoff.Backoff
}

// served notes that a session has served for so long, and why a successor is needed.
func (o *outage) served(lasted time.Duration, err error) {
	// A session without its public port serves nobody: the relay's word on the first port is as final as that on the first hello.
	o.ever = o.ever || !errors.Is(err, errPort)
	if lasted > stable {
		o.backoff.Reset()
	}
}

// final reports whether err is an answer that trying again does not change: a refusal of the first hello or of the first port.
func (o *outage) final(err error) bool {
	if o.ever {
		return false
	}
	switch postern.KindOf(err) {
	case postern.Unauthenticated, postern.BadCommand, postern.Denied:
		return true
	case postern.Conflict:
		return errors.Is(err, errPort) || time.Since(o.began) > conflictGrace
	}
	return false
}

// wait says what happened and returns how long to wait before the next try.
func (o *outage) wait(err error) time.Duration {
	if errors.Is(err, errMoved) {
		return 0
	}
	d := o.backoff.Next()
	switch kind := postern.KindOf(err); {
	case errors.Is(err, errReplaced):
		d = afterReplaced
	case kind == postern.Conflict && !o.ever:
		d = min(d, conflictWait)
	case kind == postern.Unauthenticated:
		d += afterRefused
	}
	o.log.Warn("not connected", "error", err.Error(), "kind", postern.KindOf(err).String(), "retry", d.Round(time.Millisecond).String())
	return d
}

// connect tries the relay's addresses in order and returns a link over the first session.
func (a *Agent) connect(ctx context.Context) (*link, error) {
	var told error
	for _, addr := range a.relays {
		l, err := a.connectTo(ctx, addr)
		if err == nil {
			return l, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		a.log.Debug("relay not reached", "relay", addr, "error", err.Error())
		// What a relay answered tells more than that another address did not.
		if k := postern.KindOf(err); told == nil || k == postern.Unauthenticated || k == postern.Conflict {
			told = err
		}
	}
	return nil, told
}

// connectTo dials one address and says hello.
func (a *Agent) connectTo(ctx context.Context, addr string) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	shown, err := a.tokens.current()
	if err != nil {
		return nil, err
	}
	conn, err := a.ladder.Dial(ctx, addr)
	if err != nil {
		return nil, relayError(addr, err)
	}
	l := &link{agent: a, addr: addr, moved: make(chan struct{})}
	l.Session, err = session.Connect(ctx, conn, session.ConnectOptions{
		Role: postern.RoleAgent, Token: shown.token, Agent: a.claim(shown.token), Instance: a.instance,
		Software: "postern/" + a.opts.Version, Scope: a.scope(), Services: a.services,
		Serving: session.Serving{Opener: a.egress, Side: postern.HopAgent},
		OnToken: func(token string) { a.tokens.renewed(credential{token, shown.file}) },
		OnDrain: sync.OnceFunc(func() { close(l.moved) }),
		Log:     a.log,
	})
	if err != nil {
		return nil, relayError(addr, err)
	}
	return l, nil
}

// claim is the id for a relay with auth none, which does not look at the token: agent-id, else whose token it is, so that a
// join string is enough there too.
func (a *Agent) claim(token string) postern.AgentID {
	claims, err := jwt.Peek(token)
	if a.claimed != "" || err != nil {
		return a.claimed
	}
	return claims.AgentID
}

func (a *Agent) scope() session.Scope {
	if len(a.exposed) > 0 {
		return session.TunnelsOnly
	}
	return session.General
}

// relayError names the relay in an error of reaching it.
func relayError(addr string, err error) error {
	return postern.Errorf(postern.KindOf(err), postern.HopOf(err, postern.HopRelay), "relay %s: %w", addr, err)
}
