package transporttest

import (
	"context"
	"fmt"
	"io"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/transport"
)

func info(t *testing.T, _ context.Context, relay, agent transport.Conn) {
	for name, i := range map[string]transport.Info{"relay": relay.Info(), "agent": agent.Info()} {
		if i.Transport == "" || i.Local == nil || i.Remote == nil {
			t.Errorf("Info of the %s end lacks something: %+v", name, i)
		}
	}
	if r, a := relay.Info(), agent.Info(); r.Transport != a.Transport || r.ALPN != a.ALPN {
		t.Errorf("the ends disagree: %s %q and %s %q", r.Transport, r.ALPN, a.Transport, a.ALPN)
	}
}

// openAndAcceptInOrder: streams are accepted in the order in which they were opened and written to.
func openAndAcceptInOrder(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	const streams = 100
	for i := range streams {
		s, err := relay.OpenStream(ctx)
		check(t, err)
		_, err = s.Write([]byte{byte(i)})
		check(t, err)
		check(t, s.Close())
	}
	for i := range streams {
		s, err := agent.AcceptStream(ctx)
		check(t, err)
		got, err := io.ReadAll(s)
		check(t, err)
		if len(got) != 1 || got[0] != byte(i) {
			t.Fatalf("stream %d brought %v", i, got)
		}
		check(t, s.Close())
	}
}

// echoOf sends n bytes to the agent and back, both directions at once.
func echoOf(n int) func(*testing.T, context.Context, transport.Conn, transport.Conn) {
	return func(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
		near, far := mustOpen(t, ctx, relay, agent)
		want := payload(n, 1)
		var g errgroup.Group
		g.Go(func() error { return echo(far) })
		g.Go(func() error { return sendAll(near, want) })
		g.Go(func() error { return receiveAll(near, want) })
		check(t, g.Wait())
		check(t, near.Close())
	}
}

func halfCloseByRelay(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	for i := range 100 {
		near, far := mustOpen(t, ctx, relay, agent)
		check(t, halfClose(i, near, far))
	}
}

func halfCloseByAgent(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	for i := range 100 {
		near, far := mustOpen(t, ctx, relay, agent)
		check(t, halfClose(i, far, near))
	}
}

// halfClose: asker asks and half-closes, answerer answers only after the clean end, and the whole answer arrives.
func halfClose(i int, asker, answerer postern.Stream) error {
	question, answer := payload(1000+i, 2), payload(100_000+i, 3)
	var g errgroup.Group
	g.Go(func() error {
		if err := receiveAll(answerer, question); err != nil {
			return fmt.Errorf("question %d: %w", i, err)
		}
		if err := sendAll(answerer, answer); err != nil {
			return fmt.Errorf("answering %d: %w", i, err)
		}
		return answerer.Close()
	})
	g.Go(func() error {
		if err := sendAll(asker, question); err != nil {
			return fmt.Errorf("asking %d: %w", i, err)
		}
		if err := asker.CloseWrite(); err != nil {
			return fmt.Errorf("CloseWrite for the second time: %w", err)
		}
		if _, err := asker.Write([]byte{0}); err == nil {
			return fmt.Errorf("a Write after CloseWrite succeeded")
		}
		if err := receiveAll(asker, answer); err != nil {
			return fmt.Errorf("answer %d: %w", i, err)
		}
		return asker.Close()
	})
	return g.Wait()
}

// earlyBytes: what is written right after OpenStream waits for the far end to accept.
func earlyBytes(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	const streams = 50
	for i := range streams {
		s, err := relay.OpenStream(ctx)
		check(t, err)
		check(t, sendAll(s, payload(50_000, uint64(i))))
	}
	for i := range streams {
		s, err := agent.AcceptStream(ctx)
		check(t, err)
		if err := receiveAll(s, payload(50_000, uint64(i))); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
		check(t, s.Close())
	}
}

// serverFirst: the accepting side speaks first and leaves at once; no banner is lost.
func serverFirst(t *testing.T, ctx context.Context, relay, agent transport.Conn) {
	banner := []byte("SSH-2.0-banner\r\n")
	for i := range 200 {
		near, far := mustOpen(t, ctx, relay, agent)
		_, err := far.Write(banner)
		check(t, err)
		check(t, far.Close())
		if err := receiveAll(near, banner); err != nil {
			t.Fatalf("banner %d: %v", i, err)
		}
		check(t, near.Close())
	}
}
