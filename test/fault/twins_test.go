//go:build linux

package fault

import (
	"io"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/postern-dev/postern/test/rig"
)

// who is a service by which two agents of one id can be told apart.
const who = "who.service:1"

// ask returns which agent answers; empty if none does.
func ask(t *testing.T, c *rig.Client) string {
	t.Helper()
	conn, _, err := c.Connect(who, nil)
	if err != nil || conn == nil {
		return ""
	}
	defer func() { _ = conn.Close() }() // it was read to its end
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		return ""
	}
	name, err := io.ReadAll(conn)
	if err != nil {
		return ""
	}
	return string(name)
}

// TestSameCredentialTakesOver starts an agent a second time, as after a crash that the relay has not noticed.
func TestSameCredentialTakesOver(t *testing.T) {
	overEachTransport(t, func(t *testing.T, transport string) {
		relay := rig.StartRelay(t, rig.RelayOptions{})
		client := relay.Client(t, agentID)
		start := func(name string) {
			rig.StartAgent(t, relay, rig.AgentOptions{
				ID: agentID, Transport: transport, Args: []string{"--service", "who=tcp://" + rig.Banner(t, name)},
			})
		}
		start("first")
		if got := ask(t, client); got != "first" {
			t.Fatalf("asked, %q answers", got)
		}
		start("second")
		rig.Eventually(t, 5*time.Second, "the second answers", func() bool { return ask(t, client) == "second" })

		// The first may come again, but not for ever: at most 6 times a minute (P-7).
		swaps, last, deadline := 0, "second", time.Now().Add(10*time.Second)
		rig.Eventually(t, 20*time.Second, "time passes", func() bool {
			if got := ask(t, client); got != "" && got != last {
				swaps, last = swaps+1, got
			}
			return time.Now().After(deadline)
		})
		if swaps > 6 {
			t.Errorf("the agents took over from each other %d times in 10 s", swaps)
		}
	})
}

// TestOtherCredentialIsAConflict has somebody else claim the id: the first agent must not notice.
func TestOtherCredentialIsAConflict(t *testing.T) {
	overEachTransport(t, func(t *testing.T, transport string) {
		relay := rig.StartRelay(t, rig.RelayOptions{Args: []string{"--auth", "none"}})
		client := &rig.Client{Proxy: relay.Proxy, User: agentID, Secret: "anything"}
		options := func(name string) rig.AgentOptions {
			return rig.AgentOptions{ID: agentID, Transport: transport, NoToken: true, Args: []string{"--service", "who=tcp://" + rig.Banner(t, name)}}
		}
		rig.StartAgent(t, relay, options("first"))
		second := rig.LaunchAgent(t, relay, options("second"))
		told := regexp.MustCompile(`(?i)conflict|another credential`)
		rig.Eventually(t, returned, "the second agent is told of the conflict", func() bool {
			if got := ask(t, client); got != "first" {
				t.Fatalf("asked, %q answers", got)
			}
			return told.MatchString(second.Output())
		})
		if sessions := second.Sessions(t); len(sessions) > 0 {
			t.Errorf("the second agent has a session: %v", sessions)
		}
		if got := ask(t, client); got != "first" {
			t.Errorf("asked, %q answers", got)
		}
	})
}

// TestAGhostLocksNobodyOut kills an agent that has no credential to show that it is the same, and starts it anew: to the relay it is
// somebody else, until the first one is known to be dead.
func TestAGhostLocksNobodyOut(t *testing.T) {
	const within = 12 * time.Second
	overEachTransport(t, func(t *testing.T, transport string) {
		for _, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
			t.Run(end.String(), func(t *testing.T) {
				t.Parallel()
				relay := rig.StartRelay(t, rig.RelayOptions{Args: []string{"--auth", "none"}})
				client := &rig.Client{Proxy: relay.Proxy, User: agentID, Secret: "anything"}
				options := func(name string) rig.AgentOptions {
					return rig.AgentOptions{ID: agentID, Transport: transport, NoToken: true, Args: []string{"--service", "who=tcp://" + rig.Banner(t, name)}}
				}
				first := rig.StartAgent(t, relay, options("first"))
				first.Signal(end)
				begun := time.Now()
				second := rig.LaunchAgent(t, relay, options("second"))
				rig.Eventually(t, within, "the second is let in", func() bool {
					if second.Ended() {
						t.Fatalf("the second has given up after %v", time.Since(begun))
					}
					return len(second.Sessions(t)) > 0
				})
				t.Logf("let in after %v", time.Since(begun).Round(time.Millisecond))
				if got := ask(t, client); got != "second" {
					t.Errorf("asked, %q answers", got)
				}
				if end == syscall.SIGSTOP {
					// The first must not die of the conflict that it wakes up to: the second may go.
					first.Signal(syscall.SIGCONT)
					second.Signal(syscall.SIGTERM)
					rig.Eventually(t, 60*time.Second, "the first is back", func() bool { return ask(t, client) == "first" })
				}
			})
		}
	})
}
