package relay

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/ingress/all"
	"github.com/postern-dev/postern/ingress/port"
	"github.com/postern-dev/postern/session"
)

// expose opens a public port for a session, until ctx ends with it.
func (r *running) expose(ctx context.Context, s *session.Session, e session.Expose) (string, error) {
	if e.Network != postern.TCP {
		return "", postern.Errorf(postern.BadCommand, postern.HopRelay, "public %s ports are not in this version", e.Network)
	}
	ln, err := r.listenPublic(ctx, s, e.Port)
	if err != nil {
		return "", err
	}
	p, err := portOf(ln.Addr())
	if err != nil {
		return "", errors.Join(err, ln.Close())
	}
	until, stop := context.WithCancel(ctx)
	give := r.exposed.take(p, tenantOf(s), stop)
	release := func() {
		if postern.KindOf(context.Cause(ctx)) == postern.Draining {
			r.exposed.forgo(s.ID()) // its agent has ended, and has had no time to say so before
		}
		give()
	}
	server := &ingress.Server{
		Protocol: all.Table()[port.Name](all.Options{Agent: s.Agent(), Target: e.Target}),
		// The session itself, not the router: the port leads to whoever opened it. The relay's rules are about what clients may ask for;
		// here nobody asks, and what a port leads to is the agent's own affair.
		Opener: s,
		Gate:   &r.strangers,
		Splice: r.splice(),
		// When the port moves on to the next session, what runs may finish on this one, and ends with it.
		Grace: whileItsSessionLives,
		Log:   r.log,
	}
	address := r.publicAddress(p)
	r.log.Info("port opened", "address", address, "agent", string(s.Agent()), "target", e.Target.String(), "session", s.ID())
	r.ports.Go(func() {
		defer stop()
		if err := server.Serve(until, &releasing{ln, release}); err != nil {
			r.log.Error("the port broke", "address", address, "error", err.Error())
		}
		r.log.Info("port closed", "address", address, "agent", string(s.Agent()))
	})
	return address, nil
}

// whileItsSessionLives is longer than any session.
const whileItsSessionLives = 100 * 365 * 24 * time.Hour

// listenPublic opens port p, or for 0 any free one, among those that both the credential and the relay permit.
func (r *running) listenPublic(ctx context.Context, s *session.Session, p uint16) (net.Listener, error) {
	id := s.Identity()
	ranges := permitted(id.Ports, r.cfg.Ports)
	if len(ranges) == 0 {
		return nil, postern.Errorf(postern.Denied, postern.HopRelay,
			"the token of agent %s permits no public ports here; make one with: postern join create --agent-id %s --ports LOW-HIGH", id.AgentID(), id.AgentID())
	}
	if p != 0 {
		return r.listenGiven(ctx, ranges, p, tenantOf(s))
	}
	for range freeTries {
		free := pick(ranges)
		if r.exposed.holder(free) != nil {
			continue
		}
		ln, err := r.listenPort(ctx, free)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EACCES) {
			return ln, err
		}
	}
	return nil, postern.Errorf(postern.Conflict, postern.HopRelay, "no free port was found in %s", rangesText(ranges))
}

// listenGiven opens port p, if that is permitted and nobody else's.
func (r *running) listenGiven(ctx context.Context, ranges []postern.PortRange, p uint16, by tenant) (net.Listener, error) {
	if !slices.ContainsFunc(ranges, func(r postern.PortRange) bool { return r.Contains(p) }) {
		return nil, postern.Errorf(postern.Denied, postern.HopRelay, "port %d is not permitted; permitted are %s", p, rangesText(ranges))
	}
	if err := r.exposed.claim(ctx, p, by); err != nil {
		return nil, err
	}
	ln, err := r.listenPort(ctx, p)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, postern.Errorf(postern.Conflict, postern.HopRelay, "port %d is held by another program", p)
	}
	if err != nil {
		return nil, postern.Errorf(postern.Internal, postern.HopRelay, "port %d cannot be opened: %w", p, err)
	}
	return ln, nil
}

// freeTries is how many random ports are tried; a range that is nine tenths full still gives one.
const freeTries = 200

func (r *running) listenPort(ctx context.Context, p uint16) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", net.JoinHostPort(r.publicHost(), strconv.Itoa(int(p))))
}

// publicHost is the address that public ports are bound to: that of the agents listener.
func (r *running) publicHost() string {
	host, _, err := net.SplitHostPort(r.cfg.Agents.HostPort())
	if err != nil {
		return ""
	}
	return host
}

// publicAddress is what clients connect to. Where the relay listens on every address and none is advertised, the host is left to the
// agent: it knows the name by which it found the relay.
func (r *running) publicAddress(p uint16) string {
	host := r.publicHost()
	if unspecified(host) {
		host = ""
		if adv := r.cfg.Advertise; len(adv) > 0 {
			host = hostOf(adv[0])
		}
	}
	return net.JoinHostPort(host, strconv.Itoa(int(p)))
}

// permitted is what the token permits within what the relay permits.
func permitted(token []postern.PortRange, relay postern.PortRange) []postern.PortRange {
	if relay == (postern.PortRange{}) {
		return token
	}
	var both []postern.PortRange
	for _, r := range token {
		if low, high := max(r.Low, relay.Low), min(r.High, relay.High); low <= high {
			both = append(both, postern.PortRange{Low: low, High: high})
		}
	}
	return both
}

// pick returns a random port of the ranges, each port as likely as any other.
func pick(ranges []postern.PortRange) uint16 {
	total := 0
	for _, r := range ranges {
		total += int(r.High) - int(r.Low) + 1
	}
	n := rand.N(total)
	for _, r := range ranges {
		size := int(r.High) - int(r.Low) + 1
		if n < size {
			return r.Low + uint16(n)
		}
		n -= size
	}
	return 0
}

func rangesText(ranges []postern.PortRange) string {
	texts := make([]string, len(ranges))
	for i, r := range ranges {
		texts[i] = r.String()
	}
	return strings.Join(texts, ", ")
}
