//go:build linux

package rig

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// readyWithin is how long a relay or an agent may take to open its listeners or its session on a busy machine.
const readyWithin = 20 * time.Second

// commandWithin is how long a command may take that talks to nobody.
const commandWithin = 20 * time.Second

// RelayOptions say how to start a relay. The zero value is a relay with a new data folder on free ports of loopback.
type RelayOptions struct {
	Data   string   // its data folder; empty: a new one
	Agents string   // address of the agents listener; empty: 127.0.0.1:0
	Proxy  string   // address of the proxy listener; empty: 127.0.0.1:0
	Web    string   // address of the web listener; empty: 127.0.0.1:0
	Socks  string   // address of the SOCKS5 listener; empty: off
	Args   []string // further flags
	On     Machine  // where it runs; nil: here
}

// Machine makes the command of a program that runs in another network, like exec.Command.
type Machine func(name string, args ...string) *exec.Cmd

// start starts a program there, with variables of its own.
func (m Machine) start(t testing.TB, name string, env []string, program string, args ...string) *Process {
	t.Helper()
	if m == nil {
		m = func(name string, args ...string) *exec.Cmd { return exec.Command(name, args...) }
	}
	cmd := m(program, args...)
	cmd.Env = append(cmd.Env, env...)
	return StartCmd(t, name, cmd)
}

// Relay is a running postern relay.
type Relay struct {
	*Process

	Data   string // its data folder
	Agents string // addresses of its listeners, from the ready file
	Proxy  string
	Socks  string
	Web    string
	Admin  string
}

// StartRelay starts a relay and returns once its ready file says that every listener is open.
func StartRelay(t testing.TB, o RelayOptions) *Relay {
	t.Helper()
	r := &Relay{Data: o.Data}
	if r.Data == "" {
		r.Data = filepath.Join(t.TempDir(), "relay")
	}
	ready := filepath.Join(t.TempDir(), "ready.json")
	args := []string{
		"relay", "--data", r.Data, "--ready-file", ready, "--agents", orElse(o.Agents, "127.0.0.1:0"),
		"--proxy", orElse(o.Proxy, "127.0.0.1:0"), "--web", orElse(o.Web, "127.0.0.1:0"),
		"--socks", orElse(o.Socks, "off"), "--admin", "off", "--log-level", "debug",
	}
	r.Process = o.On.start(t, "postern relay", nil, Binary(t), append(args, o.Args...)...)
	waitReady(t, r.Process, ready, r)
	return r
}

// CA is the file with the certificate of the relay's own authority.
func (r *Relay) CA() string { return filepath.Join(r.Data, "ca.pem") }

// Token makes a token with the relay's key.
func (r *Relay) Token(t testing.TB, role, agentID string, args ...string) string {
	t.Helper()
	args = append([]string{"auth", "jwt", "token", "--data", r.Data, "--agent-id", agentID, "--role", role}, args...)
	token := strings.TrimSpace(MustRun(t, commandWithin, Binary(t), args...))
	if token == "" {
		t.Fatalf("postern %s printed no token", strings.Join(args, " "))
	}
	return token
}

// Join makes a join string for an agent.
func (r *Relay) Join(t testing.TB, agentID string, args ...string) string {
	t.Helper()
	args = append([]string{"join", "create", "--data", r.Data, "--agent-id", agentID}, args...)
	return strings.TrimSpace(MustRun(t, commandWithin, Binary(t), args...))
}

// Again are the options that start the relay once more, at the same addresses and on the same data.
func (r *Relay) Again() RelayOptions {
	return RelayOptions{Data: r.Data, Agents: r.Agents, Proxy: r.Proxy, Web: r.Web}
}

// Address is where the relay takes a transport's connections, as --relay takes it.
func (r *Relay) Address(transport string) string {
	if transport == "websocket" || transport == "longpoll" {
		return "https://" + r.Web
	}
	return r.Agents
}

// Access are the flags with which forward, connect and expose reach the relay.
func (r *Relay) Access(t testing.TB, token string) []string {
	t.Helper()
	return r.access(t, r.Agents, token)
}

// AccessBy is Access over one transport.
func (r *Relay) AccessBy(t testing.TB, transport, token string) []string {
	t.Helper()
	return append(r.access(t, r.Address(transport), token), "--transport", transport)
}

