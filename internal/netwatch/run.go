package netwatch

import (
	"context"
	"sync"
	"time"
)

// Run watches until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	stirred := make(chan struct{}, 1)
	var teller sync.WaitGroup
	defer teller.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	deaf := make(chan struct{})
	teller.Go(func() {
		err := w.o.Stirs(ctx, func() {
			select {
			case stirred <- struct{}{}:
			default: // a look is due anyway
			}
		})
		if err != nil && ctx.Err() == nil {
			w.log.Debug("the system does not tell of changes of the network; it is looked at every few seconds", "error", err.Error())
			close(deaf)
		}
	})
	w.watch(ctx, stirred, deaf)
}

// watch compares the clocks each second and looks at the network when it has stirred, and from time to time anyway.
func (w *Watcher) watch(ctx context.Context, stirred, deaf <-chan struct{}) {
	second := time.NewTicker(tick)
	defer second.Stop()
	polls := time.NewTicker(pollAnyway)
	defer polls.Stop()
	// While a change is settling, further ones belong to it.
	settled := time.NewTimer(0)
	settled.Stop()
	defer settled.Stop()
	clocks := w.clocks()
	place := w.place()
	for {
		look := false
		select {
		case <-ctx.Done():
			return
		case <-second.C:
			if gap := clocks.gap(); gap > 0 {
				w.tell("the machine has slept, or its clock was set")
				look = true
			}
		case <-deaf:
			deaf = nil
			polls.Reset(poll)
			look = true
		case <-polls.C:
			look = true
		case <-stirred:
			look = true
			// What a busy network tells within this time is looked at together.
			if !sleep(ctx, apart) {
				return
			}
		case <-settled.C:
			w.tell("the network has changed")
		}
		if look && place.moved() {
			settled.Reset(settle)
		}
	}
}

// clocks remember what the two clocks showed.
type clocks struct {
	read        func() (wall, awake time.Duration)
	wall, awake time.Duration
}

func (w *Watcher) clocks() *clocks {
	c := &clocks{read: w.o.Clock}
	c.wall, c.awake = c.read()
	return c
}

// gap returns how much of the time since the last call was slept away: by the machine, then the time of day has gone on without the
// other clock; or by this process alone, which was stopped, then a second has lasted longer. A time of day that was set looks like
// sleep, which does no harm.
func (c *clocks) gap() time.Duration {
	wall, awake := c.read()
	off, late := (wall-c.wall)-(awake-c.awake), awake-c.awake-tick
	c.wall, c.awake = wall, awake
	if gap := max(off, -off, late); gap > slept {
		return gap
	}
	return 0
}

// place remembers where the machine was.
type place struct {
	w     *Watcher
	state string
}

func (w *Watcher) place() *place {
	p := &place{w: w}
	p.moved()
	return p
}

// moved looks again and reports whether anything is different.
func (p *place) moved() bool {
	n, err := p.w.o.Look()
	if err != nil {
		p.w.log.Debug("the network cannot be looked at", "error", err.Error())
		return false
	}
	moved := n.State != p.state
	p.state = n.State
	return moved
}

// clock reads the clocks of this machine: Go's monotonic clock stands still while the machine sleeps.
func clock() func() (wall, awake time.Duration) {
	start := time.Now()
	return func() (wall, awake time.Duration) {
		now := time.Now()
		return now.Round(0).Sub(start.Round(0)), now.Sub(start)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
