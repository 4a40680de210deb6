//go:build linux

package link_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/postern-dev/postern/test/fault/link"
)

const ms = time.Millisecond

// both are options with the same conditions each way.
func both(c link.Conditions) link.Options { return link.Options{A: c, B: c, Seed: 1} }

// within is a deadline for what takes milliseconds on a machine that has time.
func within() time.Time { return time.Now().Add(20 * time.Second) }

// listenUDP is a UDP socket of side B.
func listenUDP(t *testing.T, l *link.Link) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	in(t, l, link.B, func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.Addr(link.B), 0)))
		return err
	})
	return ready(t, conn)
}

// dialUDP is a UDP socket of side A that talks to one of B.
func dialUDP(t *testing.T, l *link.Link, to *net.UDPConn) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	in(t, l, link.A, func() (err error) {
		conn, err = net.DialUDP("udp4", nil, to.LocalAddr().(*net.UDPAddr))
		return err
	})
	return ready(t, conn)
}

func ready(t *testing.T, conn *net.UDPConn) *net.UDPConn {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() }) // the test is over
	if err := conn.SetDeadline(within()); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadBuffer(4 << 20); err != nil {
		t.Fatal(err)
	}
	return conn
}

func in(t *testing.T, l *link.Link, s link.Side, f func() error) {
	t.Helper()
	if err := l.In(s, f); err != nil {
		t.Fatal(err)
	}
}

// echo sends back what arrives, until the test ends. It tells from where.
func echo(t *testing.T, conn *net.UDPConn) <-chan netip.AddrPort {
	t.Helper()
	from := make(chan netip.AddrPort, 10_000)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 2000)
		for {
			n, peer, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			from <- peer
			// An answer that is lost shows where it is waited for.
			_, _ = conn.WriteToUDPAddrPort(buf[:n], peer)
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-ended
	})
	return from
}

// trip is one message there and back.
func trip(t *testing.T, conn *net.UDPConn) time.Duration {
	t.Helper()
	start := time.Now()
	if _, err := conn.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}

func send(t *testing.T, conn *net.UDPConn, n int) {
	t.Helper()
	for i := range n {
		if _, err := conn.Write(binary.BigEndian.AppendUint32(nil, uint32(i))); err != nil {
			t.Fatal(err)
		}
	}
}

// receive reads n numbered messages.
func receive(t *testing.T, conn *net.UDPConn, n int) []int {
	t.Helper()
	buf, got := make([]byte, 2000), []int(nil)
	for len(got) < n {
		size, err := conn.Read(buf)
		if err != nil || size < 4 {
			t.Fatalf("after %d of %d messages: %v", len(got), n, err)
		}
		got = append(got, int(binary.BigEndian.Uint32(buf)))
	}
	return got
}

// until waits for counters of what A sends.
func until(t *testing.T, l *link.Link, done func(link.Counters) bool) link.Counters {
	t.Helper()
	tick := time.NewTicker(ms)
	defer tick.Stop()
	for deadline := within(); ; <-tick.C {
		c := l.Counters(link.A)
		if done(c) {
			return c
		}
		if time.Now().After(deadline) {
			t.Fatalf("packets are missing: %+v", c)
		}
	}
}

// entered waits until A has sent so many packets.
func entered(t *testing.T, l *link.Link, n uint64) link.Counters {
	t.Helper()
	return until(t, l, func(c link.Counters) bool { return c.Sent >= n })
}

// settled waits until they have all arrived, or met another end.
func settled(t *testing.T, l *link.Link, n uint64) link.Counters {
	t.Helper()
	return until(t, l, func(c link.Counters) bool {
		return c.Sent >= n && c.Delivered+c.Lost+c.Overflowed+c.TooLarge+c.NoUDP+c.Unmapped == c.Sent+c.Duplicated
	})
}

func TestRoundTrip(t *testing.T) {
	l := link.New(t, both(link.Conditions{Delay: 20 * ms}))
	server := listenUDP(t, l)
	echo(t, server)
	conn := dialUDP(t, l, server)
	best := time.Hour
	for range 10 {
		took := trip(t, conn)
		if took < 40*ms {
			t.Errorf("a round trip took %v, the delay is 20 ms each way", took)
		}
		best = min(best, took)
	}
	t.Logf("the best of ten: %v", best)
	if best > 45*ms {
		t.Errorf("the best of ten took %v", best)
	}
}

