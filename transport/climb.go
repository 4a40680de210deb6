package transport

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/postern-dev/postern"
)

// climb is one dial over a ladder. One goroutine runs it, and one each rung that is on its way.
type climb struct {
	ladder  Ladder
	addr    string
	order   []int // rungs that have not been tried yet, in turn
	tries   []try // by rung
	results chan result
	running int

	conn Conn // the best so far; nil: none stands
	rung int  // whose it is
}

// try is what became of a rung.
type try struct {
	running       bool
	began, failed time.Time
	err           error // of the last failure
}

type result struct {
	rung int
	conn Conn
	err  error
}

// run returns the connection that wins. It must be followed by discard.
func (c *climb) run(ctx context.Context) (Conn, error) {
	next, retry, settle := time.NewTimer(Stagger), time.NewTimer(Retry), time.NewTimer(Settle)
	for _, t := range []*time.Timer{next, retry, settle} {
		defer t.Stop()
	}
	retry.Stop()
	settle.Stop()
	c.startNext(ctx)
	for c.undecided() {
		select {
		case <-next.C:
			c.startNext(ctx)
			next.Reset(Stagger)
		case <-retry.C:
			if c.conn == nil && ctx.Err() == nil {
				c.again(ctx, len(c.ladder), Retry/2)
			}
		case <-settle.C:
			return c.conn, nil
		case r := <-c.results:
			stood := c.conn != nil
			c.take(r)
			switch {
			case ctx.Err() != nil:
				c.order = nil
			case r.err != nil:
				c.startNext(ctx)
				next.Reset(Stagger)
				retry.Reset(Retry/2 + rand.N(Retry/2))
			case !stood:
				// What is better may have been turned away before the relay was there.
				c.again(ctx, c.rung, justNow)
				settle.Reset(Settle)
			}
		}
	}
	if c.conn == nil {
		return nil, c.why()
	}
	return c.conn, nil
}

// startNext starts the next rung in turn, unless one stands already.
func (c *climb) startNext(ctx context.Context) {
	if len(c.order) > 0 && c.conn == nil {
		c.start(ctx, c.order[0])
		c.order = c.order[1:]
	}
}

// undecided reports whether something may come that is better than what stands.
func (c *climb) undecided() bool {
	if c.conn == nil {
		return len(c.order) > 0 || c.running > 0
	}
	for i := range c.rung {
		if c.tries[i].running {
			return true
		}
	}
	return false
}

func (c *climb) start(ctx context.Context, rung int) {
	c.running++
	c.tries[rung] = try{running: true, began: time.Now(), err: c.tries[rung].err}
	r := c.ladder[rung]
	go func() {
		conn, err := r.Dialer.Dial(ctx, c.addr)
		if err != nil {
			err = postern.Errorf(postern.KindOf(err), postern.HopOf(err, postern.HopRelay), "%s: %w", r.Name, err)
		}
		c.results <- result{rung, conn, err}
	}()
}

// justNow is how long ago a rung must have been turned away for another try to make sense.
const justNow = 50 * time.Millisecond

// again starts those of the first rungs that were turned away at once, at least pause ago.
func (c *climb) again(ctx context.Context, rungs int, pause time.Duration) {
	for i, t := range c.tries[:rungs] {
		if !t.running && !t.failed.IsZero() && t.failed.Sub(t.began) < Retry && time.Since(t.failed) >= pause && mayChange(t.err) {
			c.start(ctx, i)
		}
	}
}

// mayChange reports whether the same dial may end otherwise a moment later.
func mayChange(err error) bool {
	switch postern.KindOf(err) {
	case postern.Unauthenticated, postern.BadAddress, postern.BadCommand:
		return false
	}
	return true
}

// take notes how a rung's dial ended, and keeps its connection if it is the best.
func (c *climb) take(r result) {
	c.running--
	t := &c.tries[r.rung]
	t.running, t.err = false, r.err
	switch {
	case r.err != nil:
		t.failed = time.Now()
	case c.conn == nil:
		c.conn, c.rung = r.conn, r.rung
	case r.rung < c.rung:
		refuse(c.conn)
		c.conn, c.rung = r.conn, r.rung
	default:
		refuse(r.conn)
	}
}

// refuse closes a connection that has lost. Nobody has used it, so nobody misses what could not be said.
func refuse(conn Conn) { _ = conn.CloseWithError(postern.OK, "another way was better") }

// discard gives up the rungs that are still on their way and closes what they bring all the same.
func (c *climb) discard(cancel context.CancelFunc) {
	cancel()
	for ; c.running > 0; c.running-- {
		if r := <-c.results; r.err == nil {
			refuse(r.conn)
		}
	}
}

// why is the error of a climb in which every rung has failed.
func (c *climb) why() error {
	var errs []error
	for _, t := range c.tries {
		if t.err != nil {
			errs = append(errs, t.err)
		}
	}
	return mostTelling(errs)
}
