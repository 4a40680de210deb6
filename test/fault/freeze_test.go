//go:build linux

package fault

import (
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/postern-dev/postern/test/rig"
)

// dead is how long a far end that says nothing is waited for: 8 s from its last sign of life, and something for a busy machine.
const (
	deadNotBefore = 3 * time.Second // it may have been silent for a probe's time already
	deadWithin    = 12 * time.Second
)

// TestFrozenAgent stops an agent like a laptop that sleeps: its streams fail in time, and it comes back by itself.
func TestFrozenAgent(t *testing.T) {
	overEachTransport(t, func(t *testing.T, transport string) {
		target := rig.Echo(t)
		b := newBed(t, transport)
		conn := b.client.Tunnel(t, target)
		if _, err := io.WriteString(conn, "x"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}

		b.agent.Signal(syscall.SIGSTOP)
		stopped := time.Now()
		if err := conn.SetReadDeadline(stopped.Add(deadWithin)); err != nil {
			t.Fatal(err)
		}
		_, err := conn.Read(make([]byte, 1))
		took := time.Since(stopped)
		t.Logf("the stream failed after %v: %v", took.Round(time.Millisecond), err)
		if err == nil || err == io.EOF {
			t.Errorf("the stream ended with %v, which is a clean end", err)
		}
		if took < deadNotBefore || took >= deadWithin {
			t.Errorf("the stream failed after %v, want from %v to %v", took, deadNotBefore, deadWithin)
		}
		b.gone(t, target, noticed)

		b.agent.Signal(syscall.SIGCONT)
		b.back(t, target, returned)
	})
}

// TestFrozenRelay is the same from the agent's side.
func TestFrozenRelay(t *testing.T) {
	overEachTransport(t, func(t *testing.T, transport string) {
		target := rig.Echo(t)
		b := newBed(t, transport)
		b.back(t, target, returned)
		before := b.agent.Sessions(t)[0].Session

		b.relay.Signal(syscall.SIGSTOP)
		rig.Eventually(t, deadWithin, "the agent notices that its relay is silent", func() bool { return len(b.agent.Sessions(t)) == 0 })
		b.relay.Signal(syscall.SIGCONT)
		b.back(t, target, returned)
		rig.Eventually(t, returned, "the agent has a session again", func() bool {
			sessions := b.agent.Sessions(t)
			return len(sessions) == 1 && sessions[0].Session != before
		})
	})
}
