//go:build linux

package conformance

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-dev/postern/test/rig"
)

// wantHint checks how a command says why it failed: a line that names the thing, then a hint, on standard error.
func wantHint(t *testing.T, r rig.Result, names string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(r.Stderr), "\n")
	if !strings.Contains(r.Stderr, names) {
		t.Errorf("the error does not name %q:\n%s", names, r.Stderr)
	}
	if !strings.Contains(strings.ToLower(r.Stderr), "hint") {
		t.Errorf("the error has no hint:\n%s", r.Stderr)
	}
	if len(lines) > 12 || strings.Contains(r.Stderr, "goroutine ") {
		t.Errorf("the error is not for people:\n%s", r.Stderr)
	}
}

// misuse is a command line that must not start anything.
type misuse struct {
	name  string
	args  []string
	codes []int
	names string // what the error must name
}

func TestMisuse(t *testing.T) {
	yaml := func(text string) string { return rig.Write(t, "postern.yaml", text) }
	data := filepath.Join(t.TempDir(), "data")
	relay := []string{"relay", "--data", data, "--agents", "127.0.0.1:0", "--proxy", "127.0.0.1:0", "--socks", "off", "--web", "off", "--admin", "off"}
	agent := []string{"agent", "--relay", "127.0.0.1:1", "--token", "file:" + rig.Write(t, "token", "a.b.c")}
	with := func(args []string, more ...string) []string { return append(slices.Clone(args), more...) }

	for _, m := range []misuse{
		{"an unknown command", []string{"rellay"}, []int{2}, "rellay"},
		{"an unknown flag", with(relay, "--proxi", "x"), []int{2}, "--proxi"},
		{"a flag without its value", []string{"relay", "--data"}, []int{2}, "--data"},
		{"a relay without a data folder", []string{"relay"}, []int{2}, "data"},
		{"a malformed address", []string{"relay", "--data", data, "--proxy", "localhost:port"}, []int{2}, "localhost:port"},
		{"an unknown auth method", with(relay, "--auth", "jwt,magic"), []int{2}, "magic"},
		{"none beside another method", with(relay, "--auth", "none,jwt"), []int{2}, "none"},
		{"a malformed pattern at the relay", with(relay, "--allow", "10.0.0.0/99"), []int{2}, "10.0.0.0/99"},
		{"a missing public key", with(relay, "--public-key", "/nowhere/key.pem"), []int{1, 2}, "/nowhere/key.pem"},
		{"a missing config file", with(relay, "-c", "/nowhere/postern.yaml"), []int{1, 2}, "/nowhere/postern.yaml"},
		{"YAML that is none", with(relay, "-c", yaml("agents: [\n")), []int{2}, "postern.yaml"},
		{"a flag twice", with(relay, "--proxy", "127.0.0.1:0"), []int{2}, "--proxy"},
		{"an unknown key", with(relay, "-c", yaml("agents: 127.0.0.1:0\nproxi: 127.0.0.1:0\n")), []int{2}, "proxi"},
		{"a value of the wrong type", with(relay, "-c", yaml("ports:\n  a: 1\n")), []int{2}, "ports"},
		{"a malformed range", with(relay, "--ports", "200-100"), []int{2}, "200-100"},
		{"an agent without a relay", []string{"agent"}, []int{2}, "relay"},
		{"a malformed pattern at the agent", with(agent, "--allow", "*.*.example"), []int{2}, "*.*.example"},
		{"an unknown transport", with(agent, "--transport", "pigeon"), []int{2}, "pigeon"},
		{"a missing token file", []string{"agent", "--relay", "127.0.0.1:1", "--token", "file:/nowhere/token"}, []int{1, 2}, "/nowhere/token"},
		{"a missing authority", with(agent, "--ca", "/nowhere/ca.pem"), []int{1, 2}, "/nowhere/ca.pem"},
		{"a malformed pin", with(agent, "--pin", "sha256:xyz"), []int{2}, "xyz"},
		{"a malformed service", with(agent, "--service", "web=gopher://x:70"), []int{2}, "gopher"},
		{"a malformed join string", []string{"agent", "--join", "nonsense"}, []int{2}, "join"},
		{"a forward that is none", []string{"forward", "--relay", "127.0.0.1:1", "--token", "file:" + rig.Write(t, "token", "a.b.c"), "5432"}, []int{2}, "5432"},
		{"a role that does not exist", []string{"auth", "jwt", "token", "--data", data, "--agent-id", "nas", "--role", "king"}, []int{2}, "king"},
		{"a malformed agent id", []string{"join", "create", "--data", data, "--agent-id", "a b"}, []int{1, 2}, "a b"},
	} {
		t.Run(m.name, func(t *testing.T) {
			r := rig.Run(t, 15*time.Second, rig.Binary(t), m.args...)
			if !slices.Contains(m.codes, r.Code) {
				t.Errorf("exit code %d, want one of %v", r.Code, m.codes)
			}
			wantHint(t, r, m.names)
			if strings.TrimSpace(r.Stdout) != "" {
				t.Errorf("errors go to standard error; standard output has %q", r.Stdout)
			}
		})
	}
}

