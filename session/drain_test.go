package session_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/testnet"
	"github.com/postern-dev/postern/session"
)

// says opens streams that send text and end, whatever they get.
func says(text string) postern.Opener {
	return postern.OpenerFunc(func(context.Context, *postern.Request) (postern.Stream, error) {
		near, far := testnet.Pipe()
		go func() {
			io.WriteString(far, text)
			far.CloseWrite()
			io.Copy(io.Discard, far)
			far.Close()
		}()
		return near, nil
	})
}

func TestDrainWaitsUntilTheFarEndHasPassedOnWhatItGot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := strings.Repeat("x", 100<<10)
		relay, agent := pair(t, accepting(nas(postern.RoleAgent)), agentOptions(says(text)))
		s, err := relay.Open(t.Context(), request())
		if err != nil {
			t.Fatal(err)
		}
		s.CloseWrite()
		synctest.Wait()
		if n := agent.Stats().Streams; n != 0 {
			t.Fatalf("%d streams are open at the agent, want none: its part is over", n)
		}
		drained := make(chan error, 1)
		go func() {
			drained <- agent.Drain(t.Context(), "the agent stops")
			agent.Close(postern.Draining, "the agent stops")
		}()
		synctest.Wait()
		if len(drained) > 0 {
			t.Error("the agent is done while the relay has a stream of it")
		}
		if got, err := io.ReadAll(s); len(got) != len(text) || err != nil {
			t.Errorf("%d of %d bytes arrived, then %v", len(got), len(text), err)
		}
		s.Close()
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

func TestDrainOfASessionThatEndsIsOver(t *testing.T) {
	for name, end := range map[string]func(relay, agent *session.Session){
		"by the far end": func(relay, _ *session.Session) { relay.Close(postern.Aborted, "gone") },
		"by this end":    func(_, agent *session.Session) { agent.Close(postern.Aborted, "gone") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				relay, agent := pair(t, accepting(nas(postern.RoleAgent)), agentOptions(echo()))
				s, err := relay.Open(t.Context(), request())
				if err != nil {
					t.Fatal(err)
				}
				drained := make(chan error, 1)
				go func() { drained <- agent.Drain(t.Context(), "the agent stops") }()
				synctest.Wait()
				end(relay, agent)
				s.Close()
				if err := <-drained; err != nil {
					t.Errorf("Drain returned %v", err)
				}
			})
		})
	}
}

func TestDrainEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay, agent := pair(t, accepting(nas(postern.RoleAgent)), agentOptions(echo()))
		s, err := relay.Open(t.Context(), request())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if err := agent.Drain(ctx, "the agent stops"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("Drain returned %v after %v", err, time.Since(began))
		}
		s.Close()
	})
}
