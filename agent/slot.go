package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/postern-dev/postern"
)

// slot keeps one session up. One goroutine runs it.
type slot struct {
	*running
	first  bool // its failures are the agent's
	outage outage

	addr      string      // of the last session
	transport string      // of the last session
	changes   []time.Time // when it was another one than that of the session before, within the last hour
	drains    string      // the address whose relay asked us to move
}

// run dials, serves and dials again until ctx ends.
func (s *slot) run(ctx context.Context) error {
	for {
		l, err := s.connect(ctx)
		if err == nil {
			began := time.Now()
			err = s.keep(ctx, l)
			s.outage.served(time.Since(began), err)
		}
		if ctx.Err() != nil {
			return nil
		}
		if s.first && s.outage.final(err) {
			return err
		}
		d, changed := s.outage.wait(err), s.net.Changed()
		if patient(err) {
			changed = nil
		}
		if !pause(ctx, d, changed) {
			return nil
		}
	}
}

// pause waits for d, or until something has changed that makes another try worth while. It reports false if ctx ended.
func pause(ctx context.Context, d time.Duration, changed <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-changed:
	}
	return true
}

// took notes which session the slot has got.
func (s *slot) took(l *link) {
	now := time.Now()
	s.changes = slices.DeleteFunc(s.changes, func(at time.Time) bool { return now.Sub(at) >= time.Hour })
	if s.transport != "" && s.transport != l.transport() {
		s.changes = append(s.changes, now)
	}
	s.addr, s.transport, s.drains = l.addr, l.transport(), ""
	s.memory.worked(s.net.Network(), l.addr, l.transport())
}

// keep serves l, and what takes its place on a better transport, until there is no session any more. It returns why.
func (s *slot) keep(ctx context.Context, l *link) error {
	for {
		s.took(l)
		next, err := s.stay(ctx, l)
		if next == nil {
			s.hold(s, nil)
			if errors.Is(err, errMoved) {
				s.drains = l.addr
			}
			return err
		}
		s.log.Info("moved to a better transport", "relay", l.addr, "from", l.transport(), "to", next.transport())
		close(l.relieved)
		l = next
	}
}

// stay stays with l until something better has taken its place, which it returns, or l is lost.
func (s *slot) stay(ctx context.Context, l *link) (next *link, lost error) {
	var tasks sync.WaitGroup
	working, stop := context.WithCancel(ctx)
	better, alive := make(chan *link, 1), make(chan error, 1)
	defer func() {
		stop()
		tasks.Wait()
		// What was found in the last moment is as good.
		if lost != nil && len(better) > 0 {
			next = <-better
		}
	}()

	climbs := newClimbs(len(s.ladder.Above(l.transport())) > 0)
	defer climbs.timer.Stop()
	changed, checking := s.net.Changed(), false
	for {
		select {
		case err := <-l.gone:
			if (checking || isClosed(changed)) && err != nil && !errors.Is(err, errReplaced) {
				err = fmt.Errorf("%w: %w", errSilent, err) // it was faster than the check
			}
			return nil, err
		case <-climbs.timer.C:
			climbs.busy = true
			tasks.Go(func() { better <- s.climb(working, ctx, l) })
		case next := <-better:
			if next != nil {
				return next, nil
			}
			climbs.failed()
		case <-changed:
			changed = s.net.Changed()
			climbs.anew()
			if !checking {
				checking = true
				tasks.Go(func() { alive <- s.check(working, l) })
			}
		case err := <-alive:
			checking = false
			if err != nil {
				return nil, err
			}
		}
	}
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// patience is how long the relay may take to answer after a change; it is promised that we redial within two seconds.
const patience = 1500 * time.Millisecond

// errSilent is why a session is given up that did not survive a change of the network.
var errSilent = errors.New("the relay does not answer after the machine has slept or moved")

// check asks the relay for a sign of life, and gives the session up without one.
func (s *slot) check(ctx context.Context, l *link) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := l.Ping(ctx)
	if err == nil || context.Cause(ctx) == context.Canceled {
		return nil
	}
	s.log.Info("no answer from the relay", "relay", l.addr, "session", l.ID(), "error", err.Error())
	// Nobody waits for the end, which takes a moment when nobody answers.
	s.links.Go(func() { l.Close(postern.Aborted, errSilent.Error()) })
	return errSilent
}

// climb tries the transports that are better than l's and returns a session over one of them, which the relay has taken in place of
// l; nil if there is none. life is that of the session.
func (s *slot) climb(ctx, life context.Context, l *link) *link {
	if len(s.changes) >= maxChanges && time.Since(s.changes[len(s.changes)-maxChanges]) < time.Hour {
		return nil
	}
	ctx, stop := s.net.Until(ctx)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := s.ladder.Above(l.transport()).Dial(ctx, l.addr)
	if err != nil {
		s.log.Debug("no better transport yet", "relay", l.addr, "error", err.Error())
		return nil
	}
	next, err := s.greet(ctx, life, conn, l.addr, l)
	if err != nil {
		s.log.Info("a better transport was not taken", "relay", l.addr, "transport", conn.Info().Transport, "error", err.Error())
		return nil
	}
	return next
}

// When better transports are tried: soon at first, then seldom, but so that one that has become possible is used within ten minutes.
const (
	firstClimb = 30 * time.Second
	lastClimb  = 5 * time.Minute
	// maxChanges is how many changes of the transport there may be within an hour. Those that a loss forces upon us count, and happen
	// all the same.
	maxChanges = 3
)

// climbs say when to try the next time.
type climbs struct {
	timer *time.Timer
	pause time.Duration // zero: never, there is nothing better
	busy  bool          // one is under way
}

func newClimbs(any bool) *climbs {
	c := &climbs{timer: time.NewTimer(time.Hour)}
	c.timer.Stop()
	if any {
		c.pause = firstClimb
		c.timer.Reset(jitter(c.pause))
	}
	return c
}

// failed has the next one come later.
func (c *climbs) failed() {
	c.busy = false
	c.pause = min(2*c.pause, lastClimb)
	c.timer.Reset(jitter(c.pause))
}

// anew has the next one come soon: in another network it may end otherwise.
func (c *climbs) anew() {
	switch {
	case c.pause == 0:
	case c.busy:
		c.pause = firstClimb / 2 // what failed makes of it
	default:
		c.pause = firstClimb
		c.timer.Reset(jitter(c.pause))
	}
}

// jitter is d, more or less by a fifth.
func jitter(d time.Duration) time.Duration { return d - d/5 + rand.N(2*d/5) }
