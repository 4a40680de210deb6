//go:build linux

package conformance

import (
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-dev/postern/test/rig"
)

// TestClientsThatLeaveFreeTheirTarget: an agent does not go on dialling for a client that is no longer there, whichever way it came.
func TestClientsThatLeaveFreeTheirTarget(t *testing.T) {
	hole := rig.BlackHole(t)
	overEachTransport(t, func(t *testing.T, b *bed) {
		leaves := func(t *testing.T, come func() (leave func())) {
			t.Helper()
			given := strings.Count(b.agent.Output(), "gave up")
			leave := come()
			relayed := strings.Count(b.relay.Output(), "stream")
			timer := time.NewTimer(300 * time.Millisecond) // to be on its way
			<-timer.C
			leave()
			start := time.Now()
			rig.Eventually(t, short, "the agent stops dialling", func() bool { return strings.Count(b.agent.Output(), "gave up") > given })
			// A dial is given up after ten seconds by itself.
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("the agent stopped dialling after %v", took)
			}
			rig.Eventually(t, short, "the relay reports it", func() bool { return strings.Count(b.relay.Output(), "stream") > relayed })
		}
		dial := func(t *testing.T, addr, text string) net.Conn {
			t.Helper()
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(c, text); err != nil {
				t.Fatal(err)
			}
			return c
		}
		t.Run("CONNECT", func(t *testing.T) {
			leaves(t, func() func() {
				c := dial(t, b.client.Proxy, b.client.Head("CONNECT", hole))
				return func() { _ = c.Close() }
			})
		})
		t.Run("a reset after early bytes", func(t *testing.T) {
			leaves(t, func() func() {
				c := dial(t, b.client.Proxy, b.client.Head("CONNECT", hole)+"early bytes")
				return func() {
					if err := c.(*net.TCPConn).SetLinger(0); err != nil {
						t.Error(err)
					}
					_ = c.Close()
				}
			})
		})
		t.Run("postern connect", func(t *testing.T) {
			leaves(t, func() func() {
				p := rig.Start(t, rig.Binary(t), append(append([]string{"connect"}, b.access(t)...), agentID, hole)...)
				return func() { p.Signal(syscall.SIGTERM) }
			})
		})
		t.Run("postern forward http", func(t *testing.T) {
			p := b.forward(t, "http", agentID)
			addr := printedAddress(t, p, "")
			leaves(t, func() func() {
				c := dial(t, addr, "CONNECT "+hole+" HTTP/1.1\r\nHost: "+hole+"\r\n\r\n")
				return func() { _ = c.Close() }
			})
			p.Signal(syscall.SIGTERM)
			if code := p.Exit(short); code != 0 {
				t.Errorf("postern forward ended with %d after SIGTERM", code)
			}
		})
	})
}