func TestCommandRunsOnItsSide(t *testing.T) {
	l := link.New(t, link.Options{})
	for _, side := range []link.Side{link.A, link.B} {
		out, err := l.Command(side, "ip", "-4", "-o", "addr").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		other := l.Addr(link.A)
		if side == link.A {
			other = l.Addr(link.B)
		}
		if text := string(out); !strings.Contains(text, l.Addr(side).String()+"/24") || strings.Contains(text, other.String()+"/") ||
			!strings.Contains(text, "127.0.0.1/8") {
			t.Errorf("side %v has\n%s", side, text)
		}
	}
	if err := l.Command(link.A, "no-such-program").Run(); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("a program that is not there: %v", err)
	}
}

// TestThroughput has TCP fill a link of 20 Mbit/s, either way. On a busy machine it may take several pieces until one goes at full speed.
func TestThroughput(t *testing.T) {
	const rate, piece = 20e6, 1 << 20
	l := link.New(t, both(link.Conditions{Rate: rate, Delay: 5 * ms}))
	for name, listener := range map[string]link.Side{"to B": link.B, "to A": link.A} {
		dialler := link.A
		if listener == link.A {
			dialler = link.B
		}
		t.Run(name, func(t *testing.T) {
			receiver, sender := connect(t, l, listener, dialler)
			sent := make(chan error, 1)
			go func() {
				_, err := io.Copy(sender, endless{})
				sent <- err
			}()
			defer func() {
				_ = sender.Close() // ends the sending
				<-sent
			}()
			began, best, total := time.Now(), 0.0, 0
			for best < 0.9*rate {
				start := time.Now()
				if _, err := io.ReadFull(receiver, make([]byte, piece)); err != nil {
					t.Fatalf("the best piece went at %.2f Mbit/s: %v", best/1e6, err)
				}
				total += piece
				best = max(best, onLink(piece, time.Since(start)))
			}
			mean := onLink(total, time.Since(began))
			t.Logf("%.2f Mbit/s at best, %.2f in all", best/1e6, mean/1e6)
			if mean > 1.1*rate {
				t.Errorf("%.2f Mbit/s on a link of %.0f", mean/1e6, rate/1e6)
			}
		})
	}
}

// endless is a reader of nothing in particular.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// onLink is how many bits a second TCP puts on a link for n bytes: of 1,500 bytes 1,448 are its payload.
func onLink(n int, took time.Duration) float64 {
	return float64(n) * 8 / took.Seconds() * 1500 / 1448
}

// connect is a TCP connection over the link.
func connect(t *testing.T, l *link.Link, listener, dialler link.Side) (accepted, dialled *net.TCPConn) {
	t.Helper()
	var ln *net.TCPListener
	in(t, l, listener, func() (err error) {
		ln, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(l.Addr(listener), 0)))
		return err
	})
	defer func() { _ = ln.Close() }() // it has done its work
	in(t, l, dialler, func() (err error) {
		dialled, err = net.DialTCP("tcp4", nil, ln.Addr().(*net.TCPAddr))
		return err
	})
	accepted, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*net.TCPConn{accepted, dialled} {
		t.Cleanup(func() { _ = c.Close() }) // the test is over
		if err := c.SetDeadline(within()); err != nil {
			t.Fatal(err)
		}
	}
	return accepted, dialled
}

func TestCongestionControlIsThatOfTheRoute(t *testing.T) {
	l := link.New(t, link.Options{Congestion: "reno"})
	receiver, sender := connect(t, l, link.B, link.A)
	for _, c := range []*net.TCPConn{receiver, sender} {
		if got := congestion(t, c); got != "reno" {
			t.Errorf("it is %q", got)
		}
	}
	if l, err := link.Open(link.Options{Congestion: "no-such"}); err == nil || !strings.Contains(err.Error(), "modprobe") {
		t.Errorf("one that does not exist: %v, %v", l, err)
	}
}

// TestNothingIsLeft looks at what the machine sees: no device, no namespace with a name.
func TestNothingIsLeft(t *testing.T) {
	look := func() string {
		devices, err := os.ReadDir("/sys/class/net")
		if err != nil {
			t.Fatal(err)
		}
		names, err := os.ReadDir("/run/netns")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		text := ""
		for _, d := range append(devices, names...) {
			text += d.Name() + " "
		}
		return text
	}
	before, descriptors := look(), open(t)
	l, err := link.Open(link.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if during := look(); during != before {
		t.Errorf("the machine has %s, before it had %s", during, before)
	}
	if n, err := l.Overruns(link.A); n != 0 || err != nil {
		t.Errorf("overruns: %d, %v", n, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if after := look(); after != before {
		t.Errorf("the machine has %s, before it had %s", after, before)
	}
	if after := open(t); after != descriptors {
		t.Errorf("%d descriptors are open, before it were %d", after, descriptors)
	}
}

func open(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}