// TestConfigErrorsComeTogether has three mistakes in one file: all are told at once, with lines, and a likely key.
func TestConfigErrorsComeTogether(t *testing.T) {
	file := rig.Write(t, "relay.yaml", "data: /tmp/unused\nagenst: 127.0.0.1:0\nauth: [magic]\nallow: ['10.0.0.0/99']\n")
	r := rig.Run(t, short, rig.Binary(t), "relay", "-c", file)
	if r.Code != 2 {
		t.Errorf("exit code %d, want 2", r.Code)
	}
	for _, part := range []string{"agenst", "agents", "2", "magic", "10.0.0.0/99"} {
		if !strings.Contains(r.Stderr, part) {
			t.Errorf("%q is missing in\n%s", part, r.Stderr)
		}
	}
}

// TestPortInUse wants the address named, and nothing left half-started.
func TestPortInUse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }() // it took no connection
	taken := ln.Addr().String()
	for listener, other := range map[string]string{"--agents": "--proxy", "--proxy": "--agents"} {
		t.Run(listener, func(t *testing.T) {
			ready := filepath.Join(t.TempDir(), "ready.json")
			args := []string{
				"relay", "--data", filepath.Join(t.TempDir(), "data"), "--ready-file", ready,
				"--socks", "off", "--web", "off", "--admin", "off", listener, taken, other, "127.0.0.1:0",
			}
			r := rig.Run(t, short, rig.Binary(t), args...)
			if r.Code != 1 && r.Code != 2 {
				t.Errorf("exit code %d, want 1 or 2", r.Code)
			}
			wantHint(t, r, taken)
			if _, err := os.Stat(ready); err == nil {
				t.Error("there is a ready file")
			}
		})
	}
}

// TestExitCodes are those of a command that talks to a relay.
func TestExitCodes(t *testing.T) {
	b := newBed(t, "tls")
	refusing := rig.Refusing(t)
	connect := func(relay, secret, agent, target string) rig.Result {
		args := []string{"connect", "--relay", relay, "--ca", b.relay.CA(), "--token", "file:" + rig.Write(t, "token", secret), agent, target}
		return rig.Run(t, short, rig.Binary(t), args...)
	}
	for _, c := range []struct {
		name string
		got  rig.Result
		code int
		hint string
	}{
		{"a wrong token", connect(b.relay.Agents, breakSignature(b.client.Secret), agentID, refusing), 3, "credential"},
		{"a refused port", connect(b.relay.Agents, b.client.Secret, agentID, refusing), 1, refusing},
		{"no relay", connect(refusing, b.client.Secret, agentID, refusing), 5, refusing},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.got.Code != c.code {
				t.Errorf("exit code %d, want %d", c.got.Code, c.code)
			}
			wantHint(t, c.got, c.hint)
			// Closed ports are told apart from firewalls: on TCP and UDP nothing waits for a handshake that cannot come.
			if c.got.Took > 3*time.Second {
				t.Errorf("it took %v", c.got.Took)
			}
		})
	}
	t.Run("a stranger's relay", func(t *testing.T) {
		other := rig.StartRelay(t, rig.RelayOptions{})
		if r := connect(other.Agents, b.client.Secret, agentID, refusing); r.Code != 3 && r.Code != 5 {
			t.Errorf("a relay with another authority: exit code %d, want 3 or 5; %s", r.Code, r.Stderr)
		}
	})
}

// TestConfigCheckAndPrint are the commands about the config file.
func TestConfigCheckAndPrint(t *testing.T) {
	good := rig.Write(t, "relay.yaml", "data: /tmp/unused\nproxy: 127.0.0.1:4444\n")
	rig.MustRun(t, short, rig.Binary(t), "config", "check", "-c", good)
	if got := rig.MustRun(t, short, rig.Binary(t), "config", "print", "-c", good); !strings.Contains(got, "127.0.0.1:4444") {
		t.Errorf("the effective config is without the file's key:\n%s", got)
	}
	bad := rig.Write(t, "relay.yaml", "proxi: 127.0.0.1:4444\n")
	if r := rig.Run(t, short, rig.Binary(t), "config", "check", "-c", bad); r.Code != 2 {
		t.Errorf("exit code %d for a bad file, want 2", r.Code)
	}
}

func TestVersion(t *testing.T) {
	if got := rig.MustRun(t, short, rig.Binary(t), "version"); strings.TrimSpace(got) == "" {
		t.Error("postern version prints nothing")
	}
}

// TestAnotherRelay wants to be told how to trust the relay, not how to make a token, where it is the relay that is not believed.
func TestAnotherRelay(t *testing.T) {
	relay := rig.StartRelay(t, rig.RelayOptions{})
	token := "file:" + rig.Write(t, "token", relay.Token(t, "agent", agentID)+"\n")
	for _, transport := range []string{"tls", "quic"} {
		for hint, trust := range map[string][]string{
			"--pin":           nil,
			"new join string": {"--pin", "sha256:" + strings.Repeat("00", 32)},
		} {
			args := append([]string{"agent", "--relay", relay.Agents, "--token", token, "--transport", transport}, trust...)
			r := rig.Run(t, short, rig.Binary(t), args...)
			if _, last, _ := strings.Cut(r.Stderr, "hint: "); r.Code != 3 || !strings.Contains(last, hint) {
				t.Errorf("%s %v: exit code %d, want 3 and a hint with %q:\n%s", transport, trust, r.Code, hint, r.Stderr)
			}
		}
	}
}
