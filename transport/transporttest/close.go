package transporttest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/transport"
)

// closeDelivers: everything written before Close arrives, then a clean end.
func closeDelivers(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	want := payload(1<<20, 8)
	for range 5 {
		near, far := mustOpen(t, ctx, relay, agent)
		var g errgroup.Group
		g.Go(func() error {
			if _, err := near.Write(want); err != nil {
				return err
			}
			return near.Close()
		})
		check(t, receiveAll(far, want))
		check(t, g.Wait())
		check(t, far.Close())
	}
}

// closeStopsWriter: what comes after Close is thrown away and its writer is told.
func closeStopsWriter(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	for i := range 2 {
		near, far := mustOpen(t, ctx, relay, agent)
		closer, writer := near, far
		if i == 1 {
			closer, writer = far, near
		}
		var g errgroup.Group
		g.Go(func() error { return wantBroken("Write after the far end's Close", writeUntilError(writer)) })
		_, err := closer.Read(make([]byte, 1))
		check(t, err)
		check(t, closer.Close())
		check(t, g.Wait())
		check(t, receiveAll(writer, nil))
		check(t, writer.Close())
	}
}

// closeTwice: every call succeeds, and a closed stream is of no more use.
func closeTwice(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	near, far := mustOpen(t, ctx, relay, agent)
	for _, s := range []postern.Stream{near, far} {
		check(t, s.Close())
		check(t, s.Close())
		_, err := s.Read(make([]byte, 1))
		check(t, wantBroken("Read after Close", err))
		_, err = s.Write([]byte{1})
		check(t, wantBroken("Write after Close", err))
		if err := s.CloseWrite(); err != nil {
			t.Errorf("CloseWrite after Close: %v", err)
		}
	}
}

// closeWhileReading: a Read that waits returns.
func closeWhileReading(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	near, far := mustOpen(t, ctx, relay, agent)
	var g errgroup.Group
	reading := make(chan struct{})
	g.Go(func() error {
		close(reading)
		return wantBroken("a Read that Close interrupts", readUntilError(near))
	})
	<-reading
	check(t, near.Close())
	check(t, g.Wait())
	check(t, far.Close())
}

// closeWhileWriting: a Write that waits for the reader returns, and Close does not wait for the reader either.
func closeWhileWriting(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	near, far := mustOpen(t, ctx, relay, agent)
	check(t, endWhileWriting(near, far, near.Close))
	check(t, far.Close())
}

// closeWriteWhileWriting is the same for CloseWrite.
func closeWriteWhileWriting(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	near, far := mustOpen(t, ctx, relay, agent)
	check(t, endWhileWriting(near, far, near.CloseWrite))
	check(t, errors.Join(near.Close(), far.Close()))
}

// endWhileWriting calls end in the middle of a Write that is larger than what any window takes; far does not read it.
func endWhileWriting(near, far postern.Stream, end func() error) error {
	var g errgroup.Group
	g.Go(func() error {
		n, err := near.Write(make([]byte, 64<<20))
		if err == nil {
			return fmt.Errorf("a Write took %d bytes that nobody reads", n)
		}
		return wantBroken("a Write that is interrupted", err)
	})
	if _, err := far.Read(make([]byte, 1)); err != nil { // the Write is under way
		return err
	}
	return errors.Join(end(), g.Wait())
}

// cancelledAccept: giving up an AcceptStream does no harm.
func cancelledAccept(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	waiting, cancel := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error {
		if _, err := agent.AcceptStream(waiting); !errors.Is(err, context.Canceled) {
			return fmt.Errorf("an AcceptStream whose ctx ends: %v, want context.Canceled", err)
		}
		return nil
	})
	cancel()
	check(t, g.Wait())
	if _, err := relay.OpenStream(waiting); err == nil {
		t.Error("OpenStream with a cancelled ctx succeeded")
	}
	near, far := mustOpen(t, ctx, relay, agent)
	check(t, errors.Join(near.Close(), far.Close()))
}

// openAfterClose: neither side opens streams on a conn that is over.
func openAfterClose(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	check(t, agent.CloseWithError(postern.Conflict, "somebody else came"))
	_, err := agent.OpenStream(ctx)
	check(t, wantKind("OpenStream on the side that closed", err, postern.Conflict))
	_, err = relay.AcceptStream(ctx)
	check(t, wantKind("AcceptStream", err, postern.Conflict))
	_, err = relay.OpenStream(ctx)
	check(t, wantKind("OpenStream on the other side", err, postern.Conflict))
}

// longReason: a reason of any length is told, in part if need be.
func longReason(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	check(t, relay.CloseWithError(postern.Overloaded, strings.Repeat("überlang ", 10_000)))
	_, err := agent.AcceptStream(ctx)
	check(t, wantKind("AcceptStream", err, postern.Overloaded))
	if !strings.Contains(err.Error(), "überlang überlang") {
		t.Errorf("the far end is told %.100q", err)
	}
}
