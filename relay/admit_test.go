package relay

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
	"github.com/postern-dev/postern/internal/testnet"
	"github.com/postern-dev/postern/route"
	"github.com/postern-dev/postern/session"
	"github.com/postern-dev/postern/transport/mux"
)

// admitting is a relay that has nothing but sessions.
type admitting struct {
	*running
	t     *testing.T
	bound sync.WaitGroup
}

func newAdmitting(t *testing.T) *admitting {
	a := &admitting{t: t, running: &running{
		Relay:  &Relay{log: slog.New(slog.DiscardHandler)},
		router: route.New(route.Options{}), all: make(map[*session.Session]struct{}),
	}}
	t.Cleanup(func() { a.bound.Wait(); a.ghosts.Wait() })
	return a
}

// join brings a session of the agent nas in, over a connection in memory. remove is what its end, or its drain, calls.
func (a *admitting) join(relieves string) (s *session.Session, remove func(), err error) {
	a.t.Helper()
	near, far := testnet.Pipe()
	var refused error
	accepted := make(chan *session.Session, 1)
	a.bound.Go(func() {
		s, err := session.Accept(a.t.Context(), mux.New(far, mux.Options{Server: true}), session.AcceptOptions{
			Role: postern.RoleAgent,
			Verify: func(_ context.Context, c auth.Credential) (*postern.Identity, error) {
				return &postern.Identity{Method: "test", Role: c.Role, Agents: []string{"nas"}}, nil
			},
			Admit: func(s *session.Session) error {
				remove, refused = a.admit(s)
				return refused
			},
		})
		accepted <- s
		if err == nil {
			_ = s.Run(a.t.Context()) // the test ends it
		}
	})
	agent, err := session.Connect(a.t.Context(), mux.New(near, mux.Options{}), session.ConnectOptions{Role: postern.RoleAgent, Relieves: relieves})
	if s = <-accepted; err != nil {
		return nil, nil, err
	}
	a.bound.Go(func() { _ = agent.Run(a.t.Context()) })
	a.t.Cleanup(func() { agent.Close(postern.OK, "the test is over") })
	return s, remove, nil
}

func (a *admitting) mustJoin(relieves string) (*session.Session, func()) {
	a.t.Helper()
	s, remove, err := a.join(relieves)
	if err != nil {
		a.t.Fatal(err)
	}
	return s, remove
}

// routed checks which session streams go to.
func (a *admitting) routed(want *session.Session) {
	a.t.Helper()
	all := a.router.Sessions()
	if want == nil && len(all) > 0 || want != nil && (len(all) != 1 || all[0] != route.Session(want)) {
		a.t.Errorf("streams go to %v, want %v", all, want)
	}
}

func TestASessionThatIsRelievedLivesOnAndComesBackIfItsSuccessorIsLost(t *testing.T) {
	a := newAdmitting(t)
	old, removeOld := a.mustJoin("")
	lost, removeLost := a.mustJoin(old.ID())
	a.routed(lost)
	a.ghosts.Wait()
	if err := old.Ping(t.Context()); err != nil {
		t.Errorf("the session that was relieved is over: %v", err)
	}
	removeLost()
	a.routed(old)

	next, removeNext := a.mustJoin(old.ID())
	removeOld() // the agent drains it
	a.routed(next)
	removeNext()
	a.routed(nil)
}

func TestAGhostIsReplaced(t *testing.T) {
	a := newAdmitting(t)
	old, _ := a.mustJoin("")
	next, _ := a.mustJoin("another session")
	a.routed(next)
	a.ghosts.Wait()
	if err := old.Ping(t.Context()); err == nil {
		t.Error("the session that was replaced lives on")
	}
}

func TestAgentsThatComeAtTheSameTimeAreSpread(t *testing.T) {
	a := newAdmitting(t)
	a.arrivals.Burst, a.arrivals.Rate = 2, 1
	first, _ := a.mustJoin("")
	a.mustJoin(first.ID()) // which counts for nobody
	a.mustJoin("")
	_, _, err := a.join("")
	if postern.KindOf(err) != postern.Overloaded || postern.RetryAfterOf(err) <= 0 || postern.RetryAfterOf(err) > 2*time.Second {
		t.Errorf("one too many: %v, to come again after %v", err, postern.RetryAfterOf(err))
	}
}
