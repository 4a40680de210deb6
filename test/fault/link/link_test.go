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

// TestThroughput has TCP fill a link of 20 Mbit/s, either way.
func TestThroughput(t *testing.T) {
	const rate, size = 20e6, 4 << 20
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
				_, err := sender.Write(make([]byte, size))
				sent <- errors.Join(err, sender.CloseWrite())
			}()
			if _, err := io.ReadFull(receiver, make([]byte, size/4)); err != nil { // it has got going
				t.Fatal(err)
			}
			start := time.Now()
			n, err := io.Copy(io.Discard, receiver)
			if err := errors.Join(err, <-sent); err != nil || n != size-size/4 {
				t.Fatalf("%d bytes: %v", n, err)
			}
			// Of 1,500 bytes on the link, 1,448 are TCP's payload.
			got := float64(n) * 8 / time.Since(start).Seconds() * 1500 / 1448
			t.Logf("%.2f Mbit/s of %.0f", got/1e6, rate/1e6)
			if got < 0.9*rate || got > 1.1*rate {
				t.Errorf("%.2f Mbit/s on a link of %.0f", got/1e6, rate/1e6)
			}
		})
	}
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

func TestLossIsCountedAndDeterminedByTheSeed(t *testing.T) {
	const n = 1000
	run := func() []int {
		l := link.New(t, both(link.Conditions{Loss: 0.1}))
		server := listenUDP(t, l)
		send(t, dialUDP(t, l, server), n)
		c := settled(t, l, n)
		if c.Sent != n || c.Lost < n/20 || c.Lost > n/5 || c.Lost+c.Delivered != n {
			t.Errorf("of %d packets with a loss of 0.1: %+v", n, c)
		}
		return receive(t, server, int(c.Delivered))
	}
	first, second := run(), run()
	if len(first) != len(second) {
		t.Fatalf("with one seed %d arrived, and then %d", len(first), len(second))
	}
	for i := range first {
		if first[i] != second[i] {
			t.Fatalf("with one seed message %d was the %dth to arrive, and then %d", first[i], i, second[i])
		}
	}
}

func TestReorderAndDuplicateAreSeen(t *testing.T) {
	const n = 1000
	l := link.New(t, both(link.Conditions{Rate: 10e6, Reorder: 0.05, ReorderBy: 5 * ms, Duplicate: 0.05}))
	server := listenUDP(t, l)
	send(t, dialUDP(t, l, server), n)
	c := settled(t, l, n)
	got := receive(t, server, int(c.Delivered))
	seen, twice, overtaken := make(map[int]bool), 0, 0
	for i, number := range got {
		if seen[number] {
			twice++
		}
		seen[number] = true
		if i > 0 && number < got[i-1] {
			overtaken++
		}
	}
	t.Logf("%d twice, %d overtaken; %+v", twice, overtaken, c)
	if len(seen) != n || twice != int(c.Duplicated) || twice < n/40 {
		t.Errorf("%d different messages of %d, %d twice; the link counts %d", len(seen), n, twice, c.Duplicated)
	}
	if overtaken < n/40 {
		t.Errorf("%d were overtaken; the link has held back %d", overtaken, c.Reordered)
	}
}

func TestQueueOverflows(t *testing.T) {
	const n = 200
	l := link.New(t, both(link.Conditions{Rate: 1e6, Queue: 10 * 128}))
	server := listenUDP(t, l)
	send(t, dialUDP(t, l, server), n) // packets of 32 bytes
	c := settled(t, l, n)
	if c.Overflowed < n/2 || c.Delivered < 40 {
		t.Errorf("of %d packets at once into a queue of 40: %+v", n, c)
	}
}

