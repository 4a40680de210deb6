package client

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
	"github.com/postern-dev/postern/internal/testnet"
	"github.com/postern-dev/postern/session"
	"github.com/postern-dev/postern/transport"
)

// fakeRelay accepts sessions whose token is "right" and echoes every stream.
type fakeRelay struct {
	t        *testing.T
	ctx      context.Context
	running  sync.WaitGroup
	sessions chan *session.Session // those that were welcomed
	openErr  error                 // what streams get instead of an echo
}

func newFakeRelay(t *testing.T) *fakeRelay {
	r := &fakeRelay{t: t, ctx: t.Context(), sessions: make(chan *session.Session, 16)}
	t.Cleanup(r.running.Wait)
	return r
}

// dial is a fakeDialer.
func (r *fakeRelay) dial(context.Context, string) (transport.Conn, error) {
	near, far := newFakeConn()
	r.running.Go(func() {
		s, err := session.Accept(r.ctx, far, session.AcceptOptions{
			Role: postern.RoleClient,
			Verify: func(_ context.Context, c auth.Credential) (*postern.Identity, error) {
				if c.Secret != "right" {
					return nil, &postern.Error{Kind: postern.Unauthenticated, Hop: postern.HopRelay}
				}
				return &postern.Identity{Method: "fake", Role: c.Role, Agents: []string{"*"}}, nil
			},
			Serving: session.Serving{Opener: postern.OpenerFunc(r.open), Side: postern.HopRelay},
		})
		if err != nil {
			return
		}
		r.sessions <- s
		_ = s.Run(r.ctx) // the tests end sessions in every way there is
	})
	return near, nil
}

// open gives an echo.
func (r *fakeRelay) open(context.Context, *postern.Request) (postern.Stream, error) {
	if r.openErr != nil {
		return nil, r.openErr
	}
	near, far := testnet.Pipe()
	r.running.Go(func() {
		_, _ = io.Copy(far, far)
		_ = far.Close()
	})
	return near, nil
}

// running starts a client and ends it with the test.
func running(t *testing.T, o Options) (c *Client, stop func()) {
	t.Helper()
	if o.Token == nil {
		o.Token = func() (string, error) { return "right", nil }
	}
	if o.Relays == nil {
		o.Relays = []string{"relay:4242"}
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	t.Cleanup(stop)
	return c, stop
}

var request = &postern.Request{Agent: "nas", Target: target}

func echo(t *testing.T, s postern.Stream) {
	t.Helper()
	if _, err := io.WriteString(s, "hello"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(s, got); err != nil || string(got) != "hello" {
		t.Fatalf("echoed %q and %v", got, err)
	}
}

func mustOpen(t *testing.T, c *Client) postern.Stream {
	t.Helper()
	s, err := c.Open(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestOpensShareADial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := newFakeRelay(t)
		c, _ := running(t, Options{Transports: ladder(func(ctx context.Context, addr string) (transport.Conn, error) {
			time.Sleep(time.Second) // in the bubble: every Open waits by then
			return relay.dial(ctx, addr)
		})})
		var opens sync.WaitGroup
		for range 50 {
			opens.Go(func() {
				s, err := c.Open(t.Context(), request)
				if err != nil {
					t.Error(err)
					return
				}
				_ = s.Close()
			})
		}
		opens.Wait()
		if n := len(relay.sessions); n != 1 {
			t.Errorf("%d sessions were made, want 1", n)
		}
	})
}

func TestNothingIsDialledBeforeAStreamIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		running(t, Options{Transports: ladder(func(context.Context, string) (transport.Conn, error) {
			t.Error("dialled")
			return nil, errors.New("no")
		})})
		time.Sleep(time.Hour)
	})
}

func TestRelaysAreTriedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := newFakeRelay(t)
		var tried []string
		c, _ := running(t, Options{
			Relays: []string{"a:1", "b:1", "c:1"},
			Transports: ladder(func(ctx context.Context, addr string) (transport.Conn, error) {
				tried = append(tried, addr)
				if addr == "a:1" {
					return nil, postern.Errorf(postern.Refused, postern.HopRelay, "connection refused")
				}
				return relay.dial(ctx, addr)
			}),
		})
		echo(t, mustOpen(t, c))
		if got := strings.Join(tried, " "); got != "a:1 b:1" {
			t.Errorf("tried %s", got)
		}
	})
}

