package relay

import (
	"context"
	"errors"
	"net"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/route"
	"github.com/postern-dev/postern/session"
	"github.com/postern-dev/postern/transport"
	"github.com/postern-dev/postern/transport/all"
)

// clientStreams is how many streams a program of a client (postern forward) may have open at once.
const clientStreams = transport.DefaultMaxStreams

// serveTransports takes agents and clients' programs in. Agents' sessions live until life ends; clients' handlers count among
// clients, because their streams are what the drain waits for.
func (r *running) serveTransports(ctx, life context.Context, proxy *ingress.Server, g *errgroup.Group) {
	r.serveWeb(ctx, life, g)
	if r.lns.agentsTCP == nil {
		return
	}
	for _, maker := range all.Transports() {
		if maker.Network == transport.NetworkWeb {
			continue // it comes by the web listener
		}
		o := transport.ListenOptions{
			TCP: r.lns.agentsTCP, UDP: r.lns.agentsUDP, TLS: r.own.tls, ResetKey: r.own.resetKey, Gate: &r.strangers, Log: r.log,
			Accept: r.accepts(life, maker.Network),
		}
		if maker.Network == transport.NetworkTCP {
			o.Raw = map[string]func(context.Context, net.Conn, func()){transport.ALPNHTTP: proxy.ServeConn}
		}
		g.Go(func() error { return maker.Listen(o).Run(ctx) })
	}
}

// accepts are the sessions that are taken in on a network: those of agents, whose streams the relay opens, and those of clients'
// programs, which want many. On UDP they get no more than an agent, because QUIC fixes the number before it knows who calls and a
// stranger must not be let fill windows; there they ask the relay to open their streams.
func (r *running) accepts(life context.Context, network string) map[string]transport.Accept {
	agents := transport.Accept{Handle: func(_ context.Context, c transport.Conn, authenticated func()) { r.serveAgent(life, c, authenticated) }}
	clients := transport.Accept{Handle: func(_ context.Context, c transport.Conn, authenticated func()) { r.serveClient(life, c, authenticated) }}
	if network != transport.NetworkUDP {
		clients.MaxStreams = clientStreams
	}
	return map[string]transport.Accept{transport.ALPNAgent: agents, transport.ALPNClient: clients}
}

// serveAgent holds one agent's session from its hello to its end.
func (r *running) serveAgent(ctx context.Context, conn transport.Conn, authenticated func()) {
	var remove func()
	s, err := session.Accept(ctx, conn, session.AcceptOptions{
		Role:   postern.RoleAgent,
		Verify: r.own.chain.Verify,
		Admit: func(s *session.Session) (err error) {
			remove, err = r.admit(s)
			return err
		},
		Relay: r.instance, Addresses: r.advertised(), Software: r.software(),
		OnExpose: r.expose,
		OnDrain: func(s *session.Session) {
			remove()
			r.exposed.forgo(s.ID())
		},
		Renew: r.own.renew,
		Log:   r.log,
	})
	if err != nil {
		r.refused(conn, err)
		if remove != nil {
			remove()
		}
		return
	}
	defer remove()
	authenticated()
	r.hold(ctx, s)
}

// admit lets a session of an agent in: into the router if it is to be asked for anything.
func (r *running) admit(s *session.Session) (remove func(), err error) {
	if s.Peer().Relieves == "" {
		if retry, ok := r.arrivals.Enter(); !ok {
			return nil, &postern.Error{Kind: postern.Overloaded, Hop: postern.HopRelay, Detail: "too many agents come at once", RetryAfter: retry}
		}
	}
	leave, err := r.enter(s)
	if err != nil {
		return nil, err
	}
	if s.Peer().Scope == session.TunnelsOnly {
		return leave, nil
	}
	forget, replaced, err := r.router.Add(s)
	if err != nil {
		leave()
		return nil, err
	}
	old, _ := replaced.(*session.Session)
	relieved := r.relieve(old, s)
	return func() {
		forget()
		leave()
		if relieved && r.has(old) {
			// The agent has not given the old one up: the new one was lost before it knew of it.
			r.router.Return(old)
		}
	}, nil
}

