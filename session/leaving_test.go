package session_test

import (
	"context"
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/testnet"
	"github.com/postern-dev/postern/session"
)

// hang waits for its caller to lose patience, and tells what happens.
func hang(began chan<- struct{}, gaveUp chan<- error) session.Serving {
	return opening(func(ctx context.Context, _ *postern.Request) (postern.Stream, error) {
		began <- struct{}{}
		<-ctx.Done()
		gaveUp <- context.Cause(ctx)
		return nil, ctx.Err()
	})
}

func TestEachOpeningIsGivenUpAfterFifteenSeconds(t *testing.T) {
	eachOpening(t, func(t *testing.T, start func(*testing.T, session.Serving) (_, _ *session.Session)) {
		synctest.Test(t, func(t *testing.T) {
			_, client := start(t, hang(make(chan struct{}, 1), make(chan error, 1)))
			began := time.Now()
			_, err := client.Open(t.Context(), request())
			if d := time.Since(began); postern.KindOf(err) != postern.Timeout || d != 15*time.Second {
				t.Errorf("Open failed after %v with %v, want a timeout after 15s", d, err)
			}
		})
	})
}

func TestEachOpeningEndsWhenItsCallerLeaves(t *testing.T) {
	eachOpening(t, func(t *testing.T, start func(*testing.T, session.Serving) (_, _ *session.Session)) {
		began, gaveUp := make(chan struct{}, 1), make(chan error, 1)
		relay, client := start(t, hang(began, gaveUp))
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-began; cancel() }()
		if _, err := client.Open(ctx, request()); postern.KindOf(err) != postern.Aborted {
			t.Errorf("Open = %v", err)
		}
		within(t, "the relay hears of it", func() {
			if err := <-gaveUp; postern.KindOf(err) != postern.Aborted {
				t.Errorf("the relay's open ended with %v", err)
			}
		})
		within(t, "the counts are zero", func() {
			for client.Stats().Streams+relay.Stats().Streams != 0 {
				runtime.Gosched()
			}
		})
	})
}

func TestEachOpeningDropsAStreamThatComesTooLate(t *testing.T) {
	eachOpening(t, func(t *testing.T, start func(*testing.T, session.Serving) (_, _ *session.Session)) {
		began, target := make(chan struct{}), make(chan postern.Stream, 2)
		_, client := start(t, opening(func(ctx context.Context, _ *postern.Request) (postern.Stream, error) {
			began <- struct{}{}
			<-ctx.Done() // and connects all the same
			near, far := testnet.Pipe()
			target <- far
			return near, nil
		}))
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-began; cancel() }()
		if s, err := client.Open(ctx, request()); err == nil {
			s.Close()
			t.Error("Open succeeded after its context had ended")
		}
		within(t, "the target is let go", func() {
			if _, err := io.ReadAll(<-target); err == nil {
				t.Error("the target saw a clean end of a stream that nobody got")
			}
		})
	})
}

// TestEachOpeningIsNotDisturbedByBeingSlow opens a target that takes long enough for the relay to look after its opener.
func TestEachOpeningIsNotDisturbedByBeingSlow(t *testing.T) {
	eachOpening(t, func(t *testing.T, start func(*testing.T, session.Serving) (_, _ *session.Session)) {
		synctest.Test(t, func(t *testing.T) {
			inner := testnet.Pipe
			_, client := start(t, opening(func(ctx context.Context, _ *postern.Request) (postern.Stream, error) {
				time.Sleep(5 * time.Second) // in the bubble
				if ctx.Err() != nil {
					return nil, ctx.Err()
				}
				near, far := inner()
				go func() {
					io.Copy(far, far)
					far.Close()
				}()
				return near, nil
			}))
			s, err := client.Open(t.Context(), request())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			time.Sleep(time.Minute)
			io.WriteString(s, "hello")
			s.CloseWrite()
			if got, err := io.ReadAll(s); string(got) != "hello" || err != nil {
				t.Errorf("read %q, %v", got, err)
			}
		})
	})
}
