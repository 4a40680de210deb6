package session_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/testnet"
	"github.com/postern-dev/postern/session"
	"github.com/postern-dev/postern/transport"
	"github.com/postern-dev/postern/transport/mux"
)

// The two ways to open a stream have to be the same to whoever opens and to whoever is asked.

// fewStreams is a connection whose far end takes but the control stream.
type fewStreams struct{ transport.Conn }

func (c fewStreams) Info() transport.Info {
	info := c.Conn.Info()
	info.FewStreams = true
	return info
}

// eachOpening runs a test with the session of a client's program at a relay that opens by opener: once where the program
// opens the streams, once where it asks the relay to.
func eachOpening(t *testing.T, test func(t *testing.T, start func(t *testing.T, serving session.Serving) (relay, client *session.Session))) {
	for name, few := range map[string]bool{"opened here": false, "asked for": true} {
		t.Run(name, func(t *testing.T) {
			test(t, func(t *testing.T, serving session.Serving) (relay, client *session.Session) {
				return clientPair(t, serving, few)
			})
		})
	}
}

func clientPair(t *testing.T, serving session.Serving, few bool) (relay, client *session.Session) {
	t.Helper()
	a, b := testnet.Pipe()
	many := mux.Options{Server: true, MaxStreams: transport.DefaultMaxStreams}
	if few {
		many.MaxStreams = 1
	}
	rc, cc := transport.Conn(mux.New(a, many)), transport.Conn(mux.New(b, mux.Options{MaxStreams: transport.DefaultMaxStreams}))
	if few {
		cc = fewStreams{cc}
	}
	ao := accepting(nas(postern.RoleClient))
	serving.Side = postern.HopRelay
	ao.Serving = serving
	return pairOver(t, rc, cc, ao, session.ConnectOptions{Role: postern.RoleClient, Token: "t"})
}

func opening(f func(ctx context.Context, req *postern.Request) (postern.Stream, error)) session.Serving {
	return session.Serving{Opener: postern.OpenerFunc(f)}
}

// within fails the test if f has not returned after ten seconds.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: not within 10 s", what)
	}
}

func TestEachOpeningCarriesBytesAndEndsBothWays(t *testing.T) {
	eachOpening(t, func(t *testing.T, start func(*testing.T, session.Serving) (_, _ *session.Session)) {
		target := make(chan postern.Stream, 1)
		relay, client := start(t, opening(func(context.Context, *postern.Request) (postern.Stream, error) {
			near, far := testnet.Pipe()
			io.WriteString(far, "banner") // there before the answer is
			target <- far
			return near, nil
		}))
		s, err := client.Open(t.Context(), request())
		if err != nil {
			t.Fatal(err)
		}
		far := <-target
		if got, err := io.ReadAll(io.LimitReader(s, 6)); string(got) != "banner" || err != nil {
			t.Fatalf("read %q, %v", got, err)
		}
		// The client's end travels, the other direction lives.
		io.WriteString(s, "question")
		s.CloseWrite()
		if got, err := io.ReadAll(far); string(got) != "question" || err != nil {
			t.Errorf("the target read %q, %v", got, err)
		}
		io.WriteString(far, "answer")
		far.Close()
		if got, err := io.ReadAll(s); string(got) != "answer" || err != nil {
			t.Errorf("the client read %q, %v", got, err)
		}
		s.Close()
		if st := client.Stats(); st.Streams != 0 || st.Sent != 8 || st.Received != 12 {
			t.Errorf("the client counted %+v", st)
		}
		for relay.Stats().Streams != 0 {
			runtime.Gosched()
			// It notices the end a little later.
		}
		if st := relay.Stats(); st.Sent != 8 || st.Received != 12 {
			t.Errorf("the relay counted %+v", st)
		}
	})
}

func TestEachOpeningTellsWhatTheTargetSaw(t *testing.T) {
	eachOpening(t, func(t *testing.T, start func(*testing.T, session.Serving) (_, _ *session.Session)) {
		_, client := start(t, opening(func(context.Context, *postern.Request) (postern.Stream, error) {
			near, far := testnet.Pipe()
			far.Close()
			return bound{near}, nil
		}))
		s, err := client.Open(t.Context(), request())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if got := s.LocalAddr().String(); got != "192.0.2.7:5000" {
			t.Errorf("the target saw %s", got)
		}
	})
}

type bound struct{ postern.Stream }

func (bound) LocalAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.7:5000"))
}

func TestEachOpeningPassesAbortsOn(t *testing.T) {
	eachOpening(t, func(t *testing.T, start func(*testing.T, session.Serving) (_, _ *session.Session)) {
		target := make(chan postern.Stream, 1)
		_, client := start(t, opening(func(context.Context, *postern.Request) (postern.Stream, error) {
			near, far := testnet.Pipe()
			target <- far
			return near, nil
		}))
		open := func() (s, far postern.Stream) {
			s, err := client.Open(t.Context(), request())
			if err != nil {
				t.Fatal(err)
			}
			return s, <-target
		}
		s, far := open()
		far.Abort(postern.Timeout)
		if _, err := io.ReadAll(s); postern.KindOf(err) != postern.Timeout {
			t.Errorf("the target broke off, the client read %v", err)
		}
		s.Close()
		s, far = open()
		s.Abort(postern.Limited)
		if _, err := io.ReadAll(far); postern.KindOf(err) != postern.Limited {
			t.Errorf("the client broke off, the target read %v", err)
		}
		s.Close()
	})
}

