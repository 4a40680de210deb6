//go:build linux

package fault

import (
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/postern-dev/postern/test/fault/link"
	"github.com/postern-dev/postern/test/rig"
)

// far is a relay and an agent with a link between them: the agent and the targets are on side A, the relay and the clients on side B.
type far struct {
	*bed

	link *link.Link
	web  *httptest.Server // on A's loopback
}

// newFar does not wait for the agent.
func newFar(t *testing.T, o link.Options, transport string) *far {
	t.Helper()
	f := &far{link: link.New(t, o)}
	f.at(t, link.A, func() { f.web = rig.Web(t) })
	address := f.link.Addr(link.B).String()
	relay := rig.StartRelay(t, rig.RelayOptions{
		Agents: address + ":0", Web: address + ":0", Args: []string{"--advertise", address}, On: f.machine(link.B),
	})
	agent := rig.LaunchAgent(t, relay, rig.AgentOptions{ID: agentID, Transport: transport, On: f.machine(link.A)})
	f.bed = &bed{relay: relay, agent: agent, client: relay.Client(t, agentID)}
	return f
}

func (f *far) machine(s link.Side) rig.Machine {
	return func(name string, args ...string) *exec.Cmd { return f.link.Command(s, name, args...) }
}

// at runs a step of the test on one side.
func (f *far) at(t *testing.T, s link.Side, step func()) {
	t.Helper()
	if err := f.link.In(s, func() error { step(); return nil }); err != nil {
		t.Fatal(err)
	}
}

// session waits for the agent's session.
func (f *far) session(t *testing.T, within time.Duration) rig.AgentRelay {
	t.Helper()
	var all []rig.AgentRelay
	rig.Eventually(t, within, "the agent is online", func() bool {
		all = f.agent.Sessions(t)
		return len(all) > 0
	})
	return all[0]
}

// curl starts a download from the target, on the relay's side.
func (f *far) curl(t *testing.T, n, rate int64) *download {
	t.Helper()
	d := &download{file: filepath.Join(t.TempDir(), "download"), started: time.Now()}
	d.Process = rig.StartCmd(t, "curl", f.link.Command(link.B, rig.Program(t, "curl"),
		"-sS", "-p", "-x", f.client.URL().String(), "-o", d.file, slowPage(f.web.URL, n, rate, "")))
	return d
}

// wantWhole waits for the end of a download and compares the bytes.
func (d *download) wantWhole(t *testing.T, n int64, within time.Duration) {
	t.Helper()
	if code := d.Exit(within); code != 0 {
		t.Fatalf("curl ended with %d after %d of %d bytes: %s", code, d.size(), n, d.Output())
	}
	took := time.Since(d.started)
	t.Logf("%d bytes in %v: %.2f MB/s", n, took.Round(time.Millisecond), float64(n)/1e6/took.Seconds())
	if got, want := rig.FileHash(t, d.file), rig.DataHash(t, n); got != want {
		t.Errorf("the hash is %s, want %s", got, want)
	}
}
