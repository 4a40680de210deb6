// Package agent is the inner side: it dials out to a relay, keeps the session up, and connects what comes in to targets that its
// owner allows.
//
//	a, err := agent.New(cfg, agent.Options{Log: log, Version: "1.2.3"})
//	if err != nil {
//		return err // the configuration is wrong; nothing was started
//	}
//	err = a.Run(ctx) // until ctx ends, then drains
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth/jwt"
	"github.com/postern-dev/postern/config"
	"github.com/postern-dev/postern/egress"
	"github.com/postern-dev/postern/egress/allow"
	"github.com/postern-dev/postern/internal/join"
	"github.com/postern-dev/postern/internal/netwatch"
	"github.com/postern-dev/postern/internal/pki"
	"github.com/postern-dev/postern/internal/viaproxy"
	"github.com/postern-dev/postern/session"
	"github.com/postern-dev/postern/transport"
)

// Options are what a process adds to the configuration. All fields may be zero.
type Options struct {
	Log     *slog.Logger
	Version string
	// Getenv reads the variables that name proxies; nil: there are none.
	Getenv func(string) string
	// Expose, if set, makes this an agent of public ports only: it opens them on every session that it gets, and
	// nobody can ask it for anything else.
	Expose []session.Expose
	// OnExposed is told the public address of each, every time it was opened.
	OnExposed func(e session.Expose, address string)
}

// Agent is an agent that is configured but not yet running.
type Agent struct {
	log      *slog.Logger
	opts     Options
	relays   []string
	active   int // how many of the relays to have a session with
	ladder   transport.Ladder
	memory   *memory
	watch    netwatch.Options
	egress   *egress.Egress
	services []string
	claimed  postern.AgentID
	tokens   *tokens
	ready    *readyFile
	grace    time.Duration
	instance string
	exposed  []session.Expose // only the link that says hello touches it, and address
	address  []string         // of each, as it was opened last
}

// New checks cfg and returns an agent. It opens nothing. All that is wrong is in the error.
func New(cfg *config.Agent, o Options) (*Agent, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a := &Agent{
		log: o.Log, opts: o, grace: cfg.Grace, instance: session.NewInstance(),
		ready:   &readyFile{path: cfg.ReadyFile, log: o.Log},
		active:  max(cfg.RelaysActive, 1),
		memory:  newMemory(dataFolder(cfg), o.Log),
		watch:   netwatch.Options{Log: o.Log},
		exposed: slices.Clone(o.Expose),
		address: make([]string, len(o.Expose)),
	}
	return a, errors.Join(a.setRelay(cfg), a.setEgress(cfg))
}

// setRelay finds out where the relay is, how it proves itself, and how we do.
func (a *Agent) setRelay(cfg *config.Agent) error {
	var j join.Join
	var err error
	if !cfg.Join.IsZero() {
		if j, err = join.Read(cfg.Join); err != nil {
			return err
		}
	}
	if cfg.AgentID != "" {
		id, err := postern.ParseAgentID(cfg.AgentID)
		if err != nil {
			return fmt.Errorf("agent-id: %w", err)
		}
		a.claimed = id
	}
	secret := cfg.Token
	if secret.IsZero() {
		secret = config.Secret(j.Token)
	}
	a.tokens = &tokens{given: secret, claimed: a.claimed, folder: dataFolder(cfg), log: a.log}
	return errors.Join(a.setLadder(cfg, j), a.checkToken())
}

// setLadder finds the relays, the ways there, and how a relay proves itself.
func (a *Agent) setLadder(cfg *config.Agent, j join.Join) error {
	relays, webs, err := Relays(cfg.Relay, j)
	if err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	if len(relays) == 0 {
		return errors.New("relay: no relay is given; give --relay HOST:PORT or --join STRING")
	}
	a.relays = relays
	trust := pki.Trust{CAFile: cfg.CA, Pin: cfg.Pin}
	if trust == (pki.Trust{}) {
		trust.Pin = j.Pin
	}
	clientTLS, err := pki.ClientTLS(trust)
	if err != nil {
		return fmt.Errorf("ca, pin: %w", err)
	}
	proxies, err := viaproxy.New(string(cfg.Proxy), a.opts.Getenv)
	if err != nil {
		return err
	}
	a.ladder, err = Ladder(cfg.Transport, transport.ALPNAgent, webs, transport.DialOptions{TLS: clientTLS, Proxies: proxies, Log: a.log})
	return err
}

// checkToken sees to it that there is something to say hello with.
func (a *Agent) checkToken() error {
	shown, err := a.tokens.current()
	if err != nil {
		return err
	}
	if shown.token == "" && a.claimed == "" {
		return errors.New("token: no credential is given, and none was kept; give --join STRING or --token TOKEN, or --agent-id ID for a relay with --auth none")
	}
	if claims, err := jwt.Peek(shown.token); err == nil && a.claimed != "" && claims.AgentID != a.claimed {
		a.log.Warn("the token says who the agent is, so agent-id has no effect", "agent", string(claims.AgentID), "agent-id", string(a.claimed))
	}
	return nil
}

// setEgress parses what clients may reach.
func (a *Agent) setEgress(cfg *config.Agent) error {
	rules, err := allow.Parse(cfg.Allow)
	if err != nil {
		return fmt.Errorf("allow: %w", err)
	}
	services := make(map[string]string, len(cfg.Service))
	for _, s := range cfg.Service {
		services[s.Name] = s.URL
		a.services = append(a.services, s.Name)
	}
	a.declareExposed(services)
	a.egress, err = egress.New(egress.Options{
		Allow: rules, Services: services, Selftest: cfg.Selftest, Version: a.opts.Version, Log: a.log,
	})
	return err
}

// declareExposed makes a service of each target that gets a public port: whoever exposes a target means it to be reached, and
// by that port only.
func (a *Agent) declareExposed(services map[string]string) {
	for i, e := range a.exposed {
		name := fmt.Sprintf("exposed-%d", i)
		switch e.Target.Network {
		case postern.TCP:
			services[name] = "tcp://" + e.Target.Address()
		case postern.Unix:
			services[name] = "unix://" + e.Target.Host
		default:
			continue
		}
		a.exposed[i].Target = postern.Target{Network: postern.Service, Host: name}
	}
}

// Run keeps sessions with as many relays as are to be active until ctx ends, then tells the relays to open nothing more, lets streams
// finish within the grace period, and returns nil. It returns an error when the relay refuses the very first hello: an *Error of kind
// Unauthenticated, BadCommand, or Conflict if that lasts.
func (a *Agent) Run(ctx context.Context) error {
	defer a.egress.Close()
	r := &running{Agent: a, net: netwatch.New(a.watch), held: make(map[*slot]*link)}
	var watcher sync.WaitGroup
	defer watcher.Wait()
	watching, stop := context.WithCancel(ctx)
	defer stop()
	watcher.Go(func() { r.net.Run(watching) })

	defer r.links.Wait()
	g, ctx := errgroup.WithContext(ctx)
	for i := range a.active {
		s := &slot{running: r, first: i == 0, outage: outage{log: a.log, began: time.Now(), waited: len(a.exposed) > 0}}
		g.Go(func() error { return s.run(ctx) })
	}
	return g.Wait()
}
