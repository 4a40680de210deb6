//go:build linux

package fault

import (
	"io"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-dev/postern/test/fault/link"
	"github.com/postern-dev/postern/test/rig"
)

// What is promised when UDP comes and goes. A better transport is tried first after half a minute.
const (
	fallbackWithin = 20 * time.Second
	climbedWithin  = 45 * time.Second
)

// over waits until the agent has exactly one session, over that transport.
func (f *far) over(t *testing.T, transport string, within time.Duration) rig.AgentRelay {
	t.Helper()
	start := time.Now()
	var all []rig.AgentRelay
	rig.Eventually(t, within, "the agent's session is over "+transport, func() bool {
		all = f.agent.Sessions(t)
		return len(all) == 1 && all[0].Transport == transport
	})
	t.Logf("over %s after %v", transport, time.Since(start).Round(time.Millisecond))
	return all[0]
}

// tunnel opens a stream to an echo on the agent's side.
func (f *far) tunnel(t *testing.T, target string) (conn *rig.Tunnel) {
	t.Helper()
	f.at(t, link.B, func() { conn = f.client.Tunnel(t, target) })
	echoed(t, conn)
	return conn
}

// echoed sends something on a stream to an echo and wants it back.
func echoed(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

// TestUDPComesAndGoes has UDP dropped from the start, let through, dropped in mid-session, and once more from the start.
func TestUDPComesAndGoes(t *testing.T) {
	t.Parallel()
	c := link.Conditions{Delay: 10 * ms, NoUDP: true}
	f := newFar(t, link.Options{A: c, B: c, Seed: 1}, "quic,tls")
	var target string
	f.at(t, link.A, func() { target = rig.Echo(t) })
	drop := func(udp bool) { f.link.Change(func(c *link.Conditions) { c.NoUDP = udp }) }
	first := f.over(t, "tls", noticed)
	conn := f.tunnel(t, target)

	drop(false)
	f.over(t, "quic", climbedWithin)
	echoed(t, conn) // on the session that was left
	f.tunnel(t, target)
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	ended := regexp.MustCompile(`session ended.*` + first.Session)
	rig.Eventually(t, noticed, "the first session ends with its last stream", func() bool { return ended.MatchString(f.relay.Output()) })

	drop(true)
	f.over(t, "tls", fallbackWithin)
	f.tunnel(t, target)

	f.agent.Kill()
	tried := f.link.Counters(link.A).NoUDP
	f.agent = rig.LaunchAgent(t, f.relay, rig.AgentOptions{ID: agentID, Transport: "quic,tls", Data: f.agent.Data, On: f.machine(link.A)})
	f.over(t, "tls", noticed)
	if n := f.link.Counters(link.A).NoUDP - tried; n > 0 {
		t.Errorf("it has tried UDP first, in %d packets, although that had not worked here", n)
	}
}

// TestAPublicPortMovesAlong has an agent of a public port climb to a better transport: the port stays, and so do its streams.
func TestAPublicPortMovesAlong(t *testing.T) {
	t.Parallel()
	c := link.Conditions{Delay: 10 * ms, NoUDP: true}
	f := newFar(t, link.Options{A: c, B: c, Seed: 1}, "tls")
	var target string
	f.at(t, link.A, func() { target = rig.Echo(t) })
	args := append([]string{"expose", "tcp", target, "--transport", "quic,tls", "--log-level", "info"},
		f.relay.Access(t, f.relay.Token(t, "agent", "desk", "--ports", "20000-29999"))...)
	expose := rig.StartCmd(t, "postern expose", f.link.Command(link.A, rig.Binary(t), args...))
	rig.Eventually(t, noticed, "the port is open", func() bool { return strings.Contains(expose.Stdout(), " leads to ") })
	address, _, _ := strings.Cut(expose.Stdout(), " ")
	dial := func() (conn net.Conn) {
		f.at(t, link.B, func() {
			var err error
			if conn, err = net.DialTimeout("tcp", address, 5*time.Second); err != nil {
				t.Fatal(err)
			}
		})
		t.Cleanup(func() { _ = conn.Close() }) // it has served
		echoed(t, conn)
		return conn
	}
	before := dial()
	f.link.Change(func(c *link.Conditions) { c.NoUDP = false })
	rig.Eventually(t, climbedWithin, "the session is over quic", func() bool { return strings.Contains(expose.Output(), "moved to a better transport") })
	dial()
	echoed(t, before)
	if n := strings.Count(expose.Stdout(), "\n"); n != 1 {
		t.Errorf("the address was printed %d times, although it is the same: %s", n, expose.Stdout())
	}
}

// TestTheBestTransportComesBackWithTheRelay: while a relay is away TCP is refused at once and UDP asks on, so that QUIC, second best
// here, finds it first.
func TestTheBestTransportComesBackWithTheRelay(t *testing.T) {
	t.Parallel()
	relay := rig.StartRelay(t, rig.RelayOptions{})
	agent := rig.LaunchAgent(t, relay, rig.AgentOptions{ID: agentID, Transport: "tls,quic"})
	b := &bed{relay: relay, agent: agent, client: relay.Client(t, agentID)}
	f := &far{bed: b}
	before := f.over(t, "tls", noticed)
	for range 3 {
		relay.Kill()
		rig.Within(t, 1200*time.Millisecond, func() bool { return false })
		relay = rig.StartRelay(t, rig.RelayOptions{Data: relay.Data, Agents: relay.Agents, Proxy: relay.Proxy})
		rig.Eventually(t, noticed, "the agent is back", func() bool {
			all := agent.Sessions(t)
			return len(all) == 1 && all[0] != before
		})
		if before = agent.Sessions(t)[0]; before.Transport != "tls" {
			t.Errorf("it is back over %s", before.Transport)
		}
	}
}

// TestMove gives the agent's machine other addresses: a session that goes on is kept, another one is not waited for.
func TestMove(t *testing.T) {
	const within = 4 * time.Second
	overEachTransport(t, func(t *testing.T, transport string) {
		c := link.Conditions{Delay: 10 * ms}
		f := newFar(t, link.Options{A: c, B: c, Seed: 1}, transport)
		before := f.session(t, returned)
		move := func(address string) {
			ip := rig.StartCmd(t, "ip", f.link.Command(link.A, rig.Program(t, "ip"), "address", "add", address, "dev", "link0"))
			if code := ip.Exit(noticed); code != 0 {
				t.Fatalf("ip ended with %d: %s", code, ip.Output())
			}
		}
		wrote := func(what string, times int) func() bool {
			return func() bool { return strings.Count(f.agent.Output(), what) == times }
		}
		move("198.51.100.1/32")
		rig.Eventually(t, within, "the agent notices that it has moved", wrote("the network has changed", 1))
		if rig.Within(t, within, wrote("no answer from the relay", 1)) || f.session(t, noticed) != before {
			t.Error("a session that was well is gone")
		}

		f.link.Freeze()
		move("198.51.100.2/32")
		rig.Eventually(t, within, "the agent asks in vain whether the relay is there", wrote("no answer from the relay", 1))
		f.link.Thaw()
		start := time.Now()
		rig.Eventually(t, within, "the agent is back", func() bool {
			all := f.agent.Sessions(t)
			return len(all) == 1 && all[0] != before
		})
		t.Logf("back %v after the link was", time.Since(start).Round(time.Millisecond))
	})
}

// TestFrozenAgentRedialsAtOnce is a laptop that wakes up: it does not wait for silence, nor for its next try.
func TestFrozenAgentRedialsAtOnce(t *testing.T) {
	overEachTransport(t, func(t *testing.T, transport string) {
		const atOnce = 2 * time.Second
		target := rig.Echo(t)
		b := newBed(t, transport)
		before := b.agent.Sessions(t)[0]
		b.agent.Signal(syscall.SIGSTOP)
		b.gone(t, target, deadWithin)
		b.agent.Signal(syscall.SIGCONT)
		b.back(t, target, atOnce)
		rig.Eventually(t, atOnce, "there is one session, a new one", func() bool {
			now := b.agent.Sessions(t)
			return len(now) == 1 && now[0].Session != before.Session
		})
	})
}

// TestAShortFreezeCostsNothing: a session that has survived is not given up.
func TestAShortFreezeCostsNothing(t *testing.T) {
	overEachTransport(t, func(t *testing.T, transport string) {
		b := newBed(t, transport)
		conn := held(t, b, rig.Echo(t))
		before := b.agent.Sessions(t)[0]
		b.agent.Signal(syscall.SIGSTOP)
		rig.Within(t, 4500*time.Millisecond, func() bool { return false }) // it is long enough to be taken for sleep
		b.agent.Signal(syscall.SIGCONT)
		rig.Eventually(t, 3*time.Second, "the agent has noticed", func() bool {
			return regexp.MustCompile("has slept").MatchString(b.agent.Output())
		})
		echoed(t, conn)
		if now := b.agent.Sessions(t); len(now) != 1 || now[0] != before {
			t.Errorf("the sessions are %v, before the sleep it was %v", now, before)
		}
	})
}

// TestRelaysAtOnce has one agent at two of three relays, one of which then ends.
func TestRelaysAtOnce(t *testing.T) {
	first := rig.StartRelay(t, rig.RelayOptions{Args: []string{"--auth", "none"}})
	relays := map[string]*rig.Relay{first.Agents: first}
	args := []string{"--relays-active", "2"}
	for range 2 {
		// The same certificate, so that one --ca is good for all.
		r := rig.StartRelay(t, rig.RelayOptions{Args: []string{
			"--auth", "none", "--tls-cert", filepath.Join(first.Data, "relay.pem"), "--tls-key", filepath.Join(first.Data, "relay.key"),
		}})
		relays[r.Agents] = r
		args = append(args, "--relay", r.Agents)
	}
	agent := rig.LaunchAgent(t, first, rig.AgentOptions{ID: agentID, NoToken: true, Args: args})
	target := rig.Echo(t)
	// two waits for sessions with two relays but for one, through both of which streams go.
	two := func(but string, within time.Duration) (active []string) {
		rig.Eventually(t, within, "sessions with two relays", func() bool {
			active = nil
			for _, s := range agent.Sessions(t) {
				active = append(active, s.Address)
			}
			return len(active) == 2 && active[0] != active[1] && !slices.Contains(active, but)
		})
		for _, addr := range active {
			client := &rig.Client{Proxy: relays[addr].Proxy, User: agentID, Secret: "anything"}
			echoed(t, client.Tunnel(t, target))
		}
		return active
	}
	lost := two("", noticed)[0]
	relays[lost].Kill()
	two(lost, returned)
}
