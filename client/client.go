// Package client is a program's side of a relay: one session, kept while it is needed, and what postern forward and
// postern connect do with it.
//
//	c, err := client.New(client.Options{Relays: relays, Transports: ladder, Token: token})
//	go c.Run(ctx)                                                    // ends with ctx
//	err = client.Connect(ctx, c, "nas", target, os.Stdin, os.Stdout) // ssh's ProxyCommand, or:
//	forwards, err := client.ParseForwards([]string{"5432=nas/127.0.0.1:5432", "socks", "nas"})
//	err = (&client.Forwarder{Forwards: forwards, Opener: c}).Run(ctx)
package client

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/session"
	"github.com/postern-dev/postern/transport"
)

// Options are what a Client needs to reach its relay. Relays and Transports are required.
type Options struct {
	// Relays are addresses as --relay takes them, tried in this order.
	Relays []string
	// Transports are how to reach a relay, the best first, each with a TLS configuration that verifies the relay and asks for
	// transport.ALPNClient.
	Transports transport.Ladder
	// Token returns the credential, before each dial; nil: there is none (a relay with auth none).
	Token func() (string, error)
	// Instance names this process to the relay; empty: a random name.
	Instance string
	// Software is what this program calls itself; it is shown by the relay.
	Software string
	// Log gets what happens to the session; nil is silent.
	Log *slog.Logger
}

// Client opens streams over one session to a relay. It dials when the first stream is wanted, and again when one is wanted after
// the session has ended. Run has to run; Open may be called concurrently, also before Run.
type Client struct {
	options Options
	wanted  chan *link    // the link that Run shall bring up; there is only ever one
	ended   chan struct{} // closed when Run returns
	refused refused       // only Run touches it
	good    []string      // the relay of the last session, if there was one; only Run touches it

	mu      sync.Mutex
	current *link // what new streams use, up or coming up; nil: none is wanted yet. Guarded by mu
}

// link is one session, from the moment that somebody wants it.
type link struct {
	ready   chan struct{} // closed once session or err is set
	session *session.Session
	err     error

	gone    chan struct{} // closed when nothing new can be opened: the session has ended, or the relay drains
	retired sync.Once
}

// New returns a client and does nothing else. The error says which option is wrong.
func New(o Options) (*Client, error) {
	switch {
	case len(o.Relays) == 0:
		return nil, bad("no relay is given")
	case len(o.Transports) == 0:
		return nil, bad("no transport is given")
	}
	for _, relay := range o.Relays {
		if err := transport.CheckAddress(relay); err != nil {
			return nil, err
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Instance == "" {
		o.Instance = session.NewInstance()
	}
	return &Client{options: o, wanted: make(chan *link, 1), ended: make(chan struct{})}, nil
}

// Open opens a stream through the relay. It waits for the session to come up; when that fails, so does every Open that waits, with
// an *Error: Unreachable if no relay answered, else the kind that a relay gave (Unauthenticated, ...).
// Streams end with the context of Run.
func (c *Client) Open(ctx context.Context, req *postern.Request) (postern.Stream, error) {
	for first := true; ; first = false {
		l := c.link()
		select {
		case <-l.ready:
		case <-c.ended:
			return nil, errEnded
		case <-ctx.Done():
			return nil, postern.Errorf(postern.KindOf(ctx.Err()), postern.HopRelay, "waiting for a session with the relay: %w", context.Cause(ctx))
		}
		if l.err != nil {
			return nil, l.err
		}
		stream, err := l.session.Open(ctx, req)
		if err == nil || !first || !l.lost(ctx, err) {
			return stream, err
		}
	}
}

var errEnded = &postern.Error{Kind: postern.Draining, Hop: postern.HopClient, Detail: "this program is ending"}

// link returns the session to use, and asks Run for one if there is none.
func (c *Client) link() *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil {
		c.current = &link{ready: make(chan struct{}), gone: make(chan struct{})}
		c.wanted <- c.current // never blocks: the one before was taken by Run, or it would still be current
	}
	return c.current
}

// notice is how long it may take until an end of the session, of which a stream has just suffered, is known here.
const notice = 100 * time.Millisecond

// lost reports whether a stream could not be opened because of the session and not for the reason that a relay gave. The
// two look alike: what fails with AgentOffline or Draining may be the far agent or the road to the relay.
func (l *link) lost(ctx context.Context, err error) bool {
	if k := postern.KindOf(err); k != postern.AgentOffline && k != postern.Draining {
		return false
	}
	timer := time.NewTimer(notice)
	defer timer.Stop()
	select {
	case <-l.gone:
		return ctx.Err() == nil
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// retire makes l the link of nobody new.
func (c *Client) retire(l *link) {
	l.retired.Do(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.current == l {
			c.current = nil
		}
		close(l.gone)
	})
}

// Run brings up sessions as they are wanted, until ctx ends. Then it ends them with all their streams, and returns when nothing of
// the client runs any more. It is called once; its error is always nil.
func (c *Client) Run(ctx context.Context) error {
	defer close(c.ended)
	var sessions sync.WaitGroup
	defer sessions.Wait()
	var p pause
	for {
		var l *link
		select {
		case <-ctx.Done():
			return nil
		case l = <-c.wanted:
		}
		if !p.sleep(ctx) {
			return nil
		}
		l.session, l.err = c.dial(ctx, l)
		p.done()
		if l.err != nil {
			c.options.Log.Warn("no session with a relay", "error", l.err)
			c.retire(l)
			close(l.ready)
			continue
		}
		close(l.ready)
		sessions.Go(func() { c.keep(ctx, l) })
	}
}

// keep runs the session of l to its end. When its relay drains, it ends with its last stream.
func (c *Client) keep(ctx context.Context, l *link) {
	ctx, cancel := context.WithCancel(ctx)
	var drainer sync.WaitGroup
	defer drainer.Wait()
	defer cancel()
	drainer.Go(func() {
		select {
		case <-l.gone:
		case <-ctx.Done():
			return
		}
		if err := l.session.Drain(ctx, "moving to another session"); err == nil {
			l.session.Close(postern.Draining, "every stream has ended")
		}
	})
	log := c.options.Log.With("session", l.session.ID())
	info := l.session.Info()
	log.Info("session with the relay", "relay", info.Remote.String(), "transport", info.Transport)
	err := l.session.Run(ctx)
	cancel()
	c.retire(l)
	if err != nil && !errors.Is(err, context.Canceled) {
		log.Warn("the session with the relay has ended", "error", err)
		return
	}
	log.Info("the session with the relay has ended")
}
