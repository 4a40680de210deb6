//go:build linux

// Package link is a network path that a test makes for itself: two TUN devices in two network namespaces, and between them a
// loop that delays, loses, repeats and reorders packets, so that TCP and QUIC of real programs meet what they meet outside. The
// kernel's own emulator (netem) is missing from many machines; this one needs /dev/net/tun and root.
//
//	far := link.Conditions{Rate: 50e6, Delay: 20 * time.Millisecond, Loss: 0.01}
//	l := link.New(t, link.Options{A: far, B: far})
//	relay := l.Command(link.B, "postern", "relay", "--agents", l.Addr(link.B).String()+":4242")
//	agent := l.Command(link.A, "postern", "agent", "--relay", l.Addr(link.B).String()+":4242")
//	...
//	l.Rebind(link.A) // from now on A's packets come from other ports
//	l.Freeze()
//
// Each side has a loopback of its own, and sees nothing but that and the link. The namespaces have no names: they are held by
// descriptors of this process, so that they end with it, however it ends. No network of the machine is touched.
package link

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"testing"
)

// Side is one end of a link.
type Side int

// The two ends.
const (
	A Side = iota
	B
)

// String is "A" or "B".
func (s Side) String() string { return string("AB"[s]) }

func (s Side) other() Side { return 1 - s }

// Options say what a link is like. The zero value is a perfect one.
type Options struct {
	A, B       Conditions // of the packets that A sends, and of those that B sends
	Seed       uint64     // packets meet the same fate in the same order with the same seed
	MTU        int        // of both devices, so that the kernels know it; 0: 1500
	Congestion string     // TCP's congestion control towards the other side, whatever programs ask for; empty: the machine's and theirs
}

// Link is a path between two namespaces. Its methods may be called concurrently.
type Link struct {
	ends [2]*end
	dirs [2]*direction // by the side that sends
}

// New makes a link that lasts until the test ends. Without root it fails the test and says what to do.
func New(t testing.TB, o Options) *Link {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		t.Logf("the link: A sent %+v", l.Counters(A))
		t.Logf("the link: B sent %+v", l.Counters(B))
		if err := l.Close(); err != nil {
			t.Errorf("the link: %v", err)
		}
	})
	return l
}

// Open makes a link for programs that are no tests. Close ends it.
func Open(o Options) (*Link, error) {
	if o.MTU == 0 {
		o.MTU = 1500
	}
	l := &Link{}
	for side := range l.ends {
		e, err := openEnd(Side(side), o)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("the link emulator: %w", err), l.closeEnds())
		}
		l.ends[side] = e
	}
	nats := [2]*nat{newNAT(o.Seed), newNAT(o.Seed + 1)}
	for side, c := range []Conditions{o.A, o.B} {
		from, to := Side(side), Side(side).other()
		d, err := startDirection(l.ends[from].tun, l.ends[to].tun, newShaper(o.Seed<<1+uint64(side), c), nats[from], nats[to])
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		l.dirs[side] = d
	}
	return l, nil
}

// Close ends the link and, with the last process in them, its namespaces. It returns what went wrong with the devices while
// the link was in use.
func (l *Link) Close() error {
	var errs []error
	for _, d := range l.dirs {
		if d != nil {
			errs = append(errs, d.stop())
		}
	}
	return errors.Join(append(errs, l.closeEnds())...)
}

func (l *Link) closeEnds() error {
	var errs []error
	for _, e := range l.ends {
		if e != nil {
			errs = append(errs, e.close())
		}
	}
	return errors.Join(errs...)
}

// Addr is the address of one end, which the other reaches over the link.
func (l *Link) Addr(s Side) netip.Addr { return l.ends[s].addr }

// Command is exec.Command for a program that runs in the namespace of one side. It is the process that Start gives, with
// no other between.
func (l *Link) Command(s Side, name string, args ...string) *exec.Cmd {
	program, err := exec.LookPath(name)
	cmd := l.ends[s].space.command(program, args...)
	if err != nil {
		cmd.Err = err
	}
	return cmd
}

// In calls f in the namespace of one side, in this goroutine: sockets that f makes belong to that side for as long as they are
// open. Goroutines that f starts do not run there; dialling an address (no name) starts none.
func (l *Link) In(s Side, f func() error) error { return l.ends[s].space.run(f) }

// Set replaces the conditions of the packets that a side sends from now on. Those under way keep their time.
func (l *Link) Set(s Side, c Conditions) {
	l.dirs[s].change(func(now *Conditions) { *now = c })
}

// Change changes the conditions of both directions.
func (l *Link) Change(f func(c *Conditions)) {
	for _, d := range l.dirs {
		d.change(f)
	}
}

// Freeze stops time on the link: what is under way stays there, what is sent joins it, up to the queue's size.
func (l *Link) Freeze() { l.Change(func(c *Conditions) { c.Frozen = true }) }

// Thaw lets time go on, as if none had passed.
func (l *Link) Thaw() { l.Change(func(c *Conditions) { c.Frozen = false }) }

// Rebind makes a router in front of a side forget its table: the TCP and UDP flows that this side began come from new source
// ports from now on, and what is sent to their old ones is dropped. Flows that the other side began stay as they are.
func (l *Link) Rebind(s Side) { l.dirs[s].from.rebind() }

// Counters are what has happened so far to the packets that a side sent.
func (l *Link) Counters(s Side) Counters { return l.dirs[s].counted() }

// Overruns is how many packets a side's kernel has dropped because the machine was too busy to carry them: faults that nobody
// asked for.
func (l *Link) Overruns(s Side) (n uint64, err error) {
	err = l.In(s, func() error {
		n, err = overruns()
		return err
	})
	return n, err
}
