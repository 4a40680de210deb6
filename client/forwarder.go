package client

import (
	"context"
	"errors"
	"log/slog"
	"net"

	"golang.org/x/sync/errgroup"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/ingress"
)

// Forwarder serves forwards. Forwards and Opener are required; nothing may be changed once it runs.
type Forwarder struct {
	// Forwards are the local listeners and where they lead.
	Forwards []Forward
	// Opener connects to the targets; a Client is one.
	Opener postern.Opener
	// Ready, if set, is called once every listener is open, with each forward's address as it is bound.
	Ready func(bound []Bound)
	// Log gets one line per stream; nil is silent.
	Log *slog.Logger
}

// Bound is a forward that listens: its Address has the port that was chosen for it.
type Bound struct {
	Forward
	Addr net.Addr
}

// Run opens every listener, or none: if one cannot be opened it returns the error, an *Error of kind Conflict if
// the address is taken. Then it serves until ctx ends, aborts what is still open, and returns nil when nothing of it runs any more.
// When a listener breaks it ends the others and returns why.
func (f *Forwarder) Run(ctx context.Context) error {
	listeners, bound, err := f.listen(ctx)
	if err != nil {
		return err
	}
	if f.Ready != nil {
		f.Ready(bound)
	}
	g, ctx := errgroup.WithContext(ctx)
	for i, ln := range listeners {
		g.Go(func() error { return f.server(bound[i].Forward).Serve(ctx, ln) })
	}
	return g.Wait()
}

// listen opens the listeners of all forwards, or none.
func (f *Forwarder) listen(ctx context.Context) ([]net.Listener, []Bound, error) {
	var listeners []net.Listener
	var bound []Bound
	for _, forward := range f.Forwards {
		ln, err := listen(ctx, forward)
		if err != nil {
			for _, open := range listeners {
				err = errors.Join(err, open.Close())
			}
			return nil, nil, err
		}
		listeners = append(listeners, ln)
		forward.Address = ln.Addr().String()
		bound = append(bound, Bound{Forward: forward, Addr: ln.Addr()})
	}
	return listeners, bound, nil
}

// server is the relay's ingress of the forward's mode, with the agent fixed and nobody asked who they are: whoever
// reaches the listener may use it.
func (f *Forwarder) server(forward Forward) *ingress.Server {
	return &ingress.Server{
		Protocol: protocol(forward),
		Opener:   postern.OpenerFunc(f.open),
		Log:      f.Log,
	}
}

// open opens a stream. That the relay does not take this program's credential is nothing that the local client can
// cure: an HTTP proxy must not ask it for a password.
func (f *Forwarder) open(ctx context.Context, req *postern.Request) (postern.Stream, error) {
	stream, err := f.Opener.Open(ctx, req)
	if postern.KindOf(err) == postern.Unauthenticated {
		err = postern.Errorf(postern.Denied, postern.HopOf(err, postern.HopRelay), "the relay does not accept this program's credential: %w", err)
	}
	return stream, err
}
