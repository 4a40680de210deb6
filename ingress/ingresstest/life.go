package ingresstest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/internal/testnet"
)

func everyKindIsTold(t *testing.T, h Harness) {
	w := start(t, h, nil)
	for _, k := range postern.Kinds() {
		w.refuse(postern.Errorf(k, postern.HopTarget, "made up for a test"))
		// Early bytes must not make the kernel take the answer back.
		if err := w.rejected([]byte("early bytes that nobody reads"), k); err != nil {
			t.Errorf("%v: %v", k, err)
		}
	}
	w.refuse(nil)
	c, target := w.connect([]byte("still alive"))
	w.expect(target, "still alive")
	w.must("closing", c.Close())
}

func streamsAreCounted(t *testing.T, h Harness) {
	var live, all atomic.Int64
	var streams sync.Map
	w := start(t, h, func(s *ingress.Server) {
		s.Grace = patience
		s.OnStream = func(st *ingress.Stream) func() {
			live.Add(1)
			all.Add(1)
			streams.Store(st.Trace, st)
			return func() { live.Add(-1) }
		}
	})
	const many = 20
	clients := make([]*client, many)
	for i := range clients {
		c, target := w.connect([]byte("four"))
		w.expect(target, "four")
		w.write(target, []byte("sixsix"))
		w.expect(c, "sixsix")
		w.must("half-closing", target.CloseWrite())
		clients[i] = c
	}
	if live.Load() != many {
		t.Errorf("%d streams are live, want %d", live.Load(), many)
	}
	for _, c := range clients {
		w.must("closing", c.Close())
	}
	w.drain()
	w.ended()
	if live.Load() != 0 || all.Load() != many {
		t.Errorf("%d of %d streams are live after all have ended", live.Load(), all.Load())
	}
	streams.Range(func(trace, value any) bool {
		st := value.(*ingress.Stream)
		if st.Counts.Sent.Load() != 4 || st.Counts.Received.Load() != 6 {
			t.Errorf("stream %v counted %d and %d bytes, want 4 and 6", trace, st.Counts.Sent.Load(), st.Counts.Received.Load())
		}
		return true
	})
}

func limitOfCredential(t *testing.T, h Harness) {
	if h.Server().Auth == nil {
		return // nobody has a credential here
	}
	w := start(t, h, func(s *ingress.Server) { s.MaxStreamsPerCredential = 2 })
	c1, target1 := w.connect(nil)
	w.connect(nil)
	w.must("the third", w.rejected(nil, postern.Limited))
	w.must("closing", c1.Close())
	w.expectEnd(target1)
	w.must("closing", target1.Close())
	// The place is free once the server has noticed.
	for deadline := time.Now().Add(patience); ; {
		c := w.dial(nil)
		if err := h.Reply(c.r); err == nil {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("the place of an ended stream stayed taken: %v", err)
		}
	}
}

func streamsOutliveDraining(t *testing.T, h Harness) {
	w := start(t, h, func(s *ingress.Server) { s.Grace = patience })
	c, target := w.connect(nil)
	w.drain()
	select {
	case <-w.deaf:
	case <-time.After(patience):
		t.Fatal("a draining server still accepts")
	}
	var d net.Dialer
	if late, err := d.DialContext(t.Context(), "tcp", w.addr); err == nil {
		t.Error("a draining server still accepts")
		w.must("closing", late.Close())
	}
	w.write(c, []byte("still here"))
	w.expect(target, "still here")
	w.must("closing", c.Close())
	w.expectEnd(target)
	w.must("closing", target.Close())
	w.ended()
}

func graceEnds(t *testing.T, h Harness) {
	w := start(t, h, func(s *ingress.Server) { s.Grace = 10 * time.Millisecond })
	c, target := w.connect(nil)
	w.drain()
	w.ended()
	w.expectFailure(c)
	w.expectFailure(target)
}

func closeCutsOff(t *testing.T, h Harness) {
	w := start(t, h, func(s *ingress.Server) { s.Grace = time.Hour })
	c, target := w.connect(nil)
	w.must("closing the server", w.server.Close())
	w.ended()
	w.expectFailure(c)
	w.expectFailure(target)
}

// slowHandshakeIsCut runs in a bubble, where the time that nobody uses passes at once.
func slowHandshakeIsCut(t *testing.T, h Harness) {
	if h.Partial == nil {
		return // clients say nothing here, so they cannot be slow
	}
	for _, sent := range [][]byte{nil, h.Partial[:1], h.Partial} {
		synctest.Test(t, func(t *testing.T) {
			server := h.Server()
			server.Opener = postern.OpenerFunc(func(context.Context, *postern.Request) (postern.Stream, error) {
				return nil, errors.New("no call was to be made of this")
			})
			near, far := testnet.Pipe()
			begin := time.Now()
			if _, err := near.Write(sent); err != nil {
				t.Fatal(err)
			}
			server.ServeConn(t.Context(), far, nil)
			const promised = 10 * time.Second // PROMISES P-14
			if took := time.Since(begin); took > promised {
				t.Errorf("after %d bytes the connection was held for %v", len(sent), took)
			}
			if err := near.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// expiring lets everybody in whom the server's own method lets in, for some time.
type expiring struct {
	ingress.Authenticator
	after time.Duration
}

func (e expiring) Verify(ctx context.Context, c auth.Credential) (*postern.Identity, error) {
	id, err := e.Authenticator.Verify(ctx, c)
	if err != nil {
		return nil, err
	}
	short := *id
	short.Expires = time.Now().Add(e.after)
	return &short, nil
}

// expiredCredentialEndsStream runs in a bubble too.
func expiredCredentialEndsStream(t *testing.T, h Harness) {
	if h.Server().Auth == nil {
		return // nobody has a credential here
	}
	synctest.Test(t, func(t *testing.T) {
		server := h.Server()
		server.Auth = expiring{server.Auth, time.Hour}
		near, far := testnet.Pipe()
		out, target := testnet.Pipe()
		server.Opener = postern.OpenerFunc(func(context.Context, *postern.Request) (postern.Stream, error) { return out, nil })
		begin := time.Now()
		if _, err := near.Write(h.Hello(nil)); err != nil {
			t.Fatal(err)
		}
		server.ServeConn(t.Context(), far, nil)
		if took, want := time.Since(begin), time.Hour+postern.ExpiryGrace; took != want {
			t.Errorf("the stream ended after %v, want %v", took, want)
		}
		if err := h.Reply(bufio.NewReader(near)); err == nil {
			t.Error("the client saw a stream that was aborted as if it had ended well")
		}
		if _, err := io.Copy(io.Discard, target); err == nil {
			t.Error("the target saw a clean end")
		}
	})
}
