//go:build linux

package conformance

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/postern-dev/postern/test/rig"
)

// TestSelftest uses the hidden service that an agent offers with --selftest, though its allow-list is empty.
func TestSelftest(t *testing.T) {
	const service = "selftest.service:1"
	for _, transport := range []string{"tls", "quic"} {
		t.Run(transport, func(t *testing.T) {
			relay := rig.StartRelay(t, rig.RelayOptions{})
			rig.StartAgent(t, relay, rig.AgentOptions{ID: agentID, Transport: transport, Allow: []string{}, Args: []string{"--selftest"}})
			client := relay.Client(t, agentID)
			do := func(command, input string) (string, error) {
				conn := tunnel(t, client, service)
				if _, err := io.WriteString(conn, command+"\n"+input); err != nil {
					t.Fatal(err)
				}
				// An abort may have reset the connection by now; then this says so, or the read does.
				ended := conn.CloseWrite()
				got, err := io.ReadAll(conn)
				return string(got), errors.Join(err, ended)
			}
			for _, c := range []struct{ command, input, want string }{
				{"echo", "some words", "some words"},
				{"discard", "some words", "10\n"},
				{"delay 10ms", "some words", "some words"},
			} {
				if got, err := do(c.command, c.input); err != nil || got != c.want {
					t.Errorf("%s: %q, %v; want %q", c.command, got, err, c.want)
				}
			}
			const size = 3 << 20
			got, err := do(fmt.Sprintf("source %d", size), "")
			if err != nil || len(got) != size {
				t.Errorf("source: %d bytes, %v", len(got), err)
			}
			for i := range len(got) {
				if got[i] != byte(i%251) {
					t.Fatalf("source: byte %d is %d", i, got[i])
				}
			}
			if got, err := do("abort 1000", ""); err == nil {
				t.Errorf("abort: a clean end after %d bytes", len(got))
			}
		})
	}
}

func TestNoSelftestUnlessAskedFor(t *testing.T) {
	b := newBed(t, "tls")
	if _, answer, err := b.client.Connect("selftest.service:1", nil); err != nil || answer.StatusCode != 502 {
		t.Errorf("%v, %v; want 502", answer, err)
	}
}
