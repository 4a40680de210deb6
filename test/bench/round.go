//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/postern-dev/postern/test/bench/load"
	"github.com/postern-dev/postern/test/bench/peer"
	"github.com/postern-dev/postern/test/bench/report"
)

// slack is what a measurement may take beyond its windows before it counts as stuck.
const slack = 30 * time.Second

// round measures every case with every peer, in a random order. One case runs with all peers before the next begins, so that they meet the
// machine in the same state. The tunnels stay up for the round.
func (s *session) round(ctx context.Context, r *road, round int) (err error) {
	cases, agents := s.cases()
	up := &tunnels{road: r, open: make(map[string]*open)}
	defer func() { err = joined(err, up.closeAll()) }()
	for _, i := range s.random.Perm(len(cases)) {
		for _, j := range s.random.Perm(len(s.peers)) {
			c, p := cases[i], s.peers[j]
			s.progress.step(r.name, round, c.Name, p.Name)
			values, err := s.measure(ctx, up, p, c)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			s.add(report.Sample{Road: r.name, Round: round, Case: c.Name, Peer: p.Name, Values: values}, err)
		}
	}
	for _, j := range s.random.Perm(len(s.peers)) {
		if p := s.peers[j]; agents && p.Agents != nil {
			s.progress.step(r.name, round, agentsCase, p.Name)
			values, err := s.idleAgents(ctx, r, p)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			s.add(report.Sample{Road: r.name, Round: round, Case: agentsCase, Peer: p.Name, Values: values}, err)
		}
	}
	return nil
}

// add keeps a sample, or what went wrong in its place.
func (s *session) add(sample report.Sample, err error) {
	if err != nil {
		sample.Values, sample.Error = nil, err.Error()
		s.progress.say("%s in %s failed: %v", sample.Peer, sample.Case, err)
	}
	s.run.Samples = append(s.run.Samples, sample)
}

// measure runs a case with a peer, on the tunnel of the round or on one of its own. After a failure the tunnel is not used again.
func (s *session) measure(ctx context.Context, up *tunnels, p peer.Peer, c load.Case) (values load.Values, err error) {
	within := slack + s.o.warm + 3*s.o.window + time.Duration(s.o.streams)*5*time.Millisecond
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("stuck: no end within %v", within))
	defer cancel()
	// Over a link, what a client has not taken of a download fills the road for seconds after it has gone.
	fresh := c.Fresh || s.o.wan
	o, err := up.get(ctx, p, fresh)
	if err != nil {
		return nil, err
	}
	defer func() {
		if fresh || err != nil {
			err = joined(err, up.close(o))
		}
	}()
	b := &load.Bench{
		Target: up.road.target, Warm: s.o.warm, Window: s.o.window, Idle: s.o.streams,
		Dial: func(ctx context.Context) (net.Conn, error) { return up.road.dial(ctx, o.tunnel) },
	}
	// Looked up now: sshd has a process for each agent, which was not there at once.
	var errs [3]error
	b.Relay, errs[0] = o.tunnel.Relay()
	b.Agent, errs[1] = o.tunnel.Agent()
	b.Helper, errs[2] = o.tunnel.Helper()
	if err := joined(errs[:]...); err != nil {
		return nil, err
	}
	return up.road.watch(func() (load.Values, error) { return c.Run(ctx, b) })
}

// watch adds to the values how many packets the road has lost on its own account.
func (r *road) watch(run func() (load.Values, error)) (load.Values, error) {
	before, err := r.overruns()
	if err != nil {
		return nil, err
	}
	values, err := run()
	if err != nil {
		return nil, err
	}
	after, err := r.overruns()
	values["overruns"] = float64(after - before)
	return values, err
}

// idleAgents measures what an idle agent costs the relay.
func (s *session) idleAgents(ctx context.Context, r *road, p peer.Peer) (values load.Values, err error) {
	ctx, cancel := context.WithTimeout(ctx, slack+time.Duration(s.o.agents)*50*time.Millisecond)
	defer cancel()
	dir, err := os.MkdirTemp("", "postern-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = joined(err, os.RemoveAll(dir)) }()
	each, err := p.Agents(ctx, &peer.Site{Relay: r.relay, Agent: r.agent, Target: r.targetAddr, Dir: dir}, s.o.agents)
	return load.Values{"memory_relay": each / 1024}, err
}

// tunnels are those that are up in a round, by peer.
type tunnels struct {
	road *road
	open map[string]*open
}

// open is a tunnel with its folder.
type open struct {
	peer   string
	tunnel *peer.Tunnel
	dir    string
}

// get returns the tunnel of a peer, and starts it if there is none or the case wants its own.
func (t *tunnels) get(ctx context.Context, p peer.Peer, fresh bool) (*open, error) {
	if o := t.open[p.Name]; o != nil && !fresh {
		return o, nil
	}
	dir, err := os.MkdirTemp("", "postern-bench-")
	if err != nil {
		return nil, err
	}
	o := &open{peer: p.Name, dir: dir}
	o.tunnel, err = p.Start(ctx, &peer.Site{Relay: t.road.relay, Agent: t.road.agent, Target: t.road.targetAddr, Dir: dir})
	if err != nil {
		return nil, joined(fmt.Errorf("start: %w", err), os.RemoveAll(dir))
	}
	if err := t.passes(ctx, o.tunnel); err != nil {
		return nil, joined(err, t.close(o))
	}
	if !fresh {
		t.open[p.Name] = o
	}
	return o, nil
}

// passesWithin is how long an agent may take to connect.
const passesWithin = 10 * time.Second

// passes waits until bytes go through a tunnel.
func (t *tunnels) passes(ctx context.Context, tunnel *peer.Tunnel) error {
	ctx, cancel := context.WithTimeout(ctx, passesWithin)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	b := &load.Bench{Dial: func(ctx context.Context) (net.Conn, error) { return t.road.dial(ctx, tunnel) }}
	for {
		err := b.Probe(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("no bytes go through it: %w", err)
		}
	}
}

// close ends a tunnel.
func (t *tunnels) close(o *open) error {
	if t.open[o.peer] == o {
		delete(t.open, o.peer)
	}
	return joined(o.tunnel.Stop(), os.RemoveAll(o.dir))
}

func (t *tunnels) closeAll() error {
	var errs []error
	for _, o := range t.open {
		errs = append(errs, t.close(o))
	}
	return joined(errs...)
}
