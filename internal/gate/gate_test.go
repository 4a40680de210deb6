package gate

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

func addr(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }

// crowd enters strangers and notes who was sent away.
type crowd struct {
	*Gate
	t    *testing.T
	away []string
}

// enter lets one in, who is called name.
func (c *crowd) enter(name, from string) (leave func()) {
	c.t.Helper()
	leave, ok := c.Admit(addr(from), func() { c.away = append(c.away, name) })
	if !ok {
		c.t.Errorf("%s was not let in", name)
	}
	return leave
}

func (c *crowd) want(away string) {
	c.t.Helper()
	if got := strings.Join(c.away, " "); got != away {
		c.t.Errorf("sent away were %q, want %q", got, away)
	}
}

func TestTheOldestOfASourceMakesRoom(t *testing.T) {
	c := &crowd{Gate: &Gate{PerSource: 2}, t: t}
	c.enter("a", "192.0.2.1:1")
	leave := c.enter("b", "192.0.2.1:2")
	c.enter("other", "192.0.2.2:1")
	c.enter("c", "192.0.2.1:3")
	c.want("a")
	leave() // b has authenticated
	c.enter("d", "192.0.2.1:4")
	c.want("a")
	c.enter("e", "192.0.2.1:5")
	c.want("a c")
}

func TestTheOldestOfAllMakesRoom(t *testing.T) {
	c := &crowd{Gate: &Gate{Total: 3}, t: t}
	for i := range 5 {
		c.enter(fmt.Sprint(i), fmt.Sprintf("192.0.2.%d:1", i+1))
	}
	c.want("0 1")
}

func TestLeavingTwiceCountsOnce(t *testing.T) {
	c := &crowd{Gate: &Gate{PerSource: 2}, t: t}
	leave := c.enter("a", "192.0.2.1:1")
	leave()
	leave()
	for _, name := range []string{"b", "c", "d"} {
		c.enter(name, "192.0.2.1:1")
	}
	c.want("b")
	leave()
	c.enter("e", "192.0.2.1:1")
	c.want("b c")
}

func TestWhoCannotBeSentAwayStays(t *testing.T) {
	g := &Gate{PerSource: 2}
	leave, ok := g.Enter(addr("[2001:db8::1]:1"))
	if !ok {
		t.Fatal("the first was not let in")
	}
	if _, ok := g.Enter(addr("[2001:db8::2]:1")); !ok { // of the same /64
		t.Fatal("the second was not let in")
	}
	if _, ok := g.Enter(addr("[2001:db8::3]:1")); ok {
		t.Error("the third was let in")
	}
	if _, ok := g.Enter(addr("[2001:db8:0:1::1]:1")); !ok {
		t.Error("one of another /64 was not let in")
	}
	leave()
	if _, ok := g.Enter(addr("[2001:db8::3]:1")); !ok {
		t.Error("there is no room though one has left")
	}
}

func TestNothingIsKeptOfThoseWhoLeft(t *testing.T) {
	g := &Gate{PerSource: 4, Total: 64}
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			for j := range 100 {
				leave, ok := g.Admit(addr(fmt.Sprintf("192.0.%d.%d:1", i%3, j%50+1)), func() {})
				if !ok {
					t.Error("not let in")
				}
				if j%2 == 0 {
					defer leave()
				} else {
					leave()
				}
			}
		})
	}
	all.Wait()
	if g.total != 0 || len(g.sources) != 0 || g.queue.Len() != 0 {
		t.Errorf("left are %d strangers, %d sources, %d in the queue", g.total, len(g.sources), g.queue.Len())
	}
}
