//go:build linux

package conformance

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/postern-dev/postern/test/rig"
)

// TestIdleStreamsEndWhereThatIsAskedFor: by CONNECT, by postern forward and at a public port; who says something now and then stays.
func TestIdleStreamsEndWhereThatIsAskedFor(t *testing.T) {
	const idle = 2 * time.Second
	echo := rig.Echo(t)
	low := rig.FreePort(t)
	ports := fmt.Sprintf("%d-%d", low, min(low+20, 65535))
	relay := rig.StartRelay(t, rig.RelayOptions{Args: []string{"--idle", idle.String(), "--ports", ports}})
	rig.StartAgent(t, relay, rig.AgentOptions{ID: agentID})
	b := &bed{transport: "quic", relay: relay, client: relay.Client(t, agentID)}
	_, public := expose(t, relay, relay.Token(t, "agent", agentID, "--ports", ports), "tcp", echo)
	forwarded := printedAddress(t, b.forward(t, agentID+"/"+echo), echo)

	dial := func(addr string) net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() }) // the relay has ended it
		return c
	}
	quiet := map[string]net.Conn{"CONNECT": b.client.Tunnel(t, echo), "postern forward": dial(forwarded), "a public port": dial(public)}
	busy := b.client.Tunnel(t, echo)
	start := time.Now()
	tick := time.NewTicker(idle / 4)
	defer tick.Stop()
	ended := make(chan string, len(quiet))
	for name, c := range quiet {
		if _, err := io.WriteString(c, "x"); err != nil {
			t.Fatal(err)
		}
		go func() {
			if _, err := io.Copy(io.Discard, c); err == nil {
				name += ", as if its target had ended it"
			}
			ended <- name
		}()
	}
	for left := len(quiet); left > 0 || time.Since(start) < 3*idle; {
		select {
		case name := <-ended:
			left--
			if _, known := quiet[name]; !known {
				t.Errorf("a stream ended cleanly: %s", name)
			}
			if took := time.Since(start); took < idle/2 || took > 2*idle+time.Second {
				t.Errorf("%s ended after %v", name, took)
			}
		case <-tick.C:
			if _, err := io.WriteString(busy, "y"); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(busy, make([]byte, 1)); err != nil {
				t.Fatalf("a stream that is used was ended: %v", err)
			}
			if time.Since(start) > short {
				t.Fatalf("%d streams have not ended", left)
			}
		}
	}
}
