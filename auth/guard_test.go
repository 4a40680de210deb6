package auth_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern/auth"
)

// fail counts n failures of addr and reports whether addr is turned away then.
func fail(g *auth.Guard, addr net.Addr, n int) bool {
	for range n {
		g.Failed(addr)
	}
	_, blocked := g.Blocked(addr)
	return blocked
}

func TestTheTenthFailureWithinAMinuteBeginsSixtySeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, addr := &auth.Guard{}, source("192.0.2.1")
		if fail(g, addr, 9) {
			t.Fatal("nine failures are enough")
		}
		if !fail(g, addr, 1) {
			t.Fatal("ten failures are not enough")
		}
		time.Sleep(59 * time.Second)
		g.Failed(addr)
		if left, blocked := g.Blocked(addr); !blocked || left != time.Second {
			t.Errorf("after 59 s and one more failure: %v, %v left; want one second", blocked, left)
		}
		time.Sleep(time.Second)
		if _, blocked := g.Blocked(addr); blocked {
			t.Error("still turned away after 60 s: a failure prolonged the penalty")
		}
		if fail(g, addr, 9) {
			t.Error("failures from before the penalty count again")
		}
	})
}

func TestSlowFailuresAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, addr := &auth.Guard{}, source("192.0.2.1")
		for range 100 {
			if fail(g, addr, 1) {
				t.Fatal("turned away for nine failures a minute")
			}
			time.Sleep(7 * time.Second)
		}
		// The window slides: five at the end of one minute and five at the beginning of the next are ten within one.
		time.Sleep(2 * time.Minute)
		fail(g, addr, 5)
		time.Sleep(50 * time.Second)
		if !fail(g, addr, 5) {
			t.Error("ten failures within 50 s are not enough")
		}
	})
}

func TestSourcesAreGroupedAndKeptApart(t *testing.T) {
	for _, c := range []struct {
		guesser, other string
		same           bool
	}{
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8::1", "2001:db8::ffff:1", true},
		{"2001:db8:0:1::1", "2001:db8:0:2::1", false},
	} {
		g := &auth.Guard{}
		fail(g, source(c.guesser), 10)
		if _, blocked := g.Blocked(source(c.other)); blocked != c.same {
			t.Errorf("%s guessed: %s is turned away: %v, want %v", c.guesser, c.other, blocked, c.same)
		}
	}
}

func TestTheTableIsBoundedAndForgetsTheQuietest(t *testing.T) {
	g := &auth.Guard{Now: func() time.Time { return time.Unix(1e9, 0) }}
	addr := func(i int) net.Addr {
		ip := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i), 15: 1})
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 1))
	}
	first, busy := source("192.0.2.1"), source("192.0.2.2")
	fail(g, first, 10)
	fail(g, busy, 10)
	for i := range 100_000 {
		g.Failed(addr(i))
		if i%1000 == 0 {
			g.Blocked(busy) // it keeps trying
		}
	}
	if n := g.Len(); n != 65536 {
		t.Errorf("the table has %d sources, want 65536", n)
	}
	if _, blocked := g.Blocked(busy); !blocked {
		t.Error("a source that kept trying was forgotten")
	}
	if _, blocked := g.Blocked(first); blocked {
		t.Error("the source that was quiet for longest was kept")
	}
}

func TestANilGuardAndAddressesWithoutIP(t *testing.T) {
	var none *auth.Guard
	if none.Failed(source("192.0.2.1")) {
		t.Error("a nil guard began a penalty")
	}
	g := &auth.Guard{}
	for _, addr := range []net.Addr{nil, &net.UnixAddr{Name: "/run/x.sock"}} {
		if !fail(g, addr, 10) {
			t.Error(fmt.Sprint("guessing is free for ", addr))
		}
	}
}
