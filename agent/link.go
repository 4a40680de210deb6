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
)

// link is one session with a relay, being served.
type link struct {
	*session.Session
	agent *Agent
	addr  string
	moved chan struct{} // closed when the relay drains
}

// Why a link is given up, where the session's own error does not say it.
var (
	errMoved    = errors.New("the relay asked us to move")
	errReplaced = errors.New("another agent with the same credential took over")
	errEnded    = errors.New("the relay ended the session")
	errPort     = errors.New("the public port was not opened")
)

// serve runs the session until it is over, and tells gone once as soon as a successor is needed: when the session is over or its
// relay drains. When ctx ends, it lets streams finish within the grace period.
func (l *link) serve(ctx context.Context, gone chan<- error) {
	info, log := l.Info(), l.agent.log
	log.Info("connected", "relay", l.addr, "transport", info.Transport, "agent", string(l.Agent()), "session", l.ID())

	// The session outlives ctx by the grace period.
	run, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	over := make(chan error, 1)
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { over <- l.Run(run) })

	if err := l.expose(ctx); err != nil {
		l.Close(postern.OK, "the port was not opened")
		gone <- err
		return
	}
	l.agent.ready.add(l.agent.readyRelay(l))
	defer l.agent.ready.remove(l.ID())

	moved := l.moved
	for {
		select {
		case err := <-over:
			told(gone, whyOver(err))
			return
		case <-moved:
			moved = nil
			told(gone, errMoved)
		case <-ctx.Done():
			l.drain(run)
			l.Close(postern.Draining, "the agent stops")
			told(gone, nil)
			return
		}
	}
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
	l.agent.log.Info("draining", "session", l.ID(), "streams", l.Stats().Streams, "grace", l.agent.grace.String())
	ctx, cancel := context.WithTimeout(ctx, l.agent.grace)
	defer cancel()
	if err := l.Drain(ctx, "the agent stops"); err != nil {
		l.agent.log.Info("streams were cut", "streams", l.Stats().Streams, "error", err.Error())
	}
}

// expose opens the agent's public ports. A port that the relay chose is asked for again by number after a reconnect.
func (l *link) expose(ctx context.Context) error {
	for i, e := range l.agent.exposed {
		address, err := l.Expose(ctx, e)
		if err != nil {
			return fmt.Errorf("%w: %w", errPort, err)
		}
		address, port, err := l.publicAddress(address)
		if err != nil {
			return fmt.Errorf("%w: the relay answered with the address %q", errPort, address)
		}
		l.agent.exposed[i].Port = port
		wanted := l.agent.opts.Expose[i]
		l.agent.log.Info("exposed", "address", address, "target", wanted.Target.String())
		if l.agent.opts.OnExposed != nil {
			l.agent.opts.OnExposed(wanted, address)
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
		if host, _, err = net.SplitHostPort(l.addr); err != nil {
			return address, 0, err
		}
	}
	return net.JoinHostPort(host, port), uint16(n), nil
}
