// Package netwatch notices that this machine may have lost its connections: it has slept, or it stands in another network.
//
//	w := netwatch.New(netwatch.Options{Log: log})
//	go w.Run(ctx)
//	for {
//		changed := w.Changed()
//		id := w.Network() // the same whenever the machine is in this network
//		<-changed         // look after your connections
//	}
package netwatch

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// Options replace what a Watcher looks at. The zero value is this machine.
type Options struct {
	// Clock returns the time of day, and a clock that stands still while the machine sleeps.
	Clock func() (wall, awake time.Duration)
	// Look says in which network the machine is.
	Look func() (Network, error)
	// Stirs calls stirred whenever an address or a route may have changed, until ctx ends. It returns an error at once where the system
	// does not tell; then Look is asked every few seconds.
	Stirs func(ctx context.Context, stirred func()) error
	// Log gets what was noticed, at debug level; nil is silent.
	Log *slog.Logger
}

// Network is a machine's place in the network.
type Network struct {
	// ID is the same whenever the machine is in this network, whatever address it has got there. Empty: it is in none.
	ID string
	// State changes with every address and default route.
	State string
}

// How often things are looked at.
const (
	// tick is how often the clocks are compared.
	tick = time.Second
	// slept is by how much a second may last too long. A machine that is merely busy is not taken for one that has slept.
	slept = 2 * time.Second
	// poll is how often the network is looked at where the system does not tell of changes; else it is pollAnyway.
	poll       = 3 * time.Second
	pollAnyway = 30 * time.Second
	// settle is how long a change may take: an interface comes up in several steps.
	settle = 500 * time.Millisecond
	// apart is the least time between two looks at a network that does not come to rest.
	apart = 200 * time.Millisecond
)

// ErrChanged is the cause of the end of a context of Until.
var ErrChanged = errors.New("the machine has woken up, or its network has changed")

// Watcher tells of changes. All methods may be called concurrently.
type Watcher struct {
	o   Options
	log *slog.Logger

	mu      sync.Mutex
	changed chan struct{} // closed at the next change; guarded by mu
}

// New returns a Watcher that does nothing until it runs.
func New(o Options) *Watcher {
	if o.Clock == nil {
		o.Clock = clock()
	}
	if o.Look == nil {
		o.Look = look
	}
	if o.Stirs == nil {
		o.Stirs = stirs
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Watcher{o: o, log: o.Log, changed: make(chan struct{})}
}

// Changed returns a channel that is closed at the next change.
func (w *Watcher) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// Network is the ID of the network that the machine is in now; empty if that cannot be found out.
func (w *Watcher) Network() string {
	n, err := w.o.Look()
	if err != nil {
		w.log.Debug("the network cannot be looked at", "error", err.Error())
	}
	return n.ID
}

// Until returns a context that ends with ctx, or with the cause ErrChanged at the next change. The caller calls stop.
func (w *Watcher) Until(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	changed := w.Changed()
	var waiter sync.WaitGroup
	waiter.Go(func() {
		select {
		case <-changed:
			cancel(ErrChanged)
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		cancel(nil)
		waiter.Wait()
	}
}

// tell closes the channel of the last Changed.
func (w *Watcher) tell(what string) {
	w.log.Debug(what)
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
}
