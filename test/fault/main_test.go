//go:build linux

// Package fault ends, freezes and drains relays and agents at work, and looks at what their clients see.
package fault

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/postern-dev/postern/test/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

const agentID = "nas"

// What is promised, with nothing added.
const (
	noticed  = 10 * time.Second // by clients, when a process has gone
	returned = 15 * time.Second // of the agent, once the relay is back
)

// size and rate of the downloads that are broken off: long enough to be in the middle of when something happens.
func size() int64 { return rig.Size(128<<20, 1<<30) }
func rate() int64 { return rig.Size(16<<20, 64<<20) }

type bed struct {
	relay  *rig.Relay
	agent  *rig.Agent
	client *rig.Client
}

func newBed(t *testing.T, transport string, relayArgs ...string) *bed {
	t.Helper()
	relay := rig.StartRelay(t, rig.RelayOptions{Args: relayArgs})
	agent := rig.StartAgent(t, relay, rig.AgentOptions{ID: agentID, Transport: transport})
	return &bed{relay: relay, agent: agent, client: relay.Client(t, agentID)}
}

// overEachTransport runs a test over tls, quic and websocket, at the same time: these tests wait more than they work.
func overEachTransport(t *testing.T, test func(t *testing.T, transport string)) {
	t.Helper()
	for _, transport := range []string{"tls", "quic", "websocket"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			test(t, transport)
		})
	}
}

// download is a curl at work.
type download struct {
	*rig.Process

	file    string
	started time.Time
}

// startDownload starts curl through the relay and returns once it is at least some MB into the transfer.
func (b *bed) startDownload(t *testing.T, args ...string) *download {
	t.Helper()
	d := &download{file: filepath.Join(t.TempDir(), "download"), started: time.Now()}
	args = append([]string{"-sS", "--max-time", "120", "-x", b.client.URL().String(), "-o", d.file}, args...)
	d.Process = rig.Start(t, rig.Program(t, "curl"), args...)
	d.Name = "curl"
	rig.Eventually(t, 30*time.Second, "the download is under way", func() bool {
		if d.Ended() {
			t.Fatalf("curl has ended with %d: %s", d.Exit(time.Second), d.Output())
		}
		return d.size() > 4<<20
	})
	return d
}

func (d *download) size() int64 {
	info, err := os.Stat(d.file)
	if err != nil {
		return 0 // curl has not made it yet
	}
	return info.Size()
}

// wantFailure checks that curl fails in time, and does not take a part for the whole.
func (d *download) wantFailure(t *testing.T, whole int64) {
	t.Helper()
	start := time.Now()
	select {
	case <-d.Done():
	case <-time.After(noticed):
		t.Fatalf("after %v curl still waits, with %d of %d bytes", noticed, d.size(), whole)
	}
	code := d.Exit(time.Second)
	if got := d.size(); got >= whole {
		t.Fatalf("curl has all %d bytes: it was not interrupted, the test shows nothing", got)
	}
	if code == 0 {
		t.Errorf("a short file with a clean end: curl exits 0 with %d of %d bytes", d.size(), whole)
	}
	t.Logf("curl ended with %d after %v", code, time.Since(start).Round(time.Millisecond))
}

// back waits until streams go through again.
func (b *bed) back(t *testing.T, target string, within time.Duration) {
	t.Helper()
	start := time.Now()
	rig.Eventually(t, within, "streams go through again", func() bool {
		conn, _, err := b.client.Connect(target, nil)
		if conn != nil {
			_ = conn.Close() // that it opened is the answer
		}
		return err == nil && conn != nil
	})
	t.Logf("back after %v", time.Since(start).Round(time.Millisecond))
}

// gone waits until the relay says that the agent is away.
func (b *bed) gone(t *testing.T, target string, within time.Duration) {
	t.Helper()
	rig.Eventually(t, within, "the agent counts as away", func() bool {
		conn, answer, err := b.client.Connect(target, nil)
		if conn != nil {
			_ = conn.Close() // that it opened is the answer
		}
		return err == nil && answer.StatusCode == http.StatusServiceUnavailable
	})
}

// slowPage is a page that takes some seconds.
func slowPage(web string, size, rate int64, more string) string {
	return fmt.Sprintf("%s/data?n=%d&rate=%d%s", web, size, rate, more)
}