// relieve ends the session that s has replaced, unless s is its own successor: then it reports true, and the agent drains the old one.
func (r *running) relieve(old, s *session.Session) bool {
	if old == nil {
		return false
	}
	gently := old.ID() == s.Peer().Relieves
	r.log.Info("session replaced", "agent", string(old.Agent()), "session", old.ID(), "by", s.ID(), "gently", gently)
	if !gently {
		// A ghost may take its time to go, and its successor is waiting for its welcome.
		r.ghosts.Go(func() { old.Close(postern.Conflict, "a newer session of the same credential took over") })
	}
	return gently
}

// has reports whether a session is neither over nor drained.
func (r *running) has(s *session.Session) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.all[s]
	return ok
}

// enter adds a session to those that are drained at the end.
func (r *running) enter(s *session.Session) (leave func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draining {
		return nil, &postern.Error{Kind: postern.Draining, Hop: postern.HopRelay}
	}
	r.all[s] = struct{}{}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.all, s)
	}, nil
}

// serveClient holds one session of a client's program and opens its streams.
func (r *running) serveClient(ctx context.Context, conn transport.Conn, authenticated func()) {
	var leave func()
	s, err := session.Accept(ctx, conn, session.AcceptOptions{
		Role:   postern.RoleClient,
		Verify: r.own.chain.Verify,
		Admit: func(s *session.Session) (err error) {
			leave, err = r.enter(s)
			return err
		},
		Serving: session.Serving{Opener: r.opener(), Splice: r.splice(), Side: postern.HopRelay, MaxStreams: clientStreams},
		Relay:   r.instance, Addresses: r.advertised(), Software: r.software(),
		Log: r.log.With("ingress", "session"),
	})
	if err != nil {
		r.refused(conn, err)
		return
	}
	defer leave()
	authenticated()
	r.hold(ctx, s)
}

// hold runs a session to its end and reports both.
func (r *running) hold(ctx context.Context, s *session.Session) {
	info, id := s.Info(), s.Identity()
	log := r.log.With("session", s.ID(), "role", string(id.Role), "subject", id.Subject, "transport", info.Transport, "remote", info.Remote.String())
	log.Info("session began", "software", s.Peer().Software, "services", strings.Join(s.Peer().Services, ","))
	err := s.Run(ctx)
	stats := s.Stats()
	kind := postern.KindOf(err)
	text := ""
	if err != nil {
		text = err.Error()
	}
	log.Info("session ended", "kind", kind.String(), "error", text, "sent", stats.Sent, "received", stats.Received)
}

// refused reports a connection that did not become a session. Strangers are debug noise; refusals are not.
func (r *running) refused(conn transport.Conn, err error) {
	info := conn.Info()
	switch postern.KindOf(err) {
	case postern.Conflict, postern.Draining, postern.BadCommand:
		r.log.Warn("session refused", "transport", info.Transport, "remote", info.Remote.String(), "error", err.Error())
	default:
		r.log.Debug("no session", "transport", info.Transport, "remote", info.Remote.String(), "error", err.Error())
	}
}

// opener is how clients' streams are opened: the relay's rules, then the router.
func (r *running) opener() postern.Opener {
	return &policy{rules: r.rules, next: r.router}
}

func (r *running) software() string { return "postern/" + r.opts.Version }

// drain makes everything refuse new work, tells the agents and programs to move, and returns when no session has a stream left, or the
// grace period is over.
func (r *running) drain(ctx context.Context) {
	r.router.Drain()
	r.mu.Lock()
	r.draining = true
	sessions := make([]*session.Session, 0, len(r.all))
	for s := range r.all {
		sessions = append(sessions, s)
	}
	r.mu.Unlock()
	r.log.Info("draining", "sessions", len(sessions), "grace", r.cfg.Grace.String())

	ctx, cancel := context.WithTimeout(ctx, r.cfg.Grace)
	defer cancel()
	var wait errgroup.Group
	for _, s := range sessions {
		wait.Go(func() error {
			if err := s.Drain(ctx, "the relay stops"); err != nil && !errors.Is(err, context.Canceled) {
				r.log.Info("streams were cut", "session", s.ID(), "streams", s.Stats().Streams)
			}
			return nil
		})
	}
	// Every failure was logged where it happened.
	_ = wait.Wait()
}

var _ route.Session = (*session.Session)(nil)
