//go:build linux

package fault

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/postern-dev/postern/test/rig"
)

// TestKillDuringDownload is kill -9 of either side. A page without a length is the hardest: an end of the connection that
// looks clean would make a short file that nobody notices.
func TestKillDuringDownload(t *testing.T) {
	web := rig.Web(t)
	ways := map[string][]string{
		"CONNECT, with a length":          {"-p", slowPage(web.URL, size(), rate(), "")},
		"CONNECT, without a length":       {"-p", slowPage(web.URL, size(), rate(), "&length=no")},
		"absolute form, with a length":    {slowPage(web.URL, size(), rate(), "")},
		"absolute form, without a length": {slowPage(web.URL, size(), rate(), "&length=no")},
	}
	for _, victim := range []string{"relay", "agent"} {
		t.Run(victim, func(t *testing.T) {
			overEachTransport(t, func(t *testing.T, transport string) {
				b := newBed(t, transport)
				downloads := make(map[string]*download)
				for way, args := range ways {
					downloads[way] = b.startDownload(t, args...)
				}
				if victim == "relay" {
					b.relay.Kill()
				} else {
					b.agent.Kill()
				}
				killed := time.Now()
				for way, d := range downloads {
					t.Run(way, func(t *testing.T) { d.wantFailure(t, size()) })
				}
				if took := time.Since(killed); took > noticed {
					t.Errorf("all clients had noticed after %v, promised are %v", took, noticed)
				}
			})
		})
	}
}

// TestKillDuringTLSDownload is the same with TLS from end to end, from nginx.
func TestKillDuringTLSDownload(t *testing.T) {
	site := rig.Nginx(t)
	f, err := os.Create(filepath.Join(site.Root, "big"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, rig.DataReader(size())); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, victim := range []string{"relay", "agent"} {
		t.Run(victim, func(t *testing.T) {
			overEachTransport(t, func(t *testing.T, transport string) {
				b := newBed(t, transport)
				d := b.startDownload(t, "--limit-rate", "16M", "--cacert", site.CA, site.URL("big"))
				if victim == "relay" {
					b.relay.Kill()
				} else {
					b.agent.Kill()
				}
				d.wantFailure(t, size())
			})
		})
	}
}

// TestKillRelayDuringUpload looks from the target's side: it must not take a part for the whole either.
func TestKillRelayDuringUpload(t *testing.T) {
	overEachTransport(t, func(t *testing.T, transport string) {
		ends := make(chan error, 1)
		target := rig.Serve(t, func(c *net.TCPConn) {
			_, err := io.Copy(io.Discard, c)
			ends <- err
		})
		b := newBed(t, transport)
		conn := b.client.Tunnel(t, target)
		if _, err := io.Copy(conn, rig.DataReader(8<<20)); err != nil {
			t.Fatal(err)
		}
		b.relay.Kill()
		select {
		case err := <-ends:
			if err == nil {
				t.Error("the target saw a clean end")
			}
		case <-time.After(noticed):
			t.Errorf("the target has not noticed within %v", noticed)
		}
	})
}

// TestRelayReturns kills the relay and starts it again at the same addresses, on the same data.
func TestRelayReturns(t *testing.T) {
	overEachTransport(t, func(t *testing.T, transport string) {
		target := rig.Echo(t)
		b := newBed(t, transport)
		b.back(t, target, returned)
		b.relay.Kill()
		b.relay = rig.StartRelay(t, b.relay.Again())
		b.back(t, target, returned)
	})
}

// TestAgentReturns kills the agent: its streams are refused, until another process with its credential is there.
func TestAgentReturns(t *testing.T) {
	overEachTransport(t, func(t *testing.T, transport string) {
		target := rig.Echo(t)
		b := newBed(t, transport)
		b.back(t, target, returned)
		b.agent.Kill()
		b.gone(t, target, returned)
		b.agent = rig.StartAgent(t, b.relay, rig.AgentOptions{ID: agentID, Transport: transport})
		b.back(t, target, 5*time.Second)
	})
}

// TestAgentBeforeRelay starts the agent while there is no relay.
func TestAgentBeforeRelay(t *testing.T) {
	overEachTransport(t, func(t *testing.T, transport string) {
		target := rig.Echo(t)
		first := rig.StartRelay(t, rig.RelayOptions{})
		token := first.Token(t, "agent", agentID)
		client := first.Client(t, agentID)
		first.Kill()
		rig.LaunchAgent(t, first, rig.AgentOptions{ID: agentID, Transport: transport, Token: token})
		second := rig.StartRelay(t, first.Again())
		b := &bed{relay: second, client: client}
		b.back(t, target, returned)
	})
}
