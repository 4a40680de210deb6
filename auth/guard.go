package auth

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/postern-dev/postern/internal/gate"
	"github.com/postern-dev/postern/internal/lru"
)

// The numbers of PROMISES P-11: whoever fails this often within the window is turned away for the length of the penalty.
const (
	maxFailures   = 10
	failureWindow = time.Minute
	penalty       = time.Minute
	guardSize     = 65536
)

// Guard slows down those who guess credentials: a source (an IPv4 address or an IPv6 /64) with 10 failures within a minute
// is turned away for 60 seconds from the tenth. Other sources never notice. The zero value is ready for use and
// a nil Guard guards nothing. All methods may be called concurrently.
//
// The table holds 65,536 sources; beyond that the one that has been quiet for longest is forgotten.
type Guard struct {
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	mu      sync.Mutex
	sources *lru.Map[netip.Prefix, *offender] // guarded by mu, like what it holds
}

// offender is what is known of a source that failed.
type offender struct {
	failures []time.Time // of the last minute, oldest first; fewer than maxFailures
	blocked  time.Time   // when the penalty ends; zero without one
}

// Blocked reports whether remote is being turned away, and for how much longer.
func (g *Guard) Blocked(remote net.Addr) (time.Duration, bool) {
	if g == nil {
		return 0, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sources == nil {
		return 0, false
	}
	o, ok := g.sources.Get(gate.Source(remote))
	if !ok {
		return 0, false
	}
	left := o.blocked.Sub(g.now())
	return max(left, 0), left > 0
}

// Failed counts one failure of remote, and reports whether that began a penalty. Failures during a penalty do not prolong it.
func (g *Guard) Failed(remote net.Addr) (began bool) {
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sources == nil {
		g.sources = lru.New[netip.Prefix, *offender](guardSize)
	}
	source, now := gate.Source(remote), g.now()
	o, ok := g.sources.Get(source)
	if !ok {
		o = &offender{}
		g.sources.Put(source, o)
	}
	if o.blocked.After(now) {
		return false
	}
	o.forget(now)
	if o.failures = append(o.failures, now); len(o.failures) < maxFailures {
		return false
	}
	o.failures, o.blocked = nil, now.Add(penalty)
	return true
}

// forget drops the failures that are older than the window.
func (o *offender) forget(now time.Time) {
	old := 0
	for old < len(o.failures) && now.Sub(o.failures[old]) >= failureWindow {
		old++
	}
	o.failures = append(o.failures[:0], o.failures[old:]...)
}

func (g *Guard) now() time.Time {
	if g.Now != nil {
		return g.Now()
	}
	return time.Now()
}
