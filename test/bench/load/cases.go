//go:build linux

package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postern-dev/postern/test/bench/usage"
)

const (
	gib = 1 << 30
	kib = 1 << 10
)

// transfers is n downloads or uploads at once.
func transfers(n int, verb byte) func(context.Context, *Bench) (Values, error) {
	return func(ctx context.Context, b *Bench) (Values, error) {
		t, err := b.startTransfers(ctx, n, verb, 0)
		if err != nil {
			return nil, err
		}
		counters := []func() int64{t.total}
		for i := range n {
			counters = append(counters, t.counts[i].Load)
		}
		s, err := b.measure(ctx, counters...)
		if err := errors.Join(err, t.stop()); err != nil {
			return nil, err
		}
		if s.counts[0] == 0 {
			return nil, errors.New("not a byte has arrived")
		}
		moved := float64(s.counts[0]) / gib
		return s.shares(Values{
			"speed": float64(s.counts[0]) / 1e6 / s.took.Seconds(),
			"cpu":   s.tunnel().Seconds() / moved, "cpu_relay": s.relay.Seconds() / moved, "cpu_agent": s.agent.Seconds() / moved,
			"fairness": float64(slices.Min(s.counts[1:])) * float64(n) / float64(s.counts[0]),
		}), nil
	}
}

// ping is one stream with 64 bytes there and back.
func ping(ctx context.Context, b *Bench) (Values, error) {
	o, err := b.operate(ctx, 1, b.pinger)
	if err != nil {
		return nil, err
	}
	return o.values(), nil
}

// pacedRate is how many bytes a second each of the paced transfers sends.
const pacedRate = 20_000_000

// pingBeside is ping beside four downloads, of that rate if it is not 0.
func pingBeside(rate uint64) func(context.Context, *Bench) (Values, error) {
	const n = 4
	return func(ctx context.Context, b *Bench) (Values, error) {
		t, err := b.startTransfers(ctx, n, download, rate)
		if err != nil {
			return nil, err
		}
		o, err := b.operate(ctx, 1, b.pinger, t.total)
		if err := errors.Join(err, t.stop()); err != nil {
			return nil, err
		}
		v := o.values()
		v["speed"] = float64(o.counts[0]) / 1e6 / o.took.Seconds()
		if rate > 0 {
			v["delivered"] = v["speed"] * 1e6 / (n * float64(rate))
		}
		return v, nil
	}
}

// opens is n workers that open streams.
func opens(n int) func(context.Context, *Bench) (Values, error) {
	return func(ctx context.Context, b *Bench) (Values, error) {
		o, err := b.operate(ctx, n, b.opener)
		if err != nil {
			return nil, err
		}
		return o.values(), nil
	}
}

// requests is 64 connections with one HTTP request after the other.
func requests(ctx context.Context, b *Bench) (Values, error) {
	o, err := b.operate(ctx, 64, b.requester)
	if err != nil {
		return nil, err
	}
	return o.values(), nil
}

// stalled is new streams while sixteen downloads are not read, and the memory that those hold.
func stalled(ctx context.Context, b *Bench) (Values, error) {
	const n = 16
	before, err := b.operate(ctx, 1, b.opener)
	if err != nil {
		return nil, err
	}
	empty, err := b.memory()
	if err != nil {
		return nil, err
	}
	t, err := b.stall(ctx, n)
	if err != nil {
		return nil, err
	}
	full, err := b.memory()
	if err != nil {
		return nil, errors.Join(err, t.stop())
	}
	during, err := b.operate(ctx, 1, b.opener)
	if err := errors.Join(err, t.stop()); err != nil {
		return nil, fmt.Errorf("new streams beside %d that nobody reads: %w", n, err)
	}
	v := during.values()
	v["p99_idle"] = before.quantile(0.99)
	v["p99_ratio"] = v["p99"] / v["p99_idle"]
	return full.since(empty, n, v), nil
}

// settled is how long nothing must have moved for a transfer to count as stalled, and how long that is waited for.
const (
	settled       = 300 * time.Millisecond
	settledWithin = 6 * time.Second
)

// stall starts downloads that nobody reads and waits until every buffer on the way is full.
func (b *Bench) stall(ctx context.Context, n int) (*transfer, error) {
	t, err := b.startUnread(ctx, n)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(settledWithin)
	for last := int64(-1); t.total() != last && time.Now().Before(deadline); {
		last = t.total()
		if err := wait(ctx, settled); err != nil {
			return nil, errors.Join(err, t.stop())
		}
	}
	return t, nil
}

// warmers is how many streams are used before memory is looked at: the first few make what all share.
const warmers = 64

// idle opens streams, uses each once, and looks what memory they hold.
func idle(ctx context.Context, b *Bench) (Values, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	first, err := b.hold(ctx, min(warmers, b.Idle))
	if err != nil {
		return nil, err
	}
	first()
	if err := wait(ctx, b.settle()); err != nil {
		return nil, err
	}
	empty, err := b.memory()
	if err != nil {
		return nil, err
	}
	done, err := b.hold(ctx, b.Idle)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := wait(ctx, b.settle()); err != nil {
		return nil, err
	}
	s, err := b.measure(ctx)
	if err != nil {
		return nil, err
	}
	full, err := b.memory()
	if err != nil {
		return nil, err
	}
	whole := s.took.Seconds()
	return full.since(empty, b.Idle, Values{"idle_cpu": s.tunnel().Seconds() / whole}), nil
}

// settle is how long a tunnel is left alone before its memory counts.
func (b *Bench) settle() time.Duration { return max(b.Window/2, 100*time.Millisecond) }

// hold opens n streams at most 32 at a time, uses each once, and returns what closes them.
func (b *Bench) hold(ctx context.Context, n int) (func(), error) {
	closers := make([]func(), n)
	closeAll := func() {
		for _, c := range closers {
			if c != nil {
				c()
			}
		}
	}
	var group errgroup.Group
	group.SetLimit(32)
	for i := range n {
		group.Go(func() error {
			conn, done, err := b.dial(ctx, opWithin)
			if err != nil {
				return err
			}
			closers[i] = done
			return firstEcho(conn, small(), make([]byte, 64))
		})
	}
	if err := group.Wait(); err != nil {
		closeAll()
		return nil, err
	}
	return closeAll, nil
}

// memory is what the sides of a tunnel hold.
type memory struct{ relay, agent int64 }

func (b *Bench) memory() (m memory, err error) {
	var relayErr, agentErr error
	m.relay, relayErr = usage.Memory(b.Relay)
	m.agent, agentErr = usage.Memory(b.Agent)
	return m, errors.Join(relayErr, agentErr)
}

// since adds what is held for each of n streams, in KiB.
func (m memory) since(empty memory, n int, v Values) Values {
	v["memory_relay"] = float64(m.relay-empty.relay) / kib / float64(n)
	v["memory_agent"] = float64(m.agent-empty.agent) / kib / float64(n)
	v["memory"] = v["memory_relay"] + v["memory_agent"]
	return v
}
