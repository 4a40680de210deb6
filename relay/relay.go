// Package relay is the public side: it takes agents in, lets clients in, and connects the two.
//
//	r, err := relay.New(cfg, relay.Options{Log: log, Version: "1.2.3"})
//	if err != nil {
//		return err // the configuration is wrong; nothing was started
//	}
//	err = r.Run(ctx) // until ctx ends, then drains
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/config"
	"github.com/postern-dev/postern/egress/allow"
	"github.com/postern-dev/postern/internal/gate"
	"github.com/postern-dev/postern/internal/pace"
	"github.com/postern-dev/postern/route"
	"github.com/postern-dev/postern/session"
)

// Options are what a process adds to the configuration. All fields may be zero.
type Options struct {
	Log     *slog.Logger
	Version string
	// OnReady is told the addresses of the open listeners, as in the ready file.
	OnReady func(listeners map[string]string)
}

// Relay is a relay that is configured but not yet running.
type Relay struct {
	cfg       *config.Relay
	opts      Options
	log       *slog.Logger
	instance  string // random for each process
	rules     *allow.Set
	strangers gate.Gate // who has not authenticated yet, on every listener
	exposed   exposures
}

// New checks cfg and returns a relay. It opens and writes nothing. All that is wrong is in the error.
func New(cfg *config.Relay, o Options) (*Relay, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &Relay{cfg: cfg, opts: o, log: o.Log, instance: session.NewInstance()}
	var err error
	if r.rules, err = allow.Parse(cfg.Allow); err != nil {
		err = fmt.Errorf("allow: %w", err)
	}
	return r, errors.Join(err, checkIdentity(cfg))
}

// Run opens every listener, or none, and serves until ctx ends. Then it tells agents to move and takes nothing new, lets streams go on
// for at most the grace period, and returns nil when everything has ended. It returns an error when something
// cannot be opened or breaks; Conflict when another relay runs with the data folder.
func (r *Relay) Run(ctx context.Context) (err error) {
	own, err := openIdentity(r.cfg, r.log)
	if err != nil {
		return err
	}
	lns, err := r.listen(ctx)
	if err != nil {
		return err
	}
	defer lns.close()
	known, err := openKnown(r.cfg.Data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, known.Close()) }()
	run := &running{
		Relay: r, own: own, lns: lns,
		router: route.New(route.Options{Park: r.cfg.Park, Known: known}),
		all:    make(map[*session.Session]struct{}),
	}
	return run.serve(ctx, known)
}

// running is what one Run shares between its parts.
type running struct {
	*Relay
	own    *identity
	router *route.Router
	lns    *listeners
	ports  sync.WaitGroup // those that sessions have opened
	ghosts sync.WaitGroup // sessions that were replaced and are being closed

	arrivals pace.Pace // spreads agents that come at the same time, as after a restart

	mu       sync.Mutex // guards what follows
	draining bool
	all      map[*session.Session]struct{} // every session there is, of agents and of clients' programs
}

// serve runs everything over open listeners. The order of the end is the point of it:
//
//  1. ctx ends, or a part breaks: listeners close, nothing new is accepted
//  2. drain: agents and programs are told to move; readyz says no
//  3. clients' streams end, or the grace period does
//  4. sessions are closed, which ends what still hangs on them
//  5. the admin listener closes, and the records
func (r *running) serve(ctx context.Context, known *known) error {
	g, ctx := errgroup.WithContext(ctx)
	// Sessions carry the streams that may finish within the grace period, so they outlive ctx.
	life, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)

	var clients errgroup.Group
	in := r.newIngresses()
	r.serveIngress(ctx, in, &clients)
	r.serveTransports(ctx, life, in.connect, g)
	r.serveControl(ctx, g)
	r.serveAdmin(life, g)
	g.Go(func() error { return known.run(life, r.log) })
	g.Go(func() error {
		<-ctx.Done()
		r.drain(life)
		err := clients.Wait()
		cut(errDrained)
		return err
	})
	if err := r.ready(); err != nil {
		g.Go(func() error { return err })
	}
	err := g.Wait()
	r.ports.Wait()
	r.ghosts.Wait()
	return err
}

// errDrained is why sessions are closed at the end.
var errDrained = &postern.Error{Kind: postern.Draining, Hop: postern.HopRelay, Detail: "the relay has stopped"}
