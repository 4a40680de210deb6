package transport

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/postern-dev/postern"
)

// Rung is one way to reach a relay.
type Rung struct {
	Name   string // as in Info.Transport of its connections
	Dialer Dialer
	// At returns where Dialer goes for the relay at an address, and whether somebody has told that; empty: nowhere. nil: to that address.
	At func(addr string) (at string, told bool)
}

// Ladder is a list of ways to reach a relay, best first. Its zero value reaches nothing.
type Ladder []Rung

// The pace of a dial (DESIGN D6).
const (
	// Stagger is how long a rung is given before the next one is tried beside it.
	Stagger = 300 * time.Millisecond
	// Settle is how long the better rungs that are on their way are waited for once a worse one stands.
	Settle = Stagger
	// Retry is how often a rung that was turned away at once is tried again while others are still on their way: a relay
	// that comes back must not be found by the slowest of them.
	Retry = time.Second
)

// Dial tries the rungs in order, each Stagger after the one before it or as soon as that has failed, and returns the best
// connection: when a worse rung stands first, better ones that are on their way get another Settle. The
// others are closed. When every rung fails, the error is the one that tells most.
func (l Ladder) Dial(ctx context.Context, addr string) (Conn, error) {
	return l.DialFrom(ctx, addr, "")
}

// DialFrom is Dial that begins with the rung of that name, if there is one: what has worked here before. Only if it does not stand
// within Stagger are the others tried, best first.
func (l Ladder) DialFrom(ctx context.Context, addr, first string) (Conn, error) {
	way := l.toward(addr)
	if len(way) == 0 && len(l) > 0 {
		return nil, postern.Errorf(postern.Unreachable, postern.HopRelay, "%s", l.useless(addr))
	}
	l = way
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &climb{ladder: l, addr: addr, order: l.order(first), tries: make([]try, len(l)), results: make(chan result)}
	defer c.discard(cancel)
	return c.run(ctx)
}

// toward returns the rungs that lead to the relay at addr, as rungs that dial where they lead.
func (l Ladder) toward(addr string) Ladder {
	way := make(Ladder, 0, len(l))
	for _, r := range l {
		if r.At == nil {
			way = append(way, r)
		} else if at, told := r.At(addr); at != "" {
			way = append(way, Rung{Name: r.Name, Dialer: &led{Dialer: r.Dialer, at: at, told: told}})
		}
	}
	return way
}

// led is a dialer for one place.
type led struct {
	Dialer
	at   string
	told bool
}

// Dial dials the place.
func (d *led) Dial(ctx context.Context, _ string) (Conn, error) {
	conn, err := d.Dialer.Dial(ctx, d.at)
	if err != nil && !d.told {
		err = &guessed{err}
	}
	return conn, err
}

// guessed is an error from a place where nobody has said that a relay is.
type guessed struct{ error }

func (g *guessed) Unwrap() error { return g.error }

// useless says why no rung leads to addr.
func (l Ladder) useless(addr string) string {
	var names []string
	for _, r := range l {
		names = append(names, r.Name)
	}
	listener := "the agents listener"
	if isURL(addr) {
		listener = "the web listener"
	}
	return addr + " is the address of " + listener + ", to which none of these transports leads: " + strings.Join(names, ", ")
}

// Above returns the rungs that are better than the one of that name; none if there is no such rung.
func (l Ladder) Above(name string) Ladder { return l[:max(l.index(name), 0)] }

func (l Ladder) index(name string) int {
	return slices.IndexFunc(l, func(r Rung) bool { return r.Name == name })
}

// order lists the rungs by number: first, then the others.
func (l Ladder) order(first string) []int {
	order := make([]int, 0, len(l))
	begin := l.index(first)
	if begin >= 0 {
		order = append(order, begin)
	}
	for i := range l {
		if i != begin {
			order = append(order, i)
		}
	}
	return order
}

// mostTelling prefers an answer of the relay to silence: a wrong certificate is worth more than a timeout.
func mostTelling(errs []error) error {
	if len(errs) == 0 {
		return postern.Errorf(postern.Unreachable, postern.HopRelay, "there is no transport to try")
	}
	best := errs[0]
	for _, err := range errs[1:] {
		if telling(err) > telling(best) {
			best = err
		}
	}
	return best
}

func telling(err error) int {
	_, guess := errors.AsType[*guessed](err)
	switch k := postern.KindOf(err); {
	case errors.Is(err, context.Canceled):
		return 0
	case k == postern.Unauthenticated:
		return 4
	case guess:
		return 1
	case k == postern.Timeout || k == postern.Internal:
		return 2
	}
	return 3
}
