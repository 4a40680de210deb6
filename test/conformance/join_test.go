//go:build linux

package conformance

import (
	"strings"
	"testing"

	"github.com/postern-dev/postern/test/rig"
)

// TestJoinStringIsAllAnAgentNeeds brings an agent up with --join alone, as text and as a file.
func TestJoinStringIsAllAnAgentNeeds(t *testing.T) {
	target := rig.Echo(t)
	for _, transport := range []string{"tls", "quic", "websocket"} {
		t.Run(transport, func(t *testing.T) {
			relay := rig.StartRelay(t, rig.RelayOptions{})
			rig.StartAgent(t, relay, rig.AgentOptions{ID: agentID, Transport: transport, Join: true})
			ping(t, tunnel(t, relay.Client(t, agentID), target), "through a join string")
		})
	}
	t.Run("from a file", func(t *testing.T) {
		relay := rig.StartRelay(t, rig.RelayOptions{})
		file := rig.Write(t, "join", relay.Join(t, agentID)+"\n")
		p := rig.Start(t, rig.Binary(t), "agent", "--join", "@"+file, "--allow", "*")
		p.Name = "postern agent"
		client := relay.Client(t, agentID)
		rig.Eventually(t, short, "the agent is there", func() bool {
			conn, _, err := client.Connect(target, nil)
			if conn != nil {
				_ = conn.Close() // that it opened is the answer
			}
			return err == nil && conn != nil
		})
	})
	t.Run("one line", func(t *testing.T) {
		relay := rig.StartRelay(t, rig.RelayOptions{})
		if join := relay.Join(t, agentID); join == "" || strings.ContainsAny(join, " \n\t'\"") {
			t.Errorf("a join string that cannot be pasted: %q", join)
		}
	})
}

// TestAgentsAreListed asks the relay beside which it runs, through the control socket.
func TestAgentsAreListed(t *testing.T) {
	b := newBed(t, "tls")
	if got := rig.MustRun(t, short, rig.Binary(t), "agents", "list", "--data", b.relay.Data); !strings.Contains(got, agentID) {
		t.Errorf("the agent %s is not in the list:\n%s", agentID, got)
	}
}

// TestAuthNone runs without credentials, which has to be asked for in so many words, and is warned of.
func TestAuthNone(t *testing.T) {
	target := rig.Echo(t)
	relay := rig.StartRelay(t, rig.RelayOptions{Args: []string{"--auth", "none"}})
	if !strings.Contains(strings.ToLower(relay.Output()), "none") {
		t.Errorf("the relay does not warn about --auth none:\n%s", relay.Output())
	}
	p := rig.Start(t, rig.Binary(t), "agent", "--relay", relay.Agents, "--ca", relay.CA(), "--agent-id", agentID, "--allow", "*")
	p.Name = "postern agent"
	client := &rig.Client{Proxy: relay.Proxy, User: agentID, Secret: "anything"}
	rig.Eventually(t, short, "the agent is there", func() bool {
		conn, _, err := client.Connect(target, nil)
		if conn != nil {
			_ = conn.Close() // that it opened is the answer
		}
		return err == nil && conn != nil
	})
}
