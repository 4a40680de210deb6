//go:build linux

package conformance

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-dev/postern/test/rig"
)

// TestThousandStreams holds 1,000 streams open through one agent, all at work, and wants all descriptors and goroutines
// back after. How many goroutines there are to begin with is seen at a relay and an agent that carried one stream.
func TestThousandStreams(t *testing.T) {
	const streams = 1000
	target := rig.Echo(t)
	overEachTransport(t, func(t *testing.T, b *bed) {
		idle := newBed(t, b.transport)
		warmUp(t, idle, target)
		warmUp(t, b, target)
		before := map[*rig.Process]int{b.relay.Process: settled(t, b.relay.Process), b.agent.Process: settled(t, b.agent.Process)}

		conns := openMany(t, b.client, target, streams)
		if t.Failed() {
			return
		}
		// All are open at once; each must still work, in an order that is not that of opening.
		for i := range conns {
			if _, err := fmt.Fprintf(conns[i], "stream %d", i); err != nil {
				t.Fatalf("stream %d: %v", i, err)
			}
		}
		for i := len(conns) - 1; i >= 0; i-- {
			want := fmt.Sprintf("stream %d", i)
			got := make([]byte, len(want))
			if _, err := io.ReadFull(conns[i], got); err != nil || string(got) != want {
				t.Fatalf("stream %d: %q, %v", i, got, err)
			}
		}
		for process := range before {
			if n := process.Files(); n < streams {
				t.Errorf("%s holds %d descriptors with %d streams: what is counted here?", process.Name, n, streams)
			}
		}
		for _, conn := range conns {
			_ = conn.Close() // how it ends is not the question here
		}
		for process, n := range before {
			if !rig.Within(t, 10*time.Second, func() bool { return process.Files() <= n }) {
				t.Errorf("%s holds %d descriptors 10 s after, %d before", process.Name, process.Files(), n)
			}
		}
		// A stream's descriptors are free a moment before its goroutines are; its line in the log is the last it does.
		for process := range before {
			if !rig.Within(t, 10*time.Second, func() bool { return strings.Count(process.Output(), `"msg":"stream"`) >= streams }) {
				t.Errorf("%s has not reported the end of all %d streams within 10 s", process.Name, streams)
			}
		}
		// Room for those that come and go by the clock.
		const room = 10
		if got, want := b.relay.Goroutines(), idle.relay.Goroutines(); got > want+room {
			t.Errorf("the relay has %d goroutines after, one that was idle has %d", got, want)
		}
		if got, want := b.agent.Goroutines(), idle.agent.Goroutines(); got > want+room {
			t.Errorf("the agent has %d goroutines after, one that was idle has %d", got, want)
		}
	})
}

// warmUp carries one stream.
func warmUp(t *testing.T, b *bed, target string) {
	t.Helper()
	conn := ping(t, tunnel(t, b.client, target), "warm up")
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
}

// openMany opens n tunnels, some at a time.
func openMany(t *testing.T, c *rig.Client, target string, n int) []*rig.Tunnel {
	t.Helper()
	conns := make([]*rig.Tunnel, n)
	errs := make([]error, n)
	slots := make(chan struct{}, 50)
	var running sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			conn, answer, err := c.Connect(target, nil)
			if err == nil && conn == nil {
				err = fmt.Errorf("the answer is %s: %s", answer.Status, answer.Text)
			}
			if err == nil {
				err = conn.SetDeadline(time.Now().Add(2 * time.Minute))
			}
			conns[i], errs[i] = conn, err
		})
	}
	running.Wait()
	t.Cleanup(func() {
		for _, conn := range conns {
			if conn != nil {
				_ = conn.Close() // most often it is closed
			}
		}
	})
	for i, err := range errs {
		if err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
	}
	return conns
}

// ping sends text and reads it back.
func ping(t *testing.T, conn *rig.Tunnel, text string) *rig.Tunnel {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != text {
		t.Fatalf("%q came back as %q, %v", text, got, err)
	}
	return conn
}

// settled waits until the number of a process's descriptors stays the same for a second, and returns it.
func settled(t *testing.T, p *rig.Process) int {
	t.Helper()
	last, since := p.Files(), time.Now()
	rig.Eventually(t, short, "the descriptors of "+p.Name+" settle", func() bool {
		if n := p.Files(); n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > time.Second
	})
	return last
}