func (r *Relay) access(t testing.TB, address, token string) []string {
	t.Helper()
	return []string{"--relay", address, "--ca", r.CA(), "--token", "file:" + Write(t, "token", token+"\n")}
}

// AgentOptions say how to start an agent.
type AgentOptions struct {
	ID        string
	Data      string   // its data folder; empty: a new one
	Transport string   // empty: the program's own choice
	Relay     string   // the address it is told; empty: the relay's own for that transport
	Token     string   // empty: one made with the relay's key
	Allow     []string // empty: "*"
	Join      bool     // use a join string in place of address, authority and token
	NoToken   bool     // claim the id without a credential, for a relay with --auth none
	Args      []string // further flags
	Env       []string // variables, as NAME=VALUE
	On        Machine  // where it runs; nil: here
}

// Agent is a running postern agent.
type Agent struct {
	*Process

	ID    string
	Data  string // its data folder
	ready string
}

// AgentRelay is one session of an agent, as its ready file says.
type AgentRelay struct {
	Address   string `json:"address"`
	Transport string `json:"transport"`
	Session   string `json:"session"`
}

// StartAgent starts an agent and returns once its first session is up.
func StartAgent(t testing.TB, r *Relay, o AgentOptions) *Agent {
	t.Helper()
	a := LaunchAgent(t, r, o)
	var ready struct{ Relays []AgentRelay }
	waitReady(t, a.Process, a.ready, &ready)
	if len(ready.Relays) == 0 {
		t.Fatalf("the agent's ready file names no relay")
	}
	if got := ready.Relays[0].Transport; o.Transport != "" && got != o.Transport {
		t.Fatalf("the agent came over %q, asked for was %q", got, o.Transport)
	}
	return a
}

// LaunchAgent starts an agent and does not wait for its session.
func LaunchAgent(t testing.TB, r *Relay, o AgentOptions) *Agent {
	t.Helper()
	if o.Data == "" {
		o.Data = filepath.Join(t.TempDir(), "agent")
	}
	address := orElse(o.Relay, r.Address(o.Transport))
	a := &Agent{ID: o.ID, Data: o.Data, ready: filepath.Join(t.TempDir(), "ready.json")}
	args := []string{"agent", "--data", o.Data, "--ready-file", a.ready, "--log-level", "debug"}
	switch {
	case o.Join:
		args = append(args, "--join", r.Join(t, o.ID))
	case o.NoToken:
		args = append(args, "--relay", address, "--ca", r.CA(), "--agent-id", o.ID)
	case o.Token != "":
		args = append(args, r.access(t, address, o.Token)...)
	default:
		args = append(args, r.access(t, address, r.Token(t, "agent", o.ID))...)
	}
	if o.Transport != "" {
		args = append(args, "--transport", o.Transport)
	}
	if o.Allow == nil {
		o.Allow = []string{"*"}
	}
	for _, pattern := range o.Allow {
		args = append(args, "--allow", pattern)
	}
	a.Process = o.On.start(t, "postern agent "+o.ID, o.Env, Binary(t), append(args, o.Args...)...)
	return a
}

// Sessions is what the agent's ready file says now; nil if there is none.
func (a *Agent) Sessions(t testing.TB) []AgentRelay {
	t.Helper()
	text, err := os.ReadFile(a.ready)
	if err != nil {
		return nil
	}
	var ready struct{ Relays []AgentRelay }
	if err := json.Unmarshal(text, &ready); err != nil {
		t.Fatalf("the agent's ready file, which is replaced in one step, is no JSON: %v\n%s", err, text)
	}
	return ready.Relays
}

// waitReady reads a ready file into v as soon as it is there.
func waitReady(t testing.TB, p *Process, file string, v any) {
	t.Helper()
	var text []byte
	there := Within(t, readyWithin, func() bool {
		var err error
		text, err = os.ReadFile(file)
		return err == nil || p.Ended()
	})
	if !there || len(text) == 0 {
		t.Fatalf("%s is not ready (ended: %v):\n%s", p.Name, p.Ended(), tail(p.Output(), 40))
	}
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatalf("the ready file of %s: %v\n%s", p.Name, err, text)
	}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
