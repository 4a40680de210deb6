package transport

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/postern-dev/postern"
)

// Rung is one way to reach a relay.
type Rung struct {
	Name   string // as in Info.Transport of its connections
	Dialer Dialer
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
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &climb{ladder: l, addr: addr, order: l.order(first), tries: make([]try, len(l)), results: make(chan result)}
	defer c.discard(cancel)
	return c.run(ctx)
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
	switch k := postern.KindOf(err); {
	case errors.Is(err, context.Canceled):
		return 0
	case k == postern.Timeout || k == postern.Internal:
		return 1
	case k == postern.Unauthenticated:
		return 3
	}
	return 2
}
