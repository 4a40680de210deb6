package relay

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern"
)

// desk is an agent's process that holds ports; each session of it has a name.
func desk(instance, session string) tenant {
	return tenant{agent: "desk", session: session, instance: instance, owner: "desk"}
}

func other() tenant { return tenant{agent: "cam", session: "c1", instance: "cam", owner: "cam"} }

// wantClaim checks who gets port 22; empty means that the claim succeeds, else what the conflict says.
func wantClaim(t *testing.T, e *exposures, by tenant, conflict string) {
	t.Helper()
	err := e.claim(t.Context(), 22, by)
	if conflict == "" && err == nil {
		return
	}
	if postern.KindOf(err) != postern.Conflict || conflict == "" || !strings.Contains(err.Error(), conflict) {
		t.Errorf("%s claims port 22: %v; want %q", by.agent, err, conflict)
	}
}

func TestAPortThatIsOpenBelongsToItsProcess(t *testing.T) {
	var e exposures
	wantClaim(t, &e, desk("a", "1"), "")
	stopped := false
	var release func()
	release = e.take(22, desk("a", "1"), func() { stopped = true; release() })
	wantClaim(t, &e, other(), "held by agent desk")
	wantClaim(t, &e, desk("b", "2"), "held by agent desk") // a sibling, which must not take it unnoticed
	if stopped {
		t.Error("a conflict has closed the port")
	}
	wantClaim(t, &e, desk("a", "3"), "")
	if !stopped {
		t.Error("the port is open in the session before")
	}
}

func TestAPortIsKeptForItsOwnerAfterTheSessionBreaksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e exposures
		e.take(22, desk("a", "1"), func() {})()
		wantClaim(t, &e, other(), "kept for agent desk for another 30s")
		if e.holder(22) == nil {
			t.Error("somebody who takes any port may be given this one")
		}
		wantClaim(t, &e, desk("b", "2"), "") // the same agent, started anew
		time.Sleep(holdTime)
		wantClaim(t, &e, other(), "")
		e.take(23, other(), func() {})
		if len(e.held) != 1 {
			t.Errorf("%d ports are remembered, want the one that is held", len(e.held))
		}
	})
}

func TestAPortIsFreeOnceItsAgentHasLeft(t *testing.T) {
	var e exposures
	release := e.take(22, desk("a", "1"), func() {})
	e.forgo("1")
	wantClaim(t, &e, other(), "held by agent desk")
	release()
	wantClaim(t, &e, other(), "")
}

func TestAPortThatHasMovedOnIsNotReleasedByTheSessionBefore(t *testing.T) {
	var e exposures
	before := e.take(22, desk("a", "1"), func() {})
	e.take(22, desk("a", "2"), func() {})
	before()
	wantClaim(t, &e, other(), "held by agent desk")
}
