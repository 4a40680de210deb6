//go:build linux

// Package conformance runs Postern with the programs that people use: curl, ssh, rsync, psql, redis-cli, socat, against real
// servers, over each transport, as separate processes.
package conformance

import (
	"os"
	"testing"
	"time"

	"github.com/postern-dev/postern/test/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// agentID is the agent of all tests that need one.
const agentID = "nas"

// short bounds a program that moves little.
const short = 40 * time.Second

// long bounds a program that moves much, in the long form too.
const long = 5 * time.Minute

// bed is a relay and one agent, which may reach everything.
type bed struct {
	transport string
	relay     *rig.Relay
	agent     *rig.Agent
	client    *rig.Client
}

func newBed(t *testing.T, transport string) *bed {
	t.Helper()
	relay := rig.StartRelay(t, rig.RelayOptions{})
	agent := rig.StartAgent(t, relay, rig.AgentOptions{ID: agentID, Transport: transport})
	return &bed{transport: transport, relay: relay, agent: agent, client: relay.Client(t, agentID)}
}

// overEachTransport runs a test with a relay and an agent over tls, over quic, and over websocket.
func overEachTransport(t *testing.T, test func(t *testing.T, b *bed)) {
	t.Helper()
	for _, transport := range []string{"tls", "quic", "websocket"} {
		t.Run(transport, func(t *testing.T) { test(t, newBed(t, transport)) })
	}
}

// access are the flags of forward and connect, which come over the same transport as the agent.
func (b *bed) access(t *testing.T) []string {
	t.Helper()
	return b.relay.AccessBy(t, b.transport, b.client.Secret)
}

// curl runs curl through the client's proxy.
func (b *bed) curl(t *testing.T, c *rig.Client, args ...string) rig.Result {
	t.Helper()
	args = append([]string{"-sS", "--max-time", "240", "-x", c.URL().String(), "--proxy-cacert", b.relay.CA()}, args...)
	return rig.Run(t, long, rig.Program(t, "curl"), args...)
}

// ways are the ways to the proxy: the proxy listener in clear and with TLS, and the agents listener.
func (b *bed) ways(t *testing.T) map[string]*rig.Client {
	t.Helper()
	secure := b.client.OverTLS(t, b.relay.CA())
	agents := *secure
	agents.Proxy = b.relay.Agents
	return map[string]*rig.Client{"proxy in clear": b.client, "proxy with TLS": secure, "agents port": &agents}
}
