package agent

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-dev/postern"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func refusal(k postern.Kind) error {
	return relayError("relay:4242", &postern.Error{Kind: k, Hop: postern.HopRelay})
}

func TestOnlyTheFirstHelloCanBeRefusedForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, kind := range []postern.Kind{postern.Unauthenticated, postern.BadCommand, postern.Denied} {
			o := outage{log: slog.New(slog.DiscardHandler), began: time.Now()}
			if !o.final(refusal(kind)) {
				t.Errorf("%v does not end an agent that was never let in", kind)
			}
			o.served(time.Hour, errEnded)
			if o.final(refusal(kind)) {
				t.Errorf("%v ends an agent that has served for an hour", kind)
			}
		}
		o := outage{log: slog.New(slog.DiscardHandler), began: time.Now()}
		o.served(time.Second, fmt.Errorf("%w: %w", errPort, refusal(postern.Conflict)))
		if !o.final(fmt.Errorf("%w: %w", errPort, refusal(postern.Conflict))) {
			t.Error("a port that could not be had does not end the agent that was started for it")
		}
	})
}

// TestAGhostOfOursDoesNotLockUsOut: without a credential a process that was killed and started anew looks like somebody else, until its
// ghost is gone after 8 to 9 s.
func TestAGhostOfOursDoesNotLockUsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := outage{log: slog.New(slog.DiscardHandler), began: time.Now()}
		for time.Since(o.began) < conflictGrace {
			if o.final(refusal(postern.Conflict)) {
				t.Fatalf("given up after %v", time.Since(o.began))
			}
			d := o.wait(refusal(postern.Conflict))
			if d <= 0 || d > time.Second {
				t.Fatalf("after %v of conflict the next try is in %v", time.Since(o.began), d)
			}
			time.Sleep(d)
		}
		time.Sleep(time.Second)
		if !o.final(refusal(postern.Conflict)) {
			t.Error("a conflict that lasts does not end an agent that was never let in")
		}
		o.served(time.Hour, errEnded)
		if o.final(refusal(postern.Conflict)) {
			t.Error("a conflict ends an agent that has served for an hour")
		}
	})
}

// TestATokenThatHasExpiredIsNotShownAllTheTime: the relay would turn away all who come from the same address.
func TestATokenThatHasExpiredIsNotShownAllTheTime(t *testing.T) {
	o := outage{log: slog.New(slog.DiscardHandler), began: time.Now(), ever: true}
	for range 100 {
		if d := o.wait(refusal(postern.Unauthenticated)); d < 30*time.Second {
			t.Fatalf("the next try is in %v", d)
		}
	}
	if d := o.wait(errMoved); d != 0 {
		t.Errorf("a relay that asks to move is left after %v", d)
	}
}
