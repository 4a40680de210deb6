//go:build linux

package link_test

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/postern-dev/postern/test/fault/link"
)

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
