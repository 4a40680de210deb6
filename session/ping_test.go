package session_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/session"
	"github.com/postern-dev/postern/transport"
)

func TestALivingFarEndAnswersAPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay, agent := pair(t, accepting(nas(postern.RoleAgent)), agentOptions(echo()))
		for name, s := range map[string]*session.Session{"relay": relay, "agent": agent} {
			start := time.Now()
			if err := s.Ping(t.Context()); err != nil || time.Since(start) > 0 {
				t.Errorf("the %s hears after %v: %v", name, time.Since(start), err)
			}
		}
	})
}

// deaf is a connection whose far end is gone without a word. What is written goes into the void.
type deaf struct {
	transport.Conn
	mu    sync.Mutex
	signs uint64 // guarded by mu
}

func (d *deaf) Signs() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.signs
}

func TestASilentFarEndIsFoundOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rc, ac := conns()
		d := &deaf{Conn: ac}
		var g sync.WaitGroup
		var relay *session.Session
		g.Go(func() { relay, _ = session.Accept(t.Context(), rc, accepting(nas(postern.RoleAgent))) })
		agent, err := session.Connect(t.Context(), d, agentOptions(echo()))
		g.Wait()
		if err != nil {
			t.Fatal(err)
		}
		g.Go(func() { agent.Run(t.Context()) })
		// The relay's session does not run, so nobody answers.
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		start := time.Now()
		if err := agent.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 1500*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		// Anything that arrives will do.
		time.AfterFunc(time.Second, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.signs++
		})
		start = time.Now()
		if err := agent.Ping(t.Context()); err != nil || time.Since(start).Round(100*time.Millisecond) != time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		agent.Close(postern.OK, "")
		if err := agent.Ping(t.Context()); err == nil {
			t.Error("a session that is over hears something")
		}
		relay.Close(postern.OK, "")
		g.Wait()
	})
}

// refusedWith says hello and returns the agent's error.
func refusedWith(t *testing.T, change func(*session.AcceptOptions, *session.ConnectOptions)) error {
	t.Helper()
	ao, co := accepting(nas(postern.RoleAgent)), agentOptions(echo())
	change(&ao, &co)
	rc, ac := conns()
	var g sync.WaitGroup
	g.Go(func() {
		if s, err := session.Accept(t.Context(), rc, ao); err == nil {
			s.Run(t.Context())
		}
	})
	s, err := session.Connect(t.Context(), ac, co)
	if err == nil {
		s.Close(postern.OK, "")
	}
	g.Wait()
	return err
}

func TestARefusalSaysWhenToComeAgain(t *testing.T) {
	err := refusedWith(t, func(a *session.AcceptOptions, _ *session.ConnectOptions) {
		a.Admit = func(*session.Session) error {
			return &postern.Error{Kind: postern.Overloaded, RetryAfter: 1500*time.Millisecond - 1}
		}
	})
	if postern.KindOf(err) != postern.Overloaded || postern.RetryAfterOf(err) != 1500*time.Millisecond {
		t.Errorf("got %v, to come again after %v", err, postern.RetryAfterOf(err))
	}
}

func TestASecondSessionWithTheSameRelayIsNotWanted(t *testing.T) {
	admitted := false
	elsewhere := func(relays ...string) func(*session.AcceptOptions, *session.ConnectOptions) {
		return func(a *session.AcceptOptions, c *session.ConnectOptions) {
			a.Admit = func(*session.Session) error { admitted = true; return nil }
			c.Elsewhere = relays
		}
	}
	err := refusedWith(t, elsewhere("r0", "r1"))
	if !errors.Is(err, session.ErrElsewhere) || postern.KindOf(err) != postern.Conflict || admitted {
		t.Errorf("got %v, admitted: %v", err, admitted)
	}
	if err := refusedWith(t, elsewhere("r0")); err != nil || !admitted {
		t.Errorf("another relay: %v", err)
	}
	// What a relay calls a conflict of its own is not ours.
	err = refusedWith(t, func(a *session.AcceptOptions, c *session.ConnectOptions) {
		a.Admit = func(*session.Session) error { return &postern.Error{Kind: postern.Conflict} }
		c.Elsewhere = []string{"r0"}
	})
	if errors.Is(err, session.ErrElsewhere) {
		t.Errorf("got %v", err)
	}
}
