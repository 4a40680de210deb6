package transport

import (
	"context"
	"errors"
	"time"

	"github.com/postern-dev/postern"
)

// Rung is one way to reach a relay.
type Rung struct {
	Name   string
	Dialer Dialer
}

// Ladder is a list of ways to reach a relay, best first. Its zero value reaches nothing.
type Ladder []Rung

// Stagger is how long a rung is given before the next one is tried beside it (DESIGN D6).
const Stagger = 300 * time.Millisecond

// Dial tries the rungs in order, each Stagger after the one before it or as soon as that has failed, and returns the first
// connection that stands; later ones are closed. When every rung fails, the error is the one that tells most.
func (l Ladder) Dial(ctx context.Context, addr string) (Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	climb := &climb{ladder: l, addr: addr, results: make(chan result)}
	return climb.run(ctx, cancel)
}

type result struct {
	conn Conn
	err  error
}

type climb struct {
	ladder  Ladder
	addr    string
	results chan result
	running int
}

func (c *climb) run(ctx context.Context, cancel context.CancelFunc) (Conn, error) {
	errs := make([]error, 0, len(c.ladder))
	next := time.NewTimer(0)
	defer next.Stop()
	started := 0
	for started < len(c.ladder) || c.running > 0 {
		select {
		case <-next.C:
			if started < len(c.ladder) {
				c.start(ctx, c.ladder[started])
				started++
				next.Reset(Stagger)
			}
		case r := <-c.results:
			c.running--
			if r.err == nil {
				cancel()
				c.discard()
				return r.conn, nil
			}
			errs = append(errs, r.err)
			next.Reset(0)
		}
	}
	return nil, mostTelling(errs)
}

func (c *climb) start(ctx context.Context, r Rung) {
	c.running++
	go func() {
		conn, err := r.Dialer.Dial(ctx, c.addr)
		if err != nil {
			err = postern.Errorf(postern.KindOf(err), postern.HopOf(err, postern.HopRelay), "%s: %w", r.Name, err)
		}
		c.results <- result{conn, err}
	}()
}

// discard waits for the rungs that lost and closes what they still brought.
func (c *climb) discard() {
	for ; c.running > 0; c.running-- {
		if r := <-c.results; r.err == nil {
			// Nobody has used it.
			_ = r.conn.CloseWithError(postern.OK, "another transport was faster")
		}
	}
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
