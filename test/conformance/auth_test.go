//go:build linux

package conformance

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-dev/postern/test/rig"
)

// expired is how long after a token's end nothing begins with it any more: the leeway of the clocks, and time to notice.
const expired = 8 * time.Second

// startBare starts a relay as it is said, with nothing but its listeners besides, and without a folder to write in.
func startBare(t *testing.T, env []string, args ...string) *rig.Relay {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready.json")
	all := append([]string{
		"relay", "--ready-file", ready, "--agents", "127.0.0.1:0", "--proxy", "127.0.0.1:0",
		"--socks", "off", "--web", "off", "--admin", "off", "--log-level", "debug",
	}, args...)
	cmd := exec.Command(rig.Binary(t), all...)
	cmd.Env = env
	r := &rig.Relay{Process: rig.StartCmd(t, "postern relay", cmd)}
	rig.Eventually(t, short, "the relay is ready", func() bool {
		if r.Ended() {
			t.Fatalf("the relay has ended:\n%s", r.Output())
		}
		text, err := os.ReadFile(ready)
		return err == nil && json.Unmarshal(text, r) == nil
	})
	return r
}

// pinOf is the pin that a relay's log tells.
func pinOf(t *testing.T, r *rig.Relay) string {
	t.Helper()
	pin := regexp.MustCompile(`sha256:[0-9a-f]{64}`).FindString(r.Output())
	if pin == "" {
		t.Fatalf("the log tells no pin:\n%s", r.Output())
	}
	return pin
}

// keyPair makes a key, and returns it and its public half.
func keyPair(t *testing.T) (private, public string) {
	t.Helper()
	dir := t.TempDir()
	private, public = filepath.Join(dir, "key.pem"), filepath.Join(dir, "pub.pem")
	rig.MustRun(t, short, rig.Binary(t), "auth", "key", "private", "--out", private)
	rig.MustRun(t, short, rig.Binary(t), "auth", "key", "public", "--in", private, "--out", public)
	return private, public
}

// signWith makes a token with a key.
func signWith(t *testing.T, key, role, agent string, args ...string) string {
	t.Helper()
	args = append([]string{"auth", "jwt", "token", "--in", key, "--role", role, "--agent-id", agent}, args...)
	return strings.TrimSpace(rig.MustRun(t, short, rig.Binary(t), args...))
}

// reaches waits until streams go through.
func reaches(t *testing.T, c *rig.Client, target string) {
	t.Helper()
	rig.Eventually(t, short, "the agent is there", func() bool {
		conn, _, err := c.Connect(target, nil)
		if conn != nil {
			_ = conn.Close() // that it opened is the answer
		}
		return err == nil && conn != nil
	})
}

// TestRelayWithoutADataFolder has a certificate in memory, which its agents know by the pin in the log.
func TestRelayWithoutADataFolder(t *testing.T) {
	target := rig.Echo(t)
	agent := func(t *testing.T, r *rig.Relay, args ...string) {
		p := rig.Start(t, rig.Binary(t), append([]string{"agent", "--relay", r.Agents, "--pin", pinOf(t, r), "--allow", "*"}, args...)...)
		p.Name = "postern agent"
	}
	t.Run("auth none", func(t *testing.T) {
		relay := startBare(t, nil, "--auth", "none")
		agent(t, relay, "--agent-id", agentID)
		reaches(t, &rig.Client{Proxy: relay.Proxy, User: agentID, Secret: "anything"}, target)
	})
	t.Run("auth none and a join string", func(t *testing.T) {
		relay := rig.StartRelay(t, rig.RelayOptions{Args: []string{"--auth", "none"}})
		rig.StartAgent(t, relay, rig.AgentOptions{ID: agentID, Join: true})
		reaches(t, &rig.Client{Proxy: relay.Proxy, User: agentID, Secret: "anything"}, target)
	})
	t.Run("a public key", func(t *testing.T) {
		key, public := keyPair(t)
		relay := startBare(t, nil, "--public-key", public)
		agent(t, relay, "--token", "file:"+rig.Write(t, "token", signWith(t, key, "agent", agentID)))
		reaches(t, &rig.Client{Proxy: relay.Proxy, User: agentID, Secret: signWith(t, key, "client", agentID)}, target)
		failure{client: &rig.Client{Proxy: relay.Proxy, User: agentID, Secret: "anything"}, target: target, status: 407, hop: "relay"}.check(t)
	})
}

