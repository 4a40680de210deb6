//go:build linux

package conformance

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/postern-dev/postern/test/rig"
)

func TestExposeGivenPort(t *testing.T) {
	target := rig.Banner(t, "hello\n")
	relay, ports := exposePorts(t)
	token := relay.Token(t, "agent", agentID, "--ports", ports)
	_, high, _ := strings.Cut(ports, "-")
	_, public := expose(t, relay, token, "tcp", target, "--port", high)
	if public != "127.0.0.1:"+high {
		t.Fatalf("asked for port %s, got %s", high, public)
	}
	conn, err := net.Dial("tcp", public)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // read to its end or the test has failed
	got := make([]byte, len("hello\n"))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestExposeBeyondTheToken asks for what the token, or the relay, does not permit.
func TestExposeBeyondTheToken(t *testing.T) {
	relay, ports := exposePorts(t)
	low, high, _ := strings.Cut(ports, "-")
	target := rig.Echo(t)
	for _, c := range []struct {
		name      string
		tokenArgs []string
		port      string
		names     string // what the error must name
	}{
		{"a token without ports", nil, low, "ports"},
		{"a port outside the token's", []string{"--ports", low}, high, high},
		{"a port outside the relay's", []string{"--ports", "1-65535"}, "1023", "1023"},
	} {
		t.Run(c.name, func(t *testing.T) {
			token := relay.Token(t, "agent", agentID, c.tokenArgs...)
			args := append([]string{"expose", "tcp", target, "--port", c.port}, relay.Access(t, token)...)
			r := rig.Run(t, short, rig.Binary(t), args...)
			if r.Code != 3 {
				t.Errorf("exit code %d, want 3 (refused); stdout %q", r.Code, r.Stdout)
			}
			wantHint(t, r, c.names)
		})
	}
}
