//go:build linux

// Package load puts a tunnel under load and measures what it does: the cases of the benchmark. It is both ends of the tunnel,
// clients and target, so that it can check every transfer and count at the end where bytes arrive.
//
//	target := load.NewTarget()
//	go target.Serve(ctx, ln)
//	... start a tunnel that leads to ln.Addr() ...
//	b := &load.Bench{Target: target, Dial: dial, Relay: pids, Agent: pids, Warm: 300 * time.Millisecond, Window: 2 * time.Second}
//	values, err := load.Cases()[0].Run(ctx, b)
package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"github.com/postern-dev/postern/test/bench/usage"
)

// Bench is one tunnel under load. Its cases run one at a time.
type Bench struct {
	Target *Target
	Dial   func(ctx context.Context) (net.Conn, error) // a client's connection to the target through the tunnel
	Relay  []int                                       // processes of the public side
	Agent  []int                                       // processes of the inner side
	Helper []int                                       // processes that clients of this tunnel need on their own side
	Warm   time.Duration                               // how long the load runs before it is measured
	Window time.Duration                               // how long it is measured
	Idle   int                                         // how many streams the case of idle streams opens
}

// Values are what a case has measured, by the keys of its metrics.
type Values map[string]float64

// Case is one thing to measure.
type Case struct {
	Name  string
	Fresh bool // wants a tunnel that nobody has used: it looks at memory, or may leave the tunnel stuck
	Run   func(ctx context.Context, b *Bench) (Values, error)
}

// Cases are all cases, in the order of a report.
func Cases() []Case {
	return []Case{
		{Name: "down1", Run: transfers(1, download)},
		{Name: "up1", Run: transfers(1, upload)},
		{Name: "down16", Run: transfers(16, download)},
		{Name: "up16", Run: transfers(16, upload)},
		{Name: "ping", Run: ping},
		{Name: "load4", Run: pingBeside(0)},
		{Name: "paced4", Run: pingBeside(pacedRate)},
		{Name: "open1", Run: opens(1)},
		{Name: "open32", Run: opens(32)},
		{Name: "http64", Run: requests},
		{Name: "stalled16", Run: stalled, Fresh: true},
		{Name: "idle", Run: idle, Fresh: true},
	}
}

// opWithin bounds one operation: a tunnel that takes longer is stuck.
const opWithin = 10 * time.Second

// span is what happened in a measured window.
type span struct {
	took                      time.Duration
	from, to                  time.Time
	counts                    []int64 // of each counter that was given
	relay, agent, helper, own time.Duration
	busy                      time.Duration // of the whole machine
}

// tunnel is the processor time of all that belongs to the tunnel.
func (s *span) tunnel() time.Duration { return s.relay + s.agent + s.helper }

// reading is the state of all clocks at one moment.
type reading struct {
	at                              time.Time
	relay, agent, helper, own, busy time.Duration
	counts                          []int64
}

func (b *Bench) read(counters []func() int64) (reading, error) {
	r := reading{at: time.Now()}
	for _, count := range counters {
		r.counts = append(r.counts, count())
	}
	var errs [5]error
	r.relay, errs[0] = usage.CPU(b.Relay)
	r.agent, errs[1] = usage.CPU(b.Agent)
	r.helper, errs[2] = usage.CPU(b.Helper)
	r.own, errs[3] = usage.CPU([]int{os.Getpid()})
	r.busy, errs[4] = usage.Busy()
	return r, errors.Join(errs[:]...)
}

// measure lets a load that is running warm up, and reads all clocks and counters at both ends of the window.
func (b *Bench) measure(ctx context.Context, counters ...func() int64) (*span, error) {
	if err := wait(ctx, b.Warm); err != nil {
		return nil, err
	}
	first, err := b.read(counters)
	if err != nil {
		return nil, err
	}
	if err := wait(ctx, b.Window); err != nil {
		return nil, err
	}
	last, err := b.read(counters)
	if err != nil {
		return nil, err
	}
	s := &span{
		from: first.at, to: last.at, took: last.at.Sub(first.at),
		relay: last.relay - first.relay, agent: last.agent - first.agent, helper: last.helper - first.helper,
		own: last.own - first.own, busy: last.busy - first.busy,
	}
	for i := range counters {
		s.counts = append(s.counts, last.counts[i]-first.counts[i])
	}
	return s, nil
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// shares adds who else has used the machine to the values: the load generator with the target, and everybody else.
func (s *span) shares(v Values) Values {
	whole := s.took.Seconds() * float64(runtime.NumCPU())
	v["generator"] = s.own.Seconds() / whole
	v["others"] = max(0, (s.busy-s.own-s.tunnel()).Seconds()/whole)
	return v
}

// dial connects. Whatever waits on the connection fails when ctx ends, or after within if that is not 0.
func (b *Bench) dial(ctx context.Context, within time.Duration) (net.Conn, func(), error) {
	conn, err := b.Dial(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("connect: %w", err)
	}
	if within > 0 {
		if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
			return nil, nil, errors.Join(err, conn.Close())
		}
	}
	stop := context.AfterFunc(ctx, func() {
		_ = conn.SetDeadline(time.Unix(1, 0)) // wakes who waits; one that is closed needs no waking
	})
	return conn, func() {
		stop()
		_ = conn.Close() // all that mattered has been read
	}, nil
}