// TestEveryWayToSetCredentialsAsksForThem starts a relay by flag, variable, YAML and JSON, and comes without a credential.
func TestEveryWayToSetCredentialsAsksForThem(t *testing.T) {
	_, public := keyPair(t)
	for name, start := range map[string]func(t *testing.T) *rig.Relay{
		"data folder":       func(t *testing.T) *rig.Relay { return rig.StartRelay(t, rig.RelayOptions{}) },
		"flag":              func(t *testing.T) *rig.Relay { return startBare(t, nil, "--public-key", public) },
		"variable":          func(t *testing.T) *rig.Relay { return startBare(t, []string{"POSTERN_PUBLIC_KEY=" + public}) },
		"an empty variable": func(t *testing.T) *rig.Relay { return startBare(t, []string{"POSTERN_AUTH="}, "--public-key", public) },
		"YAML": func(t *testing.T) *rig.Relay {
			return startBare(t, nil, "-c", rig.Write(t, "relay.yaml", "public-key: "+public+"\n"))
		},
		"JSON": func(t *testing.T) *rig.Relay {
			return startBare(t, nil, "-c", rig.Write(t, "relay.json", fmt.Sprintf(`{"relay":{"public-key":%q}}`, public)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			relay := start(t)
			for _, c := range []*rig.Client{{}, {User: agentID}, {User: agentID, Secret: "anything"}} {
				c.Proxy = relay.Proxy
				failure{client: c, target: "127.0.0.1:1", status: 407, hop: "relay"}.check(t)
			}
		})
	}
}

// TestStrangersLearnNothing compares what somebody without a good token gets for agents that are here, away and unknown.
func TestStrangersLearnNothing(t *testing.T) {
	b := newBed(t, "tls")
	away := rig.StartAgent(t, b.relay, rig.AgentOptions{ID: "away"})
	away.Signal(syscall.SIGTERM)
	away.Exit(short)
	id := regexp.MustCompile(`[0-9a-f]{16}`)
	for way, c := range b.ways(t) {
		t.Run(way, func(t *testing.T) {
			first := ""
			for _, user := range []string{agentID, "away", "ghost"} {
				stranger := *c
				stranger.User, stranger.Secret = user, breakSignature(b.client.Secret)
				_, answer, err := stranger.Connect("127.0.0.1:1", nil)
				if err != nil || answer == nil {
					t.Fatal(err)
				}
				var head strings.Builder
				if err := answer.Header.Write(&head); err != nil {
					t.Fatal(err)
				}
				told := id.ReplaceAllString(answer.Status+"\n"+head.String()+answer.Text, "ID")
				if first == "" {
					first = told
				}
				if told != first || answer.StatusCode != http.StatusProxyAuthRequired {
					t.Errorf("%s: told\n%s\nwhere %s was told\n%s", user, told, agentID, first)
				}
			}
		})
	}
}

// TestAnExpiredTokenBeginsNothing opens streams over one session of postern forward, whose token expires meanwhile.
func TestAnExpiredTokenBeginsNothing(t *testing.T) {
	b := newBed(t, "tls")
	target := rig.Echo(t)
	p := rig.Start(t, rig.Binary(t), append([]string{"forward", agentID + "/" + target}, b.relay.Access(t, b.relay.Token(t, "client", agentID, "--duration", "4s"))...)...)
	local := printedAddress(t, p, target)
	echoes := func(conn net.Conn) bool {
		got := make([]byte, 4)
		deadline := conn.SetDeadline(time.Now().Add(5 * time.Second))
		_, werr := io.WriteString(conn, "ping")
		_, rerr := io.ReadFull(conn, got)
		return deadline == nil && werr == nil && rerr == nil && string(got) == "ping"
	}
	live, err := net.Dial("tcp", local)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = live.Close() }() // what is to be seen was seen by then
	if !echoes(live) {
		t.Fatal("nothing comes back with a good token")
	}
	rig.Eventually(t, 4*time.Second+expired, "new streams are refused", func() bool {
		conn, err := net.Dial("tcp", local)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }() // that it opened is the answer
		return !echoes(conn)
	})
	if !echoes(live) {
		t.Error("the stream that was open has ended at once: it has most of a minute")
	}
}

