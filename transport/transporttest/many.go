package transporttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/transport"
)

// thousandStreams: a thousand streams are open at once, and each echoes its own bytes.
func thousandStreams(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	const streams = 1000
	var g errgroup.Group
	acceptEach(ctx, &g, agent, streams, echo)
	open := make([]postern.Stream, streams)
	for i := range open {
		s, err := relay.OpenStream(ctx)
		check(t, err)
		open[i] = s
		_, err = fmt.Fprintf(s, "this is stream %04d", i)
		check(t, err)
	}
	for i, s := range open { // none is closed before all have echoed
		got := make([]byte, len("this is stream 0000"))
		if _, err := io.ReadFull(s, got); err != nil || string(got) != fmt.Sprintf("this is stream %04d", i) {
			t.Fatalf("stream %d echoed %q, %v", i, got, err)
		}
	}
	for i, s := range open {
		check(t, s.CloseWrite())
		if err := receiveAll(s, nil); err != nil {
			t.Fatalf("the end of stream %d: %v", i, err)
		}
		check(t, s.Close())
	}
	check(t, g.Wait())
}

// streamLimit: the agent may have 2 streams open; a third waits, then fails as Limited; once one has ended there is room.
func streamLimit(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	first, firstFar := mustOpen(t, ctx, agent, relay)
	second, secondFar := mustOpen(t, ctx, agent, relay)
	waiting, cancel := context.WithTimeout(ctx, 4*shortly)
	defer cancel()
	start := time.Now()
	_, err := agent.OpenStream(waiting)
	check(t, wantKind("OpenStream beyond the limit", err, postern.Limited))
	if took := time.Since(start); took < 4*shortly {
		t.Errorf("OpenStream beyond the limit failed after %v without waiting for its ctx", took)
	}

	var g errgroup.Group
	g.Go(func() error {
		third, thirdFar, err := openPair(ctx, agent, relay)
		if err != nil {
			return fmt.Errorf("after a stream has ended: %w", err)
		}
		return errors.Join(third.Close(), thirdFar.Close())
	})
	check(t, errors.Join(first.Close(), firstFar.Close()))
	check(t, g.Wait())
	check(t, errors.Join(second.Close(), secondFar.Close()))
}

func stalledReadersAtRelay(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	stalledReaders(t, ctx, relay, agent, func(near, far postern.Stream) (from, to postern.Stream) { return far, near })
}

func stalledReadersAtAgent(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	stalledReaders(t, ctx, relay, agent, func(near, far postern.Stream) (from, to postern.Stream) { return near, far })
}

// stalledReaders: forty streams are full because nobody reads them. They do not hold up another stream in the same direction.
func stalledReaders(t *testing.T, ctx context.Context, relay, agent transport.Conn, direct func(near, far postern.Stream) (from, to postern.Stream)) {
	const stalled, size = 40, 32 << 20
	type ends struct{ from, to postern.Stream }
	var full []ends
	for range stalled {
		from, to := direct(mustOpen(t, ctx, relay, agent))
		full = append(full, ends{from, to})
	}
	var filling errgroup.Group
	for _, e := range full {
		filling.Go(func() error {
			_, err := fill(e.from)
			return err
		})
	}
	check(t, filling.Wait())

	from, to := direct(mustOpen(t, ctx, relay, agent))
	want := payload(size, 9)
	var g errgroup.Group
	g.Go(func() error { return sendAll(from, want) })
	g.Go(func() error { return receiveAll(to, want) })
	check(t, g.Wait())
	check(t, errors.Join(from.Close(), to.Close()))
	for _, e := range full {
		e.from.Abort(postern.Aborted)
		check(t, e.to.Close())
	}
}

// manyShortStreams: five thousand streams come and go, fifty at a time.
func manyShortStreams(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	const workers, each = 50, 100
	var g errgroup.Group
	acceptEach(ctx, &g, agent, workers*each, echo)
	for w := range workers {
		g.Go(func() error {
			for i := range each {
				if err := ask(ctx, relay, fmt.Appendf(nil, "worker %d asks for the %dth time", w, i)); err != nil {
					return fmt.Errorf("worker %d, stream %d: %w", w, i, err)
				}
			}
			return nil
		})
	}
	check(t, g.Wait())
}

// shortStreamsWithinLimit: where two streams are allowed, each that ends makes room, however it ends. One that is not wholly
// freed shows at once.
func shortStreamsWithinLimit(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	for i := range 300 {
		near, far := mustOpen(t, ctx, agent, relay)
		switch i % 5 {
		case 0: // both close, the far end first
			check(t, errors.Join(far.Close(), near.Close()))
		case 1: // an abort
			near.Abort(postern.Denied)
			check(t, far.Close())
		case 2: // both abort
			far.Abort(postern.Denied)
			near.Abort(postern.Denied)
		case 3: // close with bytes unread at the far end
			_, err := near.Write(payload(10_000, 10))
			check(t, err)
			check(t, errors.Join(near.Close(), far.Close()))
		case 4: // a whole conversation
			var g errgroup.Group
			g.Go(func() error { return echo(far) })
			check(t, sendAll(near, []byte("hello")))
			check(t, receiveAll(near, []byte("hello")))
			check(t, g.Wait())
			check(t, near.Close())
		}
	}
}

// ask sends question on a new stream and expects it back.
func ask(ctx context.Context, c transport.Conn, question []byte) error {
	s, err := c.OpenStream(ctx)
	if err != nil {
		return fmt.Errorf("OpenStream: %w", err)
	}
	if err := sendAll(s, question); err != nil {
		return err
	}
	if err := receiveAll(s, question); err != nil {
		return err
	}
	return s.Close()
}
