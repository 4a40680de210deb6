package transporttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/transport"
)

// shortly is a deadline in the near future.
const shortly = 50 * time.Millisecond

// wantDeadline checks that err says, in both ways that Go has, that a deadline has passed.
func wantDeadline(what string, err error) error {
	timeout, ok := errors.AsType[net.Error](err)
	if !errors.Is(err, os.ErrDeadlineExceeded) || !ok || !timeout.Timeout() {
		return fmt.Errorf("%s: %v, want os.ErrDeadlineExceeded that is a net.Error with Timeout", what, err)
	}
	return nil
}

// readDeadline: a Read ends at its deadline; with a new one the stream goes on without loss.
func readDeadline(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	near, far := mustOpen(t, ctx, relay, agent)
	for _, s := range []postern.Stream{near, far} {
		start := time.Now()
		check(t, s.SetReadDeadline(start.Add(shortly)))
		_, err := s.Read(make([]byte, 1))
		check(t, wantDeadline("Read", err))
		if took := time.Since(start); took < shortly {
			t.Fatalf("the deadline came %v early", shortly-took)
		}
		check(t, s.SetReadDeadline(time.Time{}))
	}
	want := payload(10_000, 7)
	check(t, sendAll(near, want))
	check(t, receiveAll(far, want))
	check(t, errors.Join(near.Close(), far.Close()))
}

// writeDeadline: a Write that waits for the reader ends at its deadline and says how much it took; later the far end gets just that.
func writeDeadline(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	near, far := mustOpen(t, ctx, relay, agent)
	taken, err := fill(near)
	check(t, err)
	check(t, near.SetWriteDeadline(time.Time{}))
	var g errgroup.Group
	g.Go(func() error {
		if _, err := near.Write([]byte("the rest")); err != nil {
			return fmt.Errorf("a Write after the deadline was taken away: %w", err)
		}
		return near.CloseWrite()
	})
	n, err := io.Copy(io.Discard, onlyReader{far})
	check(t, errors.Join(err, g.Wait()))
	if want := int64(taken + len("the rest")); n != want {
		t.Fatalf("the far end got %d bytes; Write said it took %d", n, want)
	}
	check(t, errors.Join(near.Close(), far.Close()))
}

// fill writes until a Write times out, which it does when the far end reads nothing, and returns how much was taken.
func fill(s postern.Stream) (int, error) {
	taken := 0
	chunk := make([]byte, 64<<10)
	for {
		if err := s.SetWriteDeadline(time.Now().Add(shortly)); err != nil {
			return taken, err
		}
		n, err := s.Write(chunk)
		taken += n
		if err != nil {
			return taken, wantDeadline("Write to a far end that does not read", err)
		}
		if taken > 256<<20 {
			return taken, fmt.Errorf("the stream took %d bytes that nobody reads: there is no back-pressure", taken)
		}
	}
}

// deadlineInThePast: nothing works until the deadline is taken away, also if bytes are there.
func deadlineInThePast(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	near, far := mustOpen(t, ctx, relay, agent)
	for _, past := range []time.Time{time.Now().Add(-time.Hour), time.Unix(1, 0), time.Now()} {
		check(t, near.SetDeadline(past))
		_, err := near.Read(make([]byte, 1))
		check(t, wantDeadline("Read", err))
		_, err = near.Write([]byte{1})
		check(t, wantDeadline("Write", err))
	}
	check(t, near.SetDeadline(time.Time{}))
	var g errgroup.Group
	g.Go(func() error { return echo(far) })
	check(t, sendAll(near, []byte("hello")))
	check(t, receiveAll(near, []byte("hello")))
	check(t, g.Wait())
	check(t, near.Close())
}

// deadlineWakesAReader: a deadline set by another goroutine reaches a Read that waits already.
func deadlineWakesAReader(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	near, far := mustOpen(t, ctx, relay, agent)
	for _, s := range []postern.Stream{near, far} {
		var g errgroup.Group
		reading := make(chan struct{})
		g.Go(func() error {
			close(reading)
			_, err := s.Read(make([]byte, 1))
			return wantDeadline("Read", err)
		})
		<-reading
		check(t, s.SetReadDeadline(time.Now().Add(shortly)))
		check(t, g.Wait())
	}
	check(t, errors.Join(near.Close(), far.Close()))
}
