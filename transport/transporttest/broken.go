package transporttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/transport"
)

func abortByRelay(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	for _, k := range postern.Kinds() {
		near, far := mustOpen(t, ctx, relay, agent)
		check(t, abort(near, far, k))
	}
}

func abortByAgent(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	for _, k := range postern.Kinds() {
		near, far := mustOpen(t, ctx, relay, agent)
		check(t, abort(far, near, k))
	}
}

// abort: with bytes in flight both ways, one end aborts. The other sees the kind, reading and writing, and the end that aborted
// is of no more use either.
func abort(breaker, victim postern.Stream, k postern.Kind) error {
	var g errgroup.Group
	flowing := make(chan struct{})
	g.Go(func() error { return wantBroken("a Write that Abort interrupts", writeUntilError(breaker)) })
	g.Go(func() error {
		return wantKind("the far end's Write after Abort", writeUntilError(victim), k)
	})
	g.Go(func() error {
		buf := make([]byte, 64<<10)
		if _, err := io.ReadFull(victim, buf); err != nil {
			return fmt.Errorf("reading before Abort: %w", err)
		}
		close(flowing)
		return wantKind("the far end's Read after Abort", readUntilError(victim), k)
	})
	g.Go(func() error {
		<-flowing
		breaker.Abort(k)
		breaker.Abort(postern.Internal) // no second one
		if err := wantBroken("Read after Abort", readUntilError(breaker)); err != nil {
			return err
		}
		return breaker.Close()
	})
	err := g.Wait()
	return errors.Join(err, victim.Close())
}

// abortAfterCloseWrite: FIN is on its way when the stream is aborted. A clean end means that everything arrived.
func abortAfterCloseWrite(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	const size = 100_000
	for i := range 50 {
		near, far := mustOpen(t, ctx, relay, agent)
		check(t, sendAll(near, payload(size, 4)))
		near.Abort(postern.Denied)
		n, err := io.Copy(io.Discard, onlyReader{far})
		if err == nil && n != size {
			t.Fatalf("round %d: a clean end after %d of %d bytes", i, n, size)
		}
		if err != nil {
			check(t, wantKind("Read", err, postern.Denied))
		}
		check(t, far.Close())
	}
}

// abortAfterClose: Close stands, and what was written before arrives.
func abortAfterClose(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	near, far := mustOpen(t, ctx, relay, agent)
	want := payload(100_000, 5)
	_, err := near.Write(want)
	check(t, err)
	check(t, near.Close())
	near.Abort(postern.Internal)
	check(t, receiveAll(far, want))
	check(t, far.Close())
}

// closeWithErrorInMidTransfer: the streams of a conn that is closed fail on both sides, with the kind.
func closeWithErrorInMidTransfer(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	down, downFar := mustOpen(t, ctx, relay, agent)
	up, upFar := mustOpen(t, ctx, relay, agent)
	var g errgroup.Group
	flowing := make(chan struct{}, 2)
	transfer := func(from, to postern.Stream) {
		g.Go(func() error { return wantKind("Write", writeUntilError(from), postern.Draining) })
		g.Go(func() error {
			if _, err := io.ReadFull(to, make([]byte, 64<<10)); err != nil {
				return fmt.Errorf("reading before CloseWithError: %w", err)
			}
			flowing <- struct{}{}
			return wantKind("Read", readUntilError(to), postern.Draining)
		})
	}
	transfer(down, downFar)
	transfer(upFar, up)
	g.Go(func() error {
		<-flowing
		<-flowing
		return relay.CloseWithError(postern.Draining, "that will do")
	})
	check(t, g.Wait())
}

// closeWithErrorOfEachKind: AcceptStream on the far side tells kind and reason, whichever side closes.
func closeWithErrorOfEachKind(t *testing.T, newPair func(*testing.T) (relay, agent transport.Conn)) {
	checkLeaks(t)
	for i, k := range postern.Kinds() {
		relay, agent := newPair(t)
		closer, other := relay, agent
		if i%2 == 1 {
			closer, other = agent, relay
		}
		bounded(t, func(ctx context.Context) {
			check(t, closer.CloseWithError(k, "the reason of "+k.String()))
			check(t, closer.CloseWithError(postern.Internal, "the second call does not count"))
			_, err := other.AcceptStream(ctx)
			check(t, wantKind("AcceptStream", err, k))
			if !strings.Contains(err.Error(), "the reason of "+k.String()) {
				t.Errorf("the far end is told %q, which lacks the reason", err)
			}
			_, err = closer.AcceptStream(ctx)
			check(t, wantKind("AcceptStream of the end that closed", err, k))
		})
		closeBoth(t, relay, agent)
	}
}

// closeWithErrorAfterFIN: the conn ends right after a stream did. The far end has either the whole stream or an error.
func closeWithErrorAfterFIN(t *testing.T, newPair func(*testing.T) (relay, agent transport.Conn)) {
	checkLeaks(t)
	const size = 200_000
	for i := range 10 {
		relay, agent := newPair(t)
		bounded(t, func(ctx context.Context) {
			near, far := mustOpen(t, ctx, relay, agent)
			check(t, sendAll(near, payload(size, 6)))
			check(t, relay.CloseWithError(postern.Draining, ""))
			if n, err := io.Copy(io.Discard, onlyReader{far}); err == nil && n != size {
				t.Fatalf("round %d: a clean end after %d of %d bytes", i, n, size)
			}
		})
		closeBoth(t, relay, agent)
	}
}

// closeWithErrorWhileOpening: nobody waits for ever, on either side.
func closeWithErrorWhileOpening(t *testing.T, newPair func(*testing.T) (relay, agent transport.Conn)) {
	checkLeaks(t)
	for range 5 {
		relay, agent := newPair(t)
		bounded(t, func(ctx context.Context) { openWhileClosing(t, ctx, relay, agent) })
		closeBoth(t, relay, agent)
	}
}

func openWhileClosing(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	var g errgroup.Group
	open := func(c transport.Conn) func() error {
		return func() error {
			for {
				s, err := c.OpenStream(ctx)
				if err != nil {
					return wantKind("OpenStream", err, postern.Draining)
				}
				// The conn may have been closed since.
				_, _ = s.Write([]byte("x"))
			}
		}
	}
	accepted := make(chan struct{}, 1)
	accept := func(c transport.Conn) func() error {
		return func() error {
			for {
				if _, err := c.AcceptStream(ctx); err != nil {
					return wantKind("AcceptStream", err, postern.Draining)
				}
				select {
				case accepted <- struct{}{}:
				default:
				}
			}
		}
	}
	for range 4 {
		g.Go(open(relay))
		g.Go(open(agent)) // waits for its limit of streams
	}
	g.Go(accept(relay))
	g.Go(accept(agent))
	g.Go(func() error {
		<-accepted
		return relay.CloseWithError(postern.Draining, "")
	})
	check(t, g.Wait())
}
