//go:build linux

package fault

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/postern-dev/postern/test/fault/link"
	"github.com/postern-dev/postern/test/rig"
)

const ms = time.Millisecond

// TestBadRoad is FLT-11: a round trip of 200 ± 50 ms, and of a hundred packets each way 5 are lost, 5 late, and 1 comes twice. Every byte
// arrives, in one session. TCP is given BBR where the machine has it. CUBIC and what QUIC has carry some 50 kB/s here,
// which bounds the size of what can be waited for.
func TestBadRoad(t *testing.T) {
	c := link.Conditions{Delay: 100 * ms, Jitter: 25 * ms, Loss: 0.05, Reorder: 0.05, Duplicate: 0.01}
	overEachTransport(t, func(t *testing.T, transport string) {
		o := link.Options{A: c, B: c, Seed: 1}
		size, within := rig.Size(1<<20, 20<<20), time.Duration(rig.Size(2, 15))*time.Minute
		if transport == "tls" && has(t, "bbr") {
			o.Congestion, size = "bbr", rig.Size(20<<20, 100<<20)
		}
		f := newFar(t, o, transport)
		before := f.session(t, returned)
		f.curl(t, size, 0).wantWhole(t, size, within)
		if after := f.session(t, returned); after != before {
			t.Errorf("the session was restarted: it is %+v, before it was %+v", after, before)
		}
		if c := f.link.Counters(link.A); c.Lost == 0 || c.Duplicated == 0 || c.Reordered == 0 {
			t.Errorf("the road was not bad: %+v", c)
		}
	})
}

// has reports whether the machine has a congestion control.
func has(t *testing.T, name string) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/net/ipv4/tcp_available_congestion_control")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(text), name)
}

// TestRebindingInMidDownload is FLT-07: a router forgets the agent's flow, which comes from another port from then on. On QUIC the
// download goes on, in the same session.
func TestRebindingInMidDownload(t *testing.T) {
	c := link.Conditions{Delay: 5 * ms, Rate: 200e6}
	f := newFar(t, link.Options{A: c, B: c, Seed: 1}, "quic")
	before := f.session(t, returned)
	const size, rate = 24 << 20, 6 << 20
	d := f.curl(t, size, rate)
	for _, part := range []int64{size / 8, size / 2} {
		rig.Eventually(t, 30*time.Second, "the download is under way", func() bool { return d.size() > part })
		f.link.Rebind(link.A)
	}
	d.wantWhole(t, size, time.Minute)
	if c := f.link.Counters(link.A); c.Rebound == 0 {
		t.Errorf("nothing came from another port: %+v", c)
	}
	if after := f.session(t, returned); after != before {
		t.Errorf("the session was restarted: it is %+v, before it was %+v", after, before)
	}
}

// TestRebindingOverTCP breaks the agent's connection, and it comes back.
func TestRebindingOverTCP(t *testing.T) {
	c := link.Conditions{Delay: 5 * ms}
	f := newFar(t, link.Options{A: c, B: c, Seed: 1}, "tls")
	before := f.session(t, returned)
	f.link.Rebind(link.A)
	rig.Eventually(t, returned, "the agent has another session", func() bool {
		all := f.agent.Sessions(t)
		return len(all) == 1 && all[0] != before
	})
	const size = 1 << 20
	f.curl(t, size, 0).wantWhole(t, size, time.Minute)
}

// TestUDPBlackholed is FLT-09: an agent that would rather have QUIC is online over TCP in time.
func TestUDPBlackholed(t *testing.T) {
	const within = 10 * time.Second
	c := link.Conditions{Delay: 20 * ms, NoUDP: true}
	f := newFar(t, link.Options{A: c, B: c, Seed: 1}, "quic,tls")
	start := time.Now()
	if got := f.session(t, within).Transport; got != "tls" {
		t.Errorf("the agent came over %q", got)
	}
	t.Logf("online after %v", time.Since(start).Round(time.Millisecond))
	if c := f.link.Counters(link.A); c.NoUDP == 0 {
		t.Errorf("it has not tried QUIC: %+v", c)
	}
	const size = 1 << 20
	f.curl(t, size, 0).wantWhole(t, size, time.Minute)
}

// TestSmallMTU has a link that both kernels know to be small.
func TestSmallMTU(t *testing.T) {
	overEachTransport(t, func(t *testing.T, transport string) {
		c := link.Conditions{Delay: 5 * ms}
		f := newFar(t, link.Options{A: c, B: c, Seed: 1, MTU: 1280}, transport)
		f.session(t, returned)
		const size = 10 << 20
		f.curl(t, size, 0).wantWhole(t, size, time.Minute)
	})
}

// TestSilentDrop has packets of more than 1,280 bytes vanish, and no word of it. TCP's handshake passes, but not what TLS has to say; QUIC
// begins with small packets and finds out what passes.
func TestSilentDrop(t *testing.T) {
	c := link.Conditions{Delay: 5 * ms, MaxSize: 1280}
	f := newFar(t, link.Options{A: c, B: c, Seed: 1}, "tls,quic")
	if got := f.session(t, returned).Transport; got != "quic" {
		t.Errorf("the agent came over %q: it seems that nothing was dropped", got)
	}
	const size = 10 << 20
	f.curl(t, size, 0).wantWhole(t, size, time.Minute)
	if c := f.link.Counters(link.A); c.TooLarge == 0 {
		t.Errorf("%+v", c)
	}
}

// TestFrozenLink has a link without a sign of life, for less than it takes to give up, and then for longer.
func TestFrozenLink(t *testing.T) {
	overEachTransport(t, func(t *testing.T, transport string) {
		c := link.Conditions{Delay: 5 * ms}
		f := newFar(t, link.Options{A: c, B: c, Seed: 1}, transport)
		before := f.session(t, returned)
		const size, rate = 12 << 20, 4 << 20
		d := f.curl(t, size, rate)
		rig.Eventually(t, 30*time.Second, "the download is under way", func() bool { return d.size() > size/4 })
		f.link.Freeze()
		<-time.After(3 * time.Second)
		f.link.Thaw()
		d.wantWhole(t, size, time.Minute)
		if after := f.session(t, returned); after != before {
			t.Errorf("the session was restarted: it is %+v, before it was %+v", after, before)
		}

		f.link.Freeze()
		rig.Eventually(t, deadWithin, "the agent notices that the link is dead", func() bool { return len(f.agent.Sessions(t)) == 0 })
		f.link.Thaw()
		f.session(t, returned)
		f.curl(t, size, 0).wantWhole(t, size, time.Minute)
	})
}
