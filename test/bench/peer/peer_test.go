//go:build linux

package peer

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseVariant(t *testing.T) {
	got, err := ParseVariant("mux=tls relay:--lanes=0 agent:--lanes=0 agent:-v A=1")
	want := Variant{Name: "mux", Transport: "tls", Relay: []string{"--lanes=0"}, Agent: []string{"--lanes=0", "-v"}, Env: []string{"A=1"}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	for _, text := range []string{"", "mux", "=tls", "mux=", "mux=tls nonsense"} {
		if v, err := ParseVariant(text); err == nil {
			t.Errorf("%q is taken for %+v", text, v)
		}
	}
}

func TestPeersHaveNamesOfTheirOwn(t *testing.T) {
	seen := make(map[string]bool)
	for _, p := range All(Options{Postern: "/nowhere/postern"}) {
		if seen[p.Name] || p.Name == "" || p.About == "" || p.Kind == "" {
			t.Errorf("%+v", p.Peer)
		}
		seen[p.Name] = true
		_, err := p.Find()
		if strings.HasPrefix(p.Name, "postern-") && (err == nil || !strings.Contains(err.Error(), "make build")) {
			t.Errorf("%s without a binary: %v", p.Name, err)
		}
	}
}

// site is a place on loopback.
func site(t *testing.T) *Site {
	t.Helper()
	return &Site{Relay: Here(), Agent: Here(), Target: "127.0.0.1:1", Dir: t.TempDir()}
}

// TestAProgramThatEndsIsTold looks that what it said reaches the person who waits for it.
func TestAProgramThatEndsIsTold(t *testing.T) {
	s := site(t)
	p, err := s.run(s.Relay, "program", "sh", "-c", "echo what went wrong >&2; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.line(t.Context()); err == nil || !strings.Contains(err.Error(), "what went wrong") {
		t.Errorf("%v", err)
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	if _, err := s.run(s.Relay, "program", "no-such-program"); err == nil {
		t.Error("a program that is not there runs")
	}
}

// TestStopEndsDescendants has a program with a child in a session of its own.
func TestStopEndsDescendants(t *testing.T) {
	s := site(t)
	p, err := s.run(s.Relay, "program", "sh", "-c", "setsid sh -c 'echo $$; sleep 60' & wait")
	if err != nil {
		t.Fatal(err)
	}
	pid, err := p.line(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; <-tick.C {
		state, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(state), ") Z ") {
			return // gone, or only waiting for its parent to notice
		}
		if time.Now().After(deadline) {
			t.Fatalf("the child lives: %s", state)
		}
	}
}

// TestConnect is the CONNECT of reverse-http's clients against proxies of every kind.
func TestConnect(t *testing.T) {
	for answer, says := range map[string]string{
		"HTTP/1.1 200 Connection established\r\n\r\n":  "",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n": "",
		"HTTP/1.1 503 Service Unavailable\r\n\r\n":     "503",
		"HTTP/1.1 200": "EOF",
		"\r\n\r\n":     "CONNECT",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 5000): "longer",
	} {
		client, proxy := net.Pipe()
		ended := make(chan string, 1)
		go func() {
			buf := make([]byte, 1000)
			n, _ := proxy.Read(buf) // what it got is looked at below
			_, _ = proxy.Write([]byte(answer))
			_ = proxy.Close()
			ended <- string(buf[:n])
		}()
		err := connect("127.0.0.1:5", "bench")(client)
		_ = client.Close() // before the proxy has written all, maybe
		if head := <-ended; !strings.HasPrefix(head, "CONNECT 127.0.0.1:5 HTTP/1.1\r\nHost: 127.0.0.1:5\r\nProxy-Authorization: Basic ") {
			t.Errorf("the client said %q", head)
		}
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%.40q: %v, want %q", answer, err, says)
		}
	}
}
