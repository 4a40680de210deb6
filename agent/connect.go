package agent

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth/jwt"
	"github.com/postern-dev/postern/session"
	"github.com/postern-dev/postern/transport"
)

// dialTimeout bounds one try of all transports, and the opening of ports.
const dialTimeout = 15 * time.Second

// connect finds a relay and returns a link over the first session.
func (s *slot) connect(ctx context.Context) (*link, error) {
	life := ctx
	ctx, stop := s.net.Until(ctx)
	defer stop()
	if _, err := s.tokens.current(); err != nil {
		return nil, err // before anybody is dialled in vain
	}
	network := s.net.Network()
	first := func(addr string) string { return s.memory.transport(network, addr) }
	search := transport.NewSearch(s.ladder, s.order(network), first)
	for {
		conn, addr, err := s.reach(ctx, search)
		if err != nil {
			return nil, s.whyNot(ctx, search)
		}
		l, err := s.greet(ctx, life, conn, addr, nil)
		if err == nil {
			return l, nil
		}
		search.Fail(addr, err)
	}
}

// reach dials the relays that have not been tried yet.
func (s *slot) reach(ctx context.Context, search *transport.Search) (transport.Conn, string, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return search.Next(ctx)
}

// order lists the relays in the order in which to try them: first the one that was the last to work here, then as configured; those of the
// other slots later, and last the one that has just asked us to move.
func (s *slot) order(network string) []string {
	good := s.addr
	if good == "" {
		good = s.memory.relay(network, s.relays)
	}
	taken := make(map[string]bool)
	for _, l := range s.others(s) {
		taken[l.addr] = true
	}
	rank := func(addr string) int {
		switch {
		case addr == s.drains:
			return 3
		case taken[addr]:
			return 2
		case addr != good:
			return 1
		}
		return 0
	}
	relays := slices.Clone(s.relays)
	slices.SortStableFunc(relays, func(a, b string) int { return rank(a) - rank(b) })
	return relays
}

// whyNot is the error of a search without success: of those of the relays, the one that tells most.
func (s *slot) whyNot(ctx context.Context, search *transport.Search) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var best error
	for _, f := range search.Failures() {
		err := relayError(f.Addr, f.Err)
		s.log.Debug("relay not reached", "relay", f.Addr, "error", err.Error())
		if best == nil || tells(err) > tells(best) {
			best = err
		}
	}
	return best
}

// tells ranks errors: what a relay answered tells more than that another was not reached, and that we are there already tells nothing.
func tells(err error) int {
	switch k := postern.KindOf(err); {
	case errors.Is(err, session.ErrElsewhere):
		return 0
	case k == postern.Unauthenticated || k == postern.Conflict:
		return 3
	case postern.RetryAfterOf(err) > 0:
		return 2
	}
	return 1
}

// greet says hello on conn, in place of old if that is not nil, and returns a link that serves until life ends.
func (s *slot) greet(ctx, life context.Context, conn transport.Conn, addr string, old *link) (*link, error) {
	s.hello.Lock()
	defer s.hello.Unlock()
	shown, err := s.tokens.current()
	if err != nil {
		_ = conn.CloseWithError(postern.OK, "there is no token") // the error says more
		return nil, err
	}
	l := s.newLink(addr)
	if old != nil {
		l.relieves = old.ID()
	}
	l.Session, err = session.Connect(ctx, conn, session.ConnectOptions{
		Role: postern.RoleAgent, Token: shown.token, Agent: s.claim(shown.token), Instance: s.instance,
		Software: "postern/" + s.opts.Version, Scope: s.scope(), Services: s.services,
		Relieves: l.relieves, Elsewhere: s.elsewhere(s),
		Serving: session.Serving{Opener: s.egress, Side: postern.HopAgent},
		OnToken: func(token string) { s.tokens.renewed(credential{token, shown.file}) },
		OnDrain: sync.OnceFunc(func() { close(l.moved) }),
		Log:     s.log,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := l.begin(ctx, life); err != nil {
		return nil, err
	}
	s.hold(s, l)
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
