package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/session"
	"github.com/postern-dev/postern/transport"
)

// link is one session with a relay, being served.
type link struct {
	*session.Session
	r        *running
	addr     string
	relieves string        // the session that this one takes over from; empty: none
	moved    chan struct{} // closed when the relay drains
	opened   chan struct{} // closed when its public ports are open
	relieved chan struct{} // closed when another session has taken over
	gone     chan error    // told once, as soon as a successor is needed: why
}

// Why a link is given up, where the session's own error does not say it.
var (
	errMoved    = errors.New("the relay asked us to move")
	errReplaced = errors.New("another agent with the same credential took over")
	errEnded    = errors.New("the relay ended the session")
	errPort     = errors.New("the public port was not opened")
)

func (r *running) newLink(addr string) *link {
	return &link{
		r: r, addr: addr, moved: make(chan struct{}), opened: make(chan struct{}), relieved: make(chan struct{}), gone: make(chan error, 1),
	}
}

func (l *link) transport() string { return l.Info().Transport }

// begin serves the session in the background until it is over or life ends, and returns once its public ports are open.
func (l *link) begin(ctx, life context.Context) error {
	l.r.links.Go(func() { l.serve(life) })
	if err := l.expose(ctx); err != nil {
		l.Close(postern.OK, "the port was not opened")
		return err
	}
	close(l.opened)
	return nil
}

// serve runs the session until it is over, and tells gone as soon as a successor is needed: when the session is over or its relay drains.
// Once it is relieved it ends with its last stream. When ctx ends, it lets streams finish within the grace period.
func (l *link) serve(ctx context.Context) {
	l.r.log.Info("connected", "relay", l.addr, "transport", l.transport(), "agent", string(l.Agent()), "session", l.ID())

	// The session outlives ctx by the grace period.
	run, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	over := make(chan error, 1)
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { over <- l.Run(run) })
	draining, stop := context.WithCancel(run)
	defer stop()
	defer l.r.ready.remove(l.ID())

	moved, opened, relieved := l.moved, l.opened, l.relieved
	for {
		select {
		case err := <-over:
			told(l.gone, whyOver(err))
			return
		case <-opened:
			opened = nil
			l.r.ready.add(readyLine(l), l.relieves)
		case <-moved:
			moved = nil
			told(l.gone, errMoved)
		case <-relieved:
			relieved, opened = nil, nil
			l.r.ready.remove(l.ID())
			running.Go(func() { l.finish(draining) })
		case <-ctx.Done():
			l.drain(run)
			l.Close(postern.Draining, "the agent stops")
			told(l.gone, nil)
			return
		}
	}
}

// finish ends a session that was relieved with its last stream, or with ctx.
func (l *link) finish(ctx context.Context) {
	if err := l.Drain(ctx, "moved to a better transport"); err != nil {
		// It is over, or the agent stops and drains it by itself.
		l.r.log.Debug("a relieved session has ended before its streams", "session", l.ID(), "error", err.Error())
		return
	}
	l.Close(postern.OK, "moved to a better transport")
}

// whyOver is the error of a session that is over.
func whyOver(err error) error {
	switch postern.KindOf(err) {
	case postern.OK:
		return errEnded
	case postern.Conflict:
		return errReplaced
	}
	return err
}

// told tells gone unless it has been told; nobody listens twice.
func told(gone chan<- error, err error) {
	select {
	case gone <- err:
	default:
	}
}

// drain lets the session's streams finish, at most for the grace period.
func (l *link) drain(ctx context.Context) {
	l.r.log.Info("draining", "session", l.ID(), "streams", l.Stats().Streams, "grace", l.r.grace.String())
	ctx, cancel := context.WithTimeout(ctx, l.r.grace)
	defer cancel()
	if err := l.Drain(ctx, "the agent stops"); err != nil {
		l.r.log.Info("streams were cut", "streams", l.Stats().Streams, "error", err.Error())
	}
}

// expose opens the agent's public ports. A port that the relay chose is asked for again by number after a reconnect. hello is held.
func (l *link) expose(ctx context.Context) error {
	for i, e := range l.r.exposed {
		address, err := l.Expose(ctx, e)
		if err != nil {
			return fmt.Errorf("%w: %w", errPort, err)
		}
		address, port, err := l.publicAddress(address)
		if err != nil {
			return fmt.Errorf("%w: the relay answered with the address %q", errPort, address)
		}
		l.r.exposed[i].Port = port
		if l.relieves != "" && address == l.r.address[i] {
			continue // it was not closed meanwhile
		}
		l.r.address[i] = address
		wanted := l.r.opts.Expose[i]
		l.r.log.Info("exposed", "address", address, "target", wanted.Target.String())
		if l.r.opts.OnExposed != nil {
			l.r.opts.OnExposed(wanted, address)
		}
	}
	return nil
}

// publicAddress completes an address without a host: the relay listens on all of its own and knows no name for itself, so it is the
// one that we found it by.
func (l *link) publicAddress(address string) (string, uint16, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address, 0, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return address, 0, err
	}
	if host == "" {
		host = transport.HostOf(l.addr)
	}
	return net.JoinHostPort(host, port), uint16(n), nil
}
