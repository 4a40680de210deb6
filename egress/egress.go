// Package egress is an agent's way out: it decides about a target, resolves its name, dials it, and has the agent's services.
//
//	set, err := allow.Parse([]string{"10.0.0.0/8:80"})
//	out, err := egress.New(egress.Options{Allow: set, Services: map[string]string{"ssh": "tcp://localhost:22"}})
//	if err != nil {
//		return err // every service that cannot be used, with its remedy
//	}
//	defer out.Close()
//	stream, err := out.Open(ctx, &postern.Request{Target: target}) // what a session does for every stream
//
// Who decides: the agent's own rules, and every rule set that came with the request. Each must permit the address that is dialled.
// Declared services need no rule of the agent's own, but the sets of the request restrict them too, by NAME.service or *.
//
// What failed is told apart like this: Denied at hop agent (a rule), BadCommand at hop agent (UDP), NameNotFound (no such name, no address,
// no such service), Unreachable (no route, no such unix socket, or the name servers failed), Refused, Timeout (name
// servers and connecting together took DialTimeout), Overloaded at hop agent (no descriptors or memory left),
// Draining (after Close), Aborted (the caller gave up).
package egress

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/egress/allow"
	"github.com/postern-dev/postern/splice"
)

// defaultDialTimeout bounds a dial, names included (PROMISES P-14).
const defaultDialTimeout = 10 * time.Second

// Options configure an Egress. The zero value permits nothing and has no services.
type Options struct {
	// Allow are the agent's own rules for targets. Nil or empty: nothing but the services.
	Allow *allow.Set
	// Services are the declared services, NAME to URL: tcp://host:port, http://host:port (a plain stream to it), unix:///path.
	Services map[string]string
	// Selftest adds the service selftest, see the comment on selftestCommands in selftest.go.
	Selftest bool
	// DialTimeout bounds resolving and connecting together; 0 means 10 s.
	DialTimeout time.Duration
	// Resolver resolves names; nil means the system's.
	Resolver Resolver
	// Dialer connects instead of a net.Dialer, in tests; it is given addresses that are permitted already.
	Dialer Dialer
	// Version is what the selftest tells about the program.
	Version string
	// Log gets denied targets at info level and failed dials at debug level; nil is silent.
	Log *slog.Logger
}

// Resolver finds the addresses of a name. *net.Resolver is one; network is always "ip".
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Dialer connects to an address. *net.Dialer is one. It gives up when ctx ends.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Egress opens streams to targets. All methods may be called concurrently.
type Egress struct {
	own      *allow.Set
	services map[string]postern.Target
	timeout  time.Duration
	resolver Resolver
	dialer   Dialer // nil: a net.Dialer that checks once more
	selftest *selftest
	log      *slog.Logger
}

var _ postern.Opener = (*Egress)(nil)

// New returns an Egress, or an error that names everything wrong with opts.Services. It opens nothing.
func New(opts Options) (*Egress, error) {
	services, err := parseServices(opts.Services)
	e := &Egress{
		own:      opts.Allow,
		services: services,
		timeout:  opts.DialTimeout,
		resolver: opts.Resolver,
		dialer:   opts.Dialer,
		log:      opts.Log,
	}
	if e.timeout == 0 {
		e.timeout = defaultDialTimeout
	}
	if e.resolver == nil {
		e.resolver = &net.Resolver{}
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if opts.Selftest {
		if _, taken := services[selftestName]; taken {
			err = errors.Join(err, errors.New("service selftest: the name is taken by --selftest; give the service another one"))
		}
		e.selftest = newSelftest(opts.Version)
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Open connects to the target of req, as the postern.Opener it is. Errors are *postern.Error.
func (e *Egress) Open(ctx context.Context, req *postern.Request) (postern.Stream, error) {
	stream, err := e.open(ctx, req)
	if err == nil {
		return stream, nil
	}
	// Whoever serves the stream reports it; here are the details that stay with us.
	e.log.DebugContext(ctx, "target not opened", "target", req.Target.String(), "client", req.Client,
		"trace", req.Trace, "kind", postern.KindOf(err).String(), "error", err)
	return nil, err
}

func (e *Egress) open(ctx context.Context, req *postern.Request) (postern.Stream, error) {
	t := req.Target
	if err := t.Valid(); err != nil {
		// What is malformed was sent to us: the hop that noticed is the agent.
		return nil, &postern.Error{Kind: postern.KindOf(err), Hop: postern.HopAgent, Detail: err.Error()}
	}
	p, err := newPolicy(e.own, req.Allow)
	if err != nil {
		return nil, err
	}
	if err := p.may(t); err != nil {
		return nil, err
	}
	switch t.Network {
	case postern.Service:
		return e.openService(ctx, t)
	case postern.Unix:
		return e.stream(ctx, e.dialUnix, way{to: t, asked: t})
	case postern.TCP:
		return e.stream(ctx, e.dialTCP, way{to: t, asked: t, rules: p})
	default:
		return nil, postern.Errorf(postern.BadCommand, postern.HopAgent, "this version of the agent does not open %s targets", t.Network)
	}
}

// openService connects to a declared service. Its own address is no business of any rule.
func (e *Egress) openService(ctx context.Context, t postern.Target) (postern.Stream, error) {
	if e.selftest != nil && t.Host == selftestName {
		return e.selftest.open()
	}
	service, ok := e.services[t.Host]
	if !ok {
		return nil, postern.Errorf(postern.NameNotFound, postern.HopAgent, "the agent has no service %s", t.Host)
	}
	if service.Network == postern.Unix {
		return e.stream(ctx, e.dialUnix, way{to: service, asked: t})
	}
	return e.stream(ctx, e.dialTCP, way{to: service, asked: t})
}

// stream makes a stream of what dial connects to in the time there is.
func (e *Egress) stream(ctx context.Context, dial func(context.Context, way) (net.Conn, error), w way) (postern.Stream, error) {
	dialCtx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	conn, err := dial(dialCtx, w)
	if err == nil {
		return splice.Stream(conn), nil
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, &postern.Error{Kind: postern.Aborted, Hop: postern.HopClient, Detail: "the caller gave up before the target was connected", Err: err}
	}
	return nil, err
}

// Close ends the streams of the selftest, and returns when nothing that the Egress started runs any more. Other streams
// belong to their callers and live on. Later requests for the selftest fail with Draining. Idempotent.
func (e *Egress) Close() error {
	if e.selftest != nil {
		e.selftest.close()
	}
	return nil
}