func TestMaxSize(t *testing.T) {
	l := link.New(t, both(link.Conditions{MaxSize: 1280}))
	server := listenUDP(t, l)
	conn := dialUDP(t, l, server)
	for _, payload := range []int{1253, 1252} { // with the headers of IP and UDP 1,281 and 1,280
		if _, err := conn.Write(make([]byte, payload)); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := server.Read(make([]byte, 2000)); err != nil || n != 1252 {
		t.Errorf("%d bytes arrive: %v", n, err)
	}
	if c := entered(t, l, 2); c.TooLarge != 1 {
		t.Errorf("%+v", c)
	}
}

func TestMTUIsKnownToTheKernels(t *testing.T) {
	l := link.New(t, link.Options{MTU: 1280})
	receiver, sender := connect(t, l, link.B, link.A)
	if _, err := sender.Write(make([]byte, 100_000)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(receiver, make([]byte, 100_000)); err != nil {
		t.Fatal(err)
	}
	if c := l.Counters(link.A); c.SentBytes/c.Sent > 1280 || c.Sent < 80 {
		t.Errorf("100,000 bytes went in packets larger than 1,280 bytes: %+v", c)
	}
}

func TestNoUDP(t *testing.T) {
	l := link.New(t, link.Options{})
	server := listenUDP(t, l)
	echo(t, server)
	conn := dialUDP(t, l, server)
	trip(t, conn)
	l.Change(func(c *link.Conditions) { c.NoUDP = true })
	send(t, conn, 5)
	receiver, sender := connect(t, l, link.B, link.A)
	if _, err := sender.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(receiver, make([]byte, 1)); err != nil {
		t.Errorf("TCP does not pass: %v", err)
	}
	if c := l.Counters(link.A); c.NoUDP != 5 {
		t.Errorf("%+v", c)
	}
	l.Set(link.A, link.Conditions{})
	l.Set(link.B, link.Conditions{})
	trip(t, conn)
}

// TestRebindIsSeenByAnEcho has a UDP flow come from another port, with answers that still arrive, and TCP break off.
func TestRebindIsSeenByAnEcho(t *testing.T) {
	l := link.New(t, link.Options{Seed: 5})
	server := listenUDP(t, l)
	from := echo(t, server)
	conn := dialUDP(t, l, server)
	receiver, sender := connect(t, l, link.B, link.A)
	trip(t, conn)
	before := <-from
	for range 3 {
		l.Rebind(link.A)
		trip(t, conn)
		trip(t, conn)
		after := <-from
		if again := <-from; after == before || again != after || after.Addr() != before.Addr() {
			t.Errorf("the echo sees %v, then %v and %v", before, after, again)
		}
		before = after
	}
	if _, err := sender.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := sender.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a TCP connection that comes from another port goes on: %v", err)
	}
	if err := receiver.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if n, err := receiver.Read(make([]byte, 1)); n != 0 {
		t.Errorf("the other end has got it: %v", err)
	}
}

// TestFreeze looks that nothing arrives, and that nothing is lost.
func TestFreeze(t *testing.T) {
	const n = 50
	l := link.New(t, both(link.Conditions{Delay: ms}))
	server := listenUDP(t, l)
	conn := dialUDP(t, l, server)
	l.Freeze()
	send(t, conn, n)
	if err := server.SetReadDeadline(time.Now().Add(100 * ms)); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Read(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a frozen link lets something pass: %v", err)
	}
	if c := entered(t, l, n); c.Sent != n || c.Delivered != 0 {
		t.Errorf("%+v", c)
	}
	l.Thaw()
	if err := server.SetReadDeadline(within()); err != nil {
		t.Fatal(err)
	}
	for i, got := range receive(t, server, n) {
		if got != i {
			t.Fatalf("message %d arrives as the %dth", got, i)
		}
	}
}

func TestAFrozenLinkHoldsAQueue(t *testing.T) {
	l := link.New(t, both(link.Conditions{Queue: 10 * 32, Frozen: true}))
	server := listenUDP(t, l)
	send(t, dialUDP(t, l, server), 15)
	entered(t, l, 15)
	l.Thaw()
	if c := settled(t, l, 15); c.Delivered != 10 || c.Overflowed != 5 {
		t.Errorf("of fifteen packets a queue of ten holds %+v", c)
	}
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