func TestTheRelayThatWasGoodIsTriedFirstTheNextTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := newFakeRelay(t)
		tried := make(chan string, 16)
		c, _ := running(t, Options{
			Relays: []string{"silent:1", "good:1"},
			Transports: ladder(func(ctx context.Context, addr string) (transport.Conn, error) {
				tried <- addr
				if addr == "silent:1" {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return relay.dial(ctx, addr)
			}),
		})
		start := time.Now()
		echo(t, mustOpen(t, c))
		if took := time.Since(start); took != transport.NextRelay {
			t.Errorf("the silent one held us up for %v", took)
		}
		(<-relay.sessions).Close(postern.Aborted, "pulled the plug")
		echo(t, mustOpen(t, c))
		close(tried)
		var got []string
		for addr := range tried {
			got = append(got, addr)
		}
		if want := "silent:1 good:1 good:1"; strings.Join(got, " ") != want {
			t.Errorf("tried %v, want %s", got, want)
		}
	})
}

func TestWhyNoRelayWouldHaveUs(t *testing.T) {
	refused := func(k postern.Kind) fakeDialer {
		return func(context.Context, string) (transport.Conn, error) {
			return nil, &postern.Error{Kind: k, Hop: postern.HopRelay}
		}
	}
	for _, tt := range []struct {
		name  string
		dial  func(*fakeRelay) fakeDialer
		token string
		want  postern.Kind
	}{
		{"closed port", func(*fakeRelay) fakeDialer { return refused(postern.Refused) }, "right", postern.Unreachable},
		{"unknown name", func(*fakeRelay) fakeDialer { return refused(postern.NameNotFound) }, "right", postern.Unreachable},
		{"black hole", func(*fakeRelay) fakeDialer { return refused(postern.Timeout) }, "right", postern.Unreachable},
		{"another certificate", func(*fakeRelay) fakeDialer { return refused(postern.Unauthenticated) }, "right", postern.Unauthenticated},
		{"wrong token", func(r *fakeRelay) fakeDialer { return r.dial }, "wrong secret", postern.Unauthenticated},
		{"one is away, the other refuses the token", func(r *fakeRelay) fakeDialer {
			return func(ctx context.Context, addr string) (transport.Conn, error) {
				if addr == "a:1" {
					return refused(postern.Refused)(ctx, addr)
				}
				return r.dial(ctx, addr)
			}
		}, "wrong secret", postern.Unauthenticated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _ := running(t, Options{
					Relays:     []string{"a:1", "b:1"},
					Transports: ladder(tt.dial(newFakeRelay(t))),
					Token:      func() (string, error) { return tt.token, nil },
				})
				_, err := c.Open(t.Context(), request)
				if postern.KindOf(err) != tt.want || postern.HopOf(err, "") != postern.HopRelay {
					t.Fatalf("kind %v at %v (%v), want %v", postern.KindOf(err), postern.HopOf(err, ""), err, tt.want)
				}
				if !strings.Contains(err.Error(), "a:1") || strings.Contains(err.Error(), "wrong secret") {
					t.Errorf("the error says %q", err)
				}
			})
		})
	}
}

func TestTokenIsReadBeforeEachDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := []string{"old", "right"}
		c, _ := running(t, Options{
			Transports: ladder(newFakeRelay(t).dial),
			Token: func() (string, error) {
				token := tokens[0]
				tokens = tokens[1:]
				return token, nil
			},
		})
		if _, err := c.Open(t.Context(), request); postern.KindOf(err) != postern.Unauthenticated {
			t.Fatalf("got %v", err)
		}
		echo(t, mustOpen(t, c))
	})
}

// TestARefusedTokenIsNotShownAllTheTime counts the hellos of a program whose token has expired and that goes on opening streams.
func TestARefusedTokenIsNotShownAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay, dials, token := newFakeRelay(t), 0, "old"
		c, _ := running(t, Options{
			Transports: ladder(func(ctx context.Context, addr string) (transport.Conn, error) {
				dials++
				return relay.dial(ctx, addr)
			}),
			Token: func() (string, error) { return token, nil },
		})
		for begin := time.Now(); time.Since(begin) < time.Minute; {
			if _, err := c.Open(t.Context(), request); postern.KindOf(err) != postern.Unauthenticated {
				t.Fatalf("got %v", err)
			}
		}
		if dials > 5 {
			t.Errorf("%d hellos within a minute", dials)
		}
		token = "right"
		s, err := c.Open(t.Context(), request)
		if err != nil {
			t.Fatalf("a new token: %v", err)
		}
		_ = s.Close() // that it opened is the answer
	})
}

func TestTokenThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := running(t, Options{
			Transports: ladder(newFakeRelay(t).dial),
			Token:      func() (string, error) { return "", errors.New("no such file") },
		})
		if _, err := c.Open(t.Context(), request); postern.KindOf(err) != postern.Unauthenticated || !strings.Contains(err.Error(), "no such file") {
			t.Fatalf("got %v", err)
		}
	})
}

func TestSessionIsReplacedWhenItBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := newFakeRelay(t)
		c, _ := running(t, Options{Transports: ladder(relay.dial)})
		old := mustOpen(t, c)
		echo(t, old)
		(<-relay.sessions).Close(postern.Aborted, "pulled the plug")
		if _, err := old.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("the old stream sees %v, want a failure", err)
		}
		// At once, before the end of the session is known here, and without an error in between.
		echo(t, mustOpen(t, c))
	})
}

func TestDialsAreSpacedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		c, _ := running(t, Options{Transports: ladder(func(context.Context, string) (transport.Conn, error) {
			dials++
			return nil, errors.New("no route")
		})})
		start := time.Now()
		for time.Since(start) < time.Minute {
			if _, err := c.Open(t.Context(), request); postern.KindOf(err) != postern.Unreachable {
				t.Fatalf("got %v", err)
			}
		}
		// The pauses are random, between a tenth of their bound and all of it; the bound grows to 5 s and no further.
		if dials < 12 || dials > 130 {
			t.Errorf("%d dials in a minute", dials)
		}
	})
}

func TestRefusalsOfTheRelayAreNotRetried(t *testing.T) {
	for _, k := range postern.Kinds() {
		t.Run(k.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				relay := newFakeRelay(t)
				relay.openErr = &postern.Error{Kind: k, Hop: postern.HopAgent, Detail: "so it is"}
				c, _ := running(t, Options{Transports: ladder(relay.dial)})
				_, err := c.Open(t.Context(), request)
				if postern.KindOf(err) != k || postern.HopOf(err, "") != postern.HopAgent || !strings.Contains(err.Error(), "so it is") {
					t.Errorf("got %v at %v: %v", postern.KindOf(err), postern.HopOf(err, ""), err)
				}
				if n := len(relay.sessions); n != 1 {
					t.Errorf("%d sessions were made, want 1", n)
				}
			})
		})
	}
}

func TestDrainingRelayKeepsItsStreamsAndGetsNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := newFakeRelay(t)
		c, _ := running(t, Options{Transports: ladder(relay.dial)})
		old := mustOpen(t, c)
		echo(t, old)
		drained := make(chan error, 1)
		first := <-relay.sessions
		go func() { drained <- first.Drain(t.Context(), "restarting") }()
		synctest.Wait()
		echo(t, mustOpen(t, c))
		if len(relay.sessions) != 1 {
			t.Fatal("the new stream went to the relay that drains")
		}
		echo(t, old)
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if _, err := first.Open(t.Context(), request); err == nil {
			t.Error("the old session is still there after its last stream")
		}
	})
}

func TestOpenGivesUpWithItsContextAndTheDialGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := newFakeRelay(t)
		c, _ := running(t, Options{Transports: ladder(func(ctx context.Context, addr string) (transport.Conn, error) {
			time.Sleep(5 * time.Second)
			return relay.dial(ctx, addr)
		})})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Open(ctx, request); postern.KindOf(err) != postern.Timeout {
			t.Errorf("got %v", err)
		}
		echo(t, mustOpen(t, c))
		if n := len(relay.sessions); n != 1 {
			t.Errorf("%d sessions were made, want 1", n)
		}
	})
}

func TestClientThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := newFakeRelay(t)
		c, stop := running(t, Options{Transports: ladder(relay.dial)})
		s := mustOpen(t, c)
		stop()
		if _, err := s.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("its stream sees %v, want a failure", err)
		}
		if _, err := c.Open(t.Context(), request); err == nil {
			t.Error("it opens streams after its end")
		}
	})
}

func TestClientThatEndsWhileItDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, stop := running(t, Options{Transports: ladder(func(ctx context.Context, _ string) (transport.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})})
		failed := make(chan error, 1)
		go func() {
			_, err := c.Open(t.Context(), request)
			failed <- err
		}()
		synctest.Wait()
		stop()
		if err := <-failed; postern.KindOf(err) != postern.Draining {
			t.Errorf("got %v", err)
		}
	})
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	some := ladder(nil)
	for want, o := range map[string]Options{
		"no relay":       {Transports: some},
		"no transport":   {Relays: []string{"relay:4242"}},
		`"relay" is not`: {Relays: []string{"ok:1", "relay"}, Transports: some},
		`":4242" is not`: {Relays: []string{":4242"}, Transports: some},
		"https://host/":  {Relays: []string{"ftp://relay/"}, Transports: some},
		`"a:b:c" is not`: {Relays: []string{"a:b:c"}, Transports: some},
	} {
		if _, err := New(o); postern.KindOf(err) != postern.BadAddress || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
