package route

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/testnet"
)

// fake is a session that opens pipes, or fails with err.
type fake struct {
	id         postern.AgentID
	credential string
	err        error
	opened     int
}

func (f *fake) Agent() postern.AgentID { return f.id }
func (f *fake) Credential() string     { return f.credential }
func (f *fake) Open(context.Context, *postern.Request) (postern.Stream, error) {
	if f.err != nil {
		return nil, f.err
	}
	f.opened++
	a, _ := testnet.Pipe()
	return a, nil
}

func ask(t *testing.T, r *Router, agent postern.AgentID) error {
	t.Helper()
	s, err := r.Open(t.Context(), &postern.Request{Agent: agent})
	if err == nil {
		s.Close()
	}
	return err
}

func mustAdd(t *testing.T, r *Router, s Session) (remove func()) {
	t.Helper()
	remove, _, err := r.Add(s)
	if err != nil {
		t.Fatal(err)
	}
	return remove
}

func TestStreamsGoToTheAgentThatTheyName(t *testing.T) {
	r := New(Options{})
	a, b := &fake{id: "a"}, &fake{id: "b"}
	mustAdd(t, r, a)
	mustAdd(t, r, b)
	if err := ask(t, r, "b"); err != nil {
		t.Fatal(err)
	}
	if a.opened != 0 || b.opened != 1 {
		t.Errorf("a opened %d streams and b %d, want 0 and 1", a.opened, b.opened)
	}
}

func TestStrangersAreUnknownAndTheAbsentAreOffline(t *testing.T) {
	r := New(Options{})
	remove := mustAdd(t, r, &fake{id: "a"})
	remove()
	if k := postern.KindOf(ask(t, r, "a")); k != postern.AgentOffline {
		t.Errorf("an agent that went away: %v, want %v", k, postern.AgentOffline)
	}
	if k := postern.KindOf(ask(t, r, "b")); k != postern.NoSuchAgent {
		t.Errorf("an agent that never was: %v, want %v", k, postern.NoSuchAgent)
	}
}

func TestAStreamWaitsForAnAgentThatHasJustGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Park: 2 * time.Second})
		mustAdd(t, r, &fake{id: "a"})()
		start := time.Now()
		go func() {
			time.AfterFunc(time.Second, func() { mustAdd(t, r, &fake{id: "a"}) })
		}()
		if err := ask(t, r, "a"); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("the stream waited %v, want 1s", d)
		}
	})
}

func TestTheWaitForAnAgentEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Park: 2 * time.Second})
		mustAdd(t, r, &fake{id: "a"})()
		start := time.Now()
		if k := postern.KindOf(ask(t, r, "a")); k != postern.AgentOffline {
			t.Errorf("kind = %v, want offline", k)
		}
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("the stream waited %v, want 2s", d)
		}
		// Long gone: nobody waits.
		<-time.After(2 * time.Minute)
		start = time.Now()
		ask(t, r, "a")
		if d := time.Since(start); d != 0 {
			t.Errorf("the stream waited %v for an agent long gone", d)
		}
	})
}

func TestAClientThatGivesUpStopsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Park: time.Hour})
		mustAdd(t, r, &fake{id: "a"})()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Open(ctx, &postern.Request{Agent: "a"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err = %v, want the context's", err)
		}
	})
}

func TestAStreamThatMeetsADyingSessionGoesToItsSuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Park: 2 * time.Second})
		dying := &fake{id: "a", err: &postern.Error{Kind: postern.AgentOffline}}
		mustAdd(t, r, dying)
		next := &fake{id: "a"}
		time.AfterFunc(time.Second, func() { mustAdd(t, r, next) })
		if err := ask(t, r, "a"); err != nil {
			t.Fatal(err)
		}
		if next.opened != 1 {
			t.Errorf("the successor opened %d streams, want 1", next.opened)
		}
	})
}

func TestAnAnswerOfTheAgentIsFinal(t *testing.T) {
	r := New(Options{Park: time.Hour})
	mustAdd(t, r, &fake{id: "a", err: &postern.Error{Kind: postern.Refused}})
	if k := postern.KindOf(ask(t, r, "a")); k != postern.Refused {
		t.Errorf("kind = %v, want refused", k)
	}
}

func TestTheSameCredentialTakesOverAndAnotherDoesNot(t *testing.T) {
	r := New(Options{})
	old, ghost := &fake{id: "a", credential: "k1"}, &fake{id: "a", credential: "k1"}
	removeOld := mustAdd(t, r, old)
	if _, _, err := r.Add(&fake{id: "a", credential: "k2"}); postern.KindOf(err) != postern.Conflict {
		t.Errorf("another credential: %v, want a conflict", err)
	}
	_, replaced, err := r.Add(ghost)
	if err != nil || replaced != Session(old) {
		t.Fatalf("Add = %v, %v; want the old session back", replaced, err)
	}
	removeOld() // the old session ends now; the new one must stay
	if err := ask(t, r, "a"); err != nil || ghost.opened != 1 {
		t.Errorf("after the takeover: %v, %d streams at the new session", err, ghost.opened)
	}
}

func TestASessionComesBackWhenItsSuccessorIsLost(t *testing.T) {
	r := New(Options{})
	first, second := &fake{id: "a", credential: "c"}, &fake{id: "a", credential: "c"}
	mustAdd(t, r, first)
	remove := mustAdd(t, r, second)
	r.Return(first)
	if ask(t, r, "a"); first.opened != 0 || second.opened != 1 {
		t.Error("the old session came back while there was a new one")
	}
	remove()
	r.Return(first)
	if err := ask(t, r, "a"); err != nil || first.opened != 1 {
		t.Errorf("the old session did not come back: %v", err)
	}
	remove()
	if err := ask(t, r, "a"); err != nil {
		t.Errorf("the end of the lost successor took the old session along: %v", err)
	}
}

func TestTwoProcessesWithOneCredentialDoNotThrowEachOtherOutForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{})
		swaps := 0
		for range 60 {
			_, replaced, err := r.Add(&fake{id: "a", credential: "k"})
			if err == nil && replaced != nil {
				swaps++
			}
			<-time.After(900 * time.Millisecond)
		}
		if swaps > maxTakeovers {
			t.Errorf("%d takeovers within a minute, want at most %d", swaps, maxTakeovers)
		}
		<-time.After(takeoverWindow)
		if _, _, err := r.Add(&fake{id: "a", credential: "k"}); err != nil {
			t.Errorf("after a quiet minute: %v", err)
		}
	})
}

func TestADrainingRouterTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Park: time.Hour})
		mustAdd(t, r, &fake{id: "a"})
		mustAdd(t, r, &fake{id: "b"})()
		waiting := make(chan error)
		go func() { waiting <- ask(t, r, "b") }()
		synctest.Wait()
		r.Drain()
		for what, err := range map[string]error{"an agent that is there": ask(t, r, "a"), "a stream that waits": <-waiting} {
			if k := postern.KindOf(err); k != postern.Draining {
				t.Errorf("%s: %v, want draining", what, k)
			}
		}
		if _, _, err := r.Add(&fake{id: "c"}); postern.KindOf(err) != postern.Draining {
			t.Errorf("Add = %v, want draining", err)
		}
	})
}

func TestSessionsAreListedByAgent(t *testing.T) {
	r := New(Options{})
	for _, id := range []postern.AgentID{"b", "c", "a"} {
		mustAdd(t, r, &fake{id: id})
	}
	var got string
	for _, s := range r.Sessions() {
		got += string(s.Agent())
	}
	if got != "abc" {
		t.Errorf("sessions = %q, want abc", got)
	}
}
