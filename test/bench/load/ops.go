//go:build linux

package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// op is something that a worker does over and over.
type op func() error

// setup prepares a worker: its operation, and what to do at the end.
type setup func(ctx context.Context) (do op, done func(), err error)

// took is how long an operation took that ended at a moment; negative if it failed.
type took struct {
	ended time.Time
	took  time.Duration
}

// operations are those that ended within a window.
type operations struct {
	*span

	times  []time.Duration // sorted
	failed int
	err    error // of one that failed
}

// operate has n workers at work and measures. The counters are read with the clocks.
func (b *Bench) operate(ctx context.Context, n int, prepare setup, counters ...func() int64) (*operations, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	workers := make([]worker, n)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel() // before waiting for them
	for i := range workers {
		if err := workers[i].prepare(ctx, prepare); err != nil {
			return nil, err
		}
		running.Go(func() { workers[i].work(ctx) })
	}
	s, err := b.measure(ctx, counters...)
	if err != nil {
		return nil, err
	}
	cancel()
	running.Wait()
	o := &operations{span: s}
	for i := range workers {
		o.add(&workers[i])
	}
	slices.Sort(o.times)
	// A tunnel may drop a connection now and then, and its report says so; more than one in a hundred is a case that failed.
	if len(o.times) == 0 || o.failed*100 > len(o.times) {
		return nil, fmt.Errorf("%d operations went well and %d failed, one of them with: %w", len(o.times), o.failed, orNone(o.err))
	}
	return o, nil
}

var errNone = errors.New("no error, but none came to its end")

func orNone(err error) error {
	if err == nil {
		return errNone
	}
	return err
}

type worker struct {
	do   op
	done func()
	all  []took
	err  error
}

func (w *worker) prepare(ctx context.Context, prepare setup) (err error) {
	w.do, w.done, err = prepare(ctx)
	return err
}

func (w *worker) work(ctx context.Context) {
	defer w.done()
	for failed := 0; ctx.Err() == nil && failed < patience; {
		start := time.Now()
		err := w.do()
		end := time.Now()
		if err != nil {
			if ctx.Err() == nil {
				w.err = err
				w.all = append(w.all, took{end, -1})
			}
			if _, again := errors.AsType[broken](err); !again {
				return // the connection is of no use any more
			}
			failed++
			continue
		}
		w.all = append(w.all, took{end, end.Sub(start)})
	}
}

// broken is a failure that concerns one operation only.
type broken struct{ error }

// Unwrap returns the failure itself.
func (b broken) Unwrap() error { return b.error }

// patience is how many failures a worker goes on after.
const patience = 100

func (o *operations) add(w *worker) {
	for _, t := range w.all {
		switch {
		case t.took < 0:
			o.failed++ // whenever it was
			o.err = w.err
		case !t.ended.Before(o.from) && t.ended.Before(o.to):
			o.times = append(o.times, t.took)
		}
	}
}

// quantile is the time that a share of the operations did not exceed, in microseconds.
func (o *operations) quantile(share float64) float64 {
	i := min(int(share*float64(len(o.times))), len(o.times)-1)
	return float64(o.times[i].Nanoseconds()) / 1e3
}

// values are what all operations have in common: latencies in us, how many a second, CPU time of the tunnel for each in us.
func (o *operations) values() Values {
	n := float64(len(o.times))
	return o.shares(Values{
		"p50": o.quantile(0.5), "p99": o.quantile(0.99), "max": o.quantile(1),
		"rate": n / o.took.Seconds(), "cpu": o.tunnel().Seconds() * 1e6 / n, "failed": float64(o.failed),
	})
}

// small is what pings and opens send there and back.
func small() []byte { return bytes.Repeat([]byte{'p', 'o', 's', 't'}, 16) }

// pinger sends 64 bytes there and back on one stream.
func (b *Bench) pinger(ctx context.Context) (op, func(), error) {
	conn, done, err := b.dial(ctx, 0)
	if err != nil {
		return nil, nil, err
	}
	message, answer := small(), make([]byte, 64)
	if err := firstEcho(conn, message, answer); err != nil {
		done()
		return nil, nil, err
	}
	return func() error { return exchange(conn, message, answer) }, done, nil
}

// firstEcho is the first message of a stream and its answer.
func firstEcho(conn net.Conn, message, answer []byte) error {
	if _, err := conn.Write(append([]byte{echo}, message...)); err != nil {
		return err
	}
	return receive(conn, message, answer)
}

// exchange is one more.
func exchange(conn net.Conn, message, answer []byte) error {
	if _, err := conn.Write(message); err != nil {
		return err
	}
	return receive(conn, message, answer)
}

func receive(conn net.Conn, want, answer []byte) error {
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	if !bytes.Equal(answer, want) {
		return fmt.Errorf("sent %q, got %q", want, answer)
	}
	return nil
}

// opener opens a stream, sends 64 bytes there and back, and closes it.
func (b *Bench) opener(ctx context.Context) (op, func(), error) {
	message, answer := small(), make([]byte, 64)
	return func() error {
		conn, done, err := b.dial(ctx, opWithin)
		if err != nil {
			return broken{err}
		}
		defer done()
		if err := firstEcho(conn, message, answer); err != nil {
			return broken{err}
		}
		return nil
	}, func() {}, nil
}

// requester sends an HTTP request and reads its answer, on one stream.
func (b *Bench) requester(ctx context.Context) (op, func(), error) {
	conn, done, err := b.dial(ctx, 0)
	if err != nil {
		return nil, nil, err
	}
	head, want, answer := []byte(page), []byte(text), make([]byte, len(text))
	return func() error {
		if _, err := conn.Write(head); err != nil {
			return err
		}
		return receive(conn, want, answer)
	}, done, nil
}

// Probe opens a stream, sends 64 bytes there and back, and closes it: whether the tunnel works at all.
func (b *Bench) Probe(ctx context.Context) error {
	do, done, err := b.opener(ctx)
	if err != nil {
		return err
	}
	defer done()
	return do()
}
