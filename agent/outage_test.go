package agent

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern"
)

func TestWhichAnswersAreFinal(t *testing.T) {
	refused := func(k postern.Kind) error { return postern.Errorf(k, postern.HopRelay, "refused") }
	for _, c := range []struct {
		name  string
		err   error
		after time.Duration // since the agent began
		ever  bool          // there was a session before
		want  bool
	}{
		{"a wrong token", refused(postern.Unauthenticated), 0, false, true},
		{"versions that do not meet", refused(postern.BadCommand), 0, false, true},
		{"a port that the token does not permit", errors.Join(errPort, refused(postern.Denied)), 0, false, true},
		{"a port that somebody holds", errors.Join(errPort, refused(postern.Conflict)), 0, false, true},
		{"what may be a ghost of ours", refused(postern.Conflict), conflictGrace, false, false},
		{"what no ghost of ours can be", refused(postern.Conflict), conflictGrace + 1, false, true},
		{"no relay", refused(postern.Unreachable), time.Hour, false, false},
		{"a relay that stops", refused(postern.Draining), time.Hour, false, false},
		{"a relay that is busy", refused(postern.Overloaded), time.Hour, false, false},
		{"a session that broke", refused(postern.Aborted), time.Hour, true, false},
		{"a token that is refused later", refused(postern.Unauthenticated), time.Hour, true, false},
		{"a conflict later", refused(postern.Conflict), time.Hour, true, false},
		{"a port that is lost later", errors.Join(errPort, refused(postern.Conflict)), time.Hour, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := outage{log: slog.New(slog.DiscardHandler), began: time.Now().Add(-c.after), ever: c.ever}
				if got := o.final(c.err); got != c.want {
					t.Errorf("final = %v, want %v", got, c.want)
				}
			})
		})
	}
}

func TestHowLongAnAgentWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := outage{log: slog.New(slog.DiscardHandler), began: time.Now()}
		if d := o.wait(errMoved); d != 0 {
			t.Errorf("asked to move it waits %v", d)
		}
		if d := o.wait(errReplaced); d != afterReplaced {
			t.Errorf("replaced it waits %v", d)
		}
		longest := time.Duration(0)
		for range 20 {
			longest = max(longest, o.wait(errEnded))
		}
		if longest < 5*time.Second || longest > 10*time.Second {
			t.Errorf("the longest of 20 waits is %v, want up to 10 s", longest)
		}
		o.served(stable, errEnded)
		if d := o.wait(errEnded); d < time.Second {
			t.Errorf("after a session that broke at once it waits %v, as if all were well", d)
		}
		o.served(stable+1, errEnded)
		if d := o.wait(errEnded); d > 500*time.Millisecond {
			t.Errorf("after a session that lasted it waits %v", d)
		}
	})
}

func TestASessionWithoutItsPortIsNone(t *testing.T) {
	var o outage
	if o.served(time.Second, errors.Join(errPort, errEnded)); o.ever {
		t.Error("a session that did not get its port counts as one that served")
	}
	if o.served(time.Second, errEnded); !o.ever {
		t.Error("a session that served does not count")
	}
}

func TestARefusalOfTheFirstHelloEndsTheAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := newFakeRelay(t)
		relay.refuse(postern.Errorf(postern.Unauthenticated, postern.HopRelay, "the token has expired"))
		err := runToEnd(t, relay)
		if postern.KindOf(err) != postern.Unauthenticated || !strings.Contains(err.Error(), "relay:4242") {
			t.Errorf("Run returned %v, want the refusal with the relay's name", err)
		}
		if n := len(relay.dialled()); n != 1 {
			t.Errorf("it asked %d times", n)
		}
	})
}

func TestAConflictIsAGhostsAtFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := newFakeRelay(t)
		relay.refuse(postern.Errorf(postern.Conflict, postern.HopRelay, "agent nas is connected with another credential"))
		began := time.Now()
		if err := runToEnd(t, relay); postern.KindOf(err) != postern.Conflict {
			t.Errorf("Run returned %v", err)
		}
		if took := time.Since(began); took < conflictGrace || took > conflictGrace+10*time.Second {
			t.Errorf("it gave up after %v, want some %v", took, conflictGrace)
		}
		if n := len(relay.dialled()); n < 3 || n > 30 {
			t.Errorf("it asked %d times", n)
		}
	})
}

// runToEnd runs an agent that is refused.
func runToEnd(t *testing.T, relay *fakeRelay) error {
	t.Helper()
	a := newAgent(t, relay, configure(), Options{})
	return a.Run(t.Context())
}

func TestWhoeverWaitsForAPortIsToldThatThereIsNoRelay(t *testing.T) {
	unreachable := &postern.Error{Kind: postern.Unreachable, Hop: postern.HopRelay}
	for _, o := range []outage{{}, {waited: true}, {waited: true, ever: true}} {
		if got, want := o.final(unreachable), o.waited && !o.ever; got != want {
			t.Errorf("waited %v, ever %v: final is %v", o.waited, o.ever, got)
		}
	}
}
