//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"time"

	"github.com/postern-dev/postern/test/bench/load"
	"github.com/postern-dev/postern/test/bench/peer"
	"github.com/postern-dev/postern/test/bench/report"
	"github.com/postern-dev/postern/test/fault/link"
)

// road is where relay and agent stand, with the target at its end.
type road struct {
	name         string
	relay, agent peer.Host
	target       *load.Target
	targetAddr   string
	overruns     func() (uint64, error) // packets that the emulator had no time for, so far
	close        func() error
}

// roads are what there is to measure on; each is made when its turn comes.
func roads(o *options) map[string]func(context.Context) (*road, error) {
	if !o.wan {
		return map[string]func(context.Context) (*road, error){report.Loopback: loopback}
	}
	all := make(map[string]func(context.Context) (*road, error))
	for _, control := range o.controls {
		for _, loss := range o.losses {
			name := linkName(loss, control)
			all[name] = func(ctx context.Context) (*road, error) { return overLink(ctx, name, loss, control, o.seed) }
		}
	}
	return all
}

// roadNames is their order.
func roadNames(o *options) []string {
	if !o.wan {
		return []string{report.Loopback}
	}
	var names []string
	for _, control := range o.controls {
		for _, loss := range o.losses {
			names = append(names, linkName(loss, control))
		}
	}
	return names
}

// The links of the table: 40 ms there and back, 400 Mbit/s.
const (
	linkDelay = 20 * time.Millisecond
	linkRate  = 400_000_000
)

func linkName(loss float64, control string) string {
	return fmt.Sprintf("40 ms, 400 Mbit/s, %g %% loss, %s", loss*100, control)
}

func loopback(ctx context.Context) (*road, error) {
	here := peer.Here()
	r := &road{name: report.Loopback, relay: here, agent: here, overruns: func() (uint64, error) { return 0, nil }}
	return r, r.serve(ctx, func() error { return nil })
}

func overLink(ctx context.Context, name string, loss float64, control string, seed uint64) (*road, error) {
	c := link.Conditions{Rate: linkRate, Delay: linkDelay, Loss: loss}
	l, err := link.Open(link.Options{A: c, B: c, Seed: seed, Congestion: control})
	if err != nil {
		return nil, err
	}
	r := &road{name: name, relay: side(l, link.B), agent: side(l, link.A), overruns: func() (uint64, error) {
		a, errA := l.Overruns(link.A)
		b, errB := l.Overruns(link.B)
		return a + b, joined(errA, errB)
	}}
	return r, r.serve(ctx, l.Close)
}

func side(l *link.Link, s link.Side) peer.Host {
	return peer.Host{
		Addr:    l.Addr(s),
		Command: func(name string, args ...string) *exec.Cmd { return l.Command(s, name, args...) },
		In:      func(f func() error) error { return l.In(s, f) },
	}
}

// serve starts the target on the agent's loopback. After an error the road is closed.
func (r *road) serve(ctx context.Context, then func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	var ln net.Listener
	err := r.agent.In(func() (err error) {
		ln, err = net.Listen("tcp", netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0).String())
		return err
	})
	if err != nil {
		cancel()
		return joined(err, then())
	}
	r.target, r.targetAddr = load.NewTarget(), ln.Addr().String()
	ended := make(chan error, 1)
	go func() { ended <- r.target.Serve(ctx, ln) }()
	r.close = func() error {
		cancel()
		return joined(<-ended, then())
	}
	return nil
}

// dial connects a client on the relay's side.
func (r *road) dial(ctx context.Context, t *peer.Tunnel) (conn net.Conn, err error) {
	err = r.relay.In(func() error {
		conn, err = (&net.Dialer{Timeout: dialWithin}).DialContext(ctx, "tcp", t.Addr)
		return err
	})
	if err != nil || t.Preface == nil {
		return conn, err
	}
	if err := conn.SetDeadline(time.Now().Add(dialWithin)); err != nil {
		return nil, joined(err, conn.Close())
	}
	if err := t.Preface(conn); err != nil {
		return nil, joined(err, conn.Close())
	}
	return conn, conn.SetDeadline(time.Time{})
}

const dialWithin = 10 * time.Second