// TestARenewedTokenIsKeptForARestart stops an agent, waits until the token that it was given has expired, and starts it again.
func TestARenewedTokenIsKeptForARestart(t *testing.T) {
	relay := rig.StartRelay(t, rig.RelayOptions{})
	given := rig.Write(t, "token", relay.Token(t, "agent", agentID, "--duration", "4s"))
	end := time.Now().Add(4 * time.Second)
	data := filepath.Join(t.TempDir(), "agent")
	start := func(args ...string) *rig.Process {
		p := rig.Start(t, rig.Binary(t), append([]string{"agent", "--relay", relay.Agents, "--ca", relay.CA(), "--data", data, "--allow", "*"}, args...)...)
		p.Name = "postern agent"
		return p
	}
	client, target := relay.Client(t, agentID), rig.Echo(t)
	first := start("--token", "file:"+given)
	reaches(t, client, target)
	rig.Eventually(t, short, "a fresh token is kept", func() bool {
		files, err := filepath.Glob(filepath.Join(data, "token-*"))
		return err == nil && len(files) == 1
	})
	files, err := filepath.Glob(filepath.Join(data, "token-*"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the token's file: %v, %v; want mode 0600", info, err)
	}
	first.Signal(syscall.SIGTERM)
	first.Exit(short)
	rig.Eventually(t, expired+5*time.Second, "the first token is over", func() bool { return time.Now().After(end.Add(expired)) })
	for name, args := range map[string][]string{"with the token of then": {"--token", "file:" + given}, "with the folder alone": nil} {
		t.Run(name, func(t *testing.T) {
			again := start(args...)
			reaches(t, client, target)
			again.Signal(syscall.SIGTERM)
			again.Exit(short)
		})
	}
}

// TestAPublicPortIsKeptForItsOwner kills the one that has a port, and has another agent ask for it.
func TestAPublicPortIsKeptForItsOwner(t *testing.T) {
	relay, ports := exposePorts(t)
	port, _, _ := strings.Cut(ports, "-")
	target := rig.Banner(t, "hello\n")
	owner, public := expose(t, relay, relay.Token(t, "agent", agentID, "--ports", ports), "tcp", target, "--port", port)
	owner.Kill()
	rig.Eventually(t, short, "the port is closed", func() bool {
		conn, err := net.Dial("tcp", public)
		if conn != nil {
			_ = conn.Close() // that it opened is the answer
		}
		return err != nil
	})
	args := append([]string{"expose", "tcp", target, "--port", port}, relay.Access(t, relay.Token(t, "agent", "other", "--ports", ports))...)
	r := rig.Run(t, short, rig.Binary(t), args...)
	if r.Code != 4 {
		t.Errorf("exit code %d, want 4 (conflict); stdout %q", r.Code, r.Stdout)
	}
	wantHint(t, r, port)
	expose(t, relay, relay.Token(t, "agent", agentID, "--ports", ports), "tcp", target, "--port", port)
}

// TestManyRulesOfTheRelay has more rules than can be sent along with every stream.
func TestManyRulesOfTheRelay(t *testing.T) {
	var file strings.Builder
	file.WriteString("allow:\n")
	for i := range 3000 {
		fmt.Fprintf(&file, "  - host-%d.example.test:443\n", i)
	}
	file.WriteString("  - 127.0.0.0/8\n")
	relay := rig.StartRelay(t, rig.RelayOptions{Args: []string{"-c", rig.Write(t, "relay.yaml", file.String())}})
	rig.StartAgent(t, relay, rig.AgentOptions{ID: agentID})
	target := rig.Echo(t)
	_, port, err := net.SplitHostPort(target)
	if err != nil {
		t.Fatal(err)
	}
	client := relay.Client(t, agentID)
	ping(t, client.Tunnel(t, target), "by address")
	ping(t, client.Tunnel(t, "localhost:"+port), "by name")
	failure{client: client, target: "192.0.2.1:" + port, status: 403, hop: "relay"}.check(t)
}