func TestEachOpeningSaysWhyThereIsNoStream(t *testing.T) {
	eachOpening(t, func(t *testing.T, start func(*testing.T, session.Serving) (_, _ *session.Session)) {
		kinds := make(chan postern.Kind, 1)
		relay, client := start(t, opening(func(context.Context, *postern.Request) (postern.Stream, error) {
			return nil, &postern.Error{Kind: <-kinds, Hop: postern.HopTarget, Detail: "because", Err: errors.New("a secret")}
		}))
		for _, k := range postern.Kinds() {
			kinds <- k
			_, err := client.Open(t.Context(), request())
			if postern.KindOf(err) != k || postern.HopOf(err, "") != postern.HopTarget || err.Error() != "because" {
				t.Errorf("%v arrived as %v at %v: %v", k, postern.KindOf(err), postern.HopOf(err, ""), err)
			}
		}
		if n := client.Stats().Streams + relay.Stats().Streams; n != 0 {
			t.Errorf("%d streams are still counted", n)
		}
	})
}

func TestEachOpeningRefusesWhatNobodyMayMean(t *testing.T) {
	eachOpening(t, func(t *testing.T, start func(*testing.T, session.Serving) (_, _ *session.Session)) {
		_, client := start(t, session.Serving{Opener: echo()})
		req := request()
		req.Target.Host = "DB.internal"
		if _, err := client.Open(t.Context(), req); postern.KindOf(err) != postern.BadAddress {
			t.Errorf("Open = %v", err)
		}
		// It is the open that is wrong, not the session.
		s, err := client.Open(t.Context(), request())
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	})
}

func TestEachOpeningFailsWithItsSession(t *testing.T) {
	eachOpening(t, func(t *testing.T, start func(*testing.T, session.Serving) (_, _ *session.Session)) {
		began, gaveUp := make(chan struct{}, 1), make(chan error, 1)
		relay, client := start(t, hang(began, gaveUp))
		go func() { <-began; relay.Close(postern.Internal, "it broke") }()
		if _, err := client.Open(t.Context(), request()); postern.KindOf(err) != postern.AgentOffline {
			t.Errorf("Open = %v", err)
		}
		<-gaveUp
		if _, err := client.Open(t.Context(), request()); postern.KindOf(err) != postern.AgentOffline {
			t.Errorf("Open after the end = %v", err)
		}
	})
}

func TestEachOpeningIsRefusedWhileTheRelayDrains(t *testing.T) {
	eachOpening(t, func(t *testing.T, start func(*testing.T, session.Serving) (_, _ *session.Session)) {
		relay, client := start(t, session.Serving{Opener: echo()})
		s, err := client.Open(t.Context(), request())
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- relay.Drain(t.Context(), "restart") }()
		for {
			late, err := client.Open(t.Context(), request())
			if postern.KindOf(err) == postern.Draining {
				break
			}
			late.Close()
		}
		io.WriteString(s, "still here")
		s.CloseWrite()
		if got, err := io.ReadAll(s); string(got) != "still here" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		s.Close()
		if err := <-done; err != nil {
			t.Errorf("Drain = %v", err)
		}
	})
}

func TestStreamsThatWereAskedForAreLimited(t *testing.T) {
	serving := session.Serving{Opener: echo(), MaxStreams: 3}
	_, client := clientPair(t, serving, true)
	var open []postern.Stream
	for range 3 {
		s, err := client.Open(t.Context(), request())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
	}
	if _, err := client.Open(t.Context(), request()); postern.KindOf(err) != postern.Limited {
		t.Errorf("one more than the limit: %v", err)
	}
	open[1].Close()
	within(t, "there is room again", func() {
		for {
			s, err := client.Open(t.Context(), request())
			if err == nil {
				s.Close()
				return
			}
		}
	})
	open[0].Close()
	open[2].Close()
}

func TestAThousandOpeningsAtOnce(t *testing.T) {
	eachOpening(t, func(t *testing.T, start func(*testing.T, session.Serving) (_, _ *session.Session)) {
		relay, client := start(t, session.Serving{Opener: echo()})
		var g sync.WaitGroup
		for i := range 1000 {
			g.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if i%3 == 0 {
					go cancel() // some leave, at any moment
				}
				s, err := client.Open(ctx, request())
				if err != nil {
					if i%3 != 0 {
						t.Errorf("stream %d: %v", i, err)
					}
					return
				}
				defer s.Close()
				io.WriteString(s, "x")
				s.CloseWrite()
				if got, err := io.ReadAll(s); string(got) != "x" || err != nil {
					t.Errorf("stream %d read %q, %v", i, got, err)
				}
			})
		}
		g.Wait()
		within(t, "the counts are zero", func() {
			for client.Stats().Streams+relay.Stats().Streams != 0 {
				runtime.Gosched()
			}
		})
	})
}
