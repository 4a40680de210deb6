// Package pace spreads arrivals: when a relay comes back, its agents are not to come all in the same second.
//
//	var p pace.Pace
//	if retry, ok := p.Enter(); !ok {
//		return &postern.Error{Kind: postern.Overloaded, RetryAfter: retry} // the next free place
//	}
package pace

import (
	"cmp"
	"math/rand/v2"
	"sync"
	"time"
)

// Pace lets a burst in and then a steady number each second. Those whom it sends away are given places in a row, so that they
// come back one after the other. The zero value has the defaults. All methods may be called concurrently.
type Pace struct {
	// Rate is how many may enter each second; 0 means 150: of a thousand that come at once, no second sees a fifth (PROMISES P-22).
	Rate int
	// Burst is how many may enter at once; 0 means 25.
	Burst int

	mu    sync.Mutex
	taken time.Time // until when the places are taken; guarded by mu
	row   time.Time // the last place given to somebody who was sent away; guarded by mu
}

const (
	defaultRate  = 150
	defaultBurst = 25
	// most is the longest time that anybody is sent away for.
	most = 30 * time.Second
)

// Enter reports whether one more may enter now. If not, retry is when to try again.
func (p *Pace) Enter() (retry time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	each := time.Second / time.Duration(cmp.Or(p.Rate, defaultRate))
	p.taken = later(p.taken, now)
	if p.taken.Sub(now) <= time.Duration(cmp.Or(p.Burst, defaultBurst)-1)*each {
		p.taken = p.taken.Add(each)
		return 0, true
	}
	// The row is a little slower than the door, so that whoever comes a little late does not make the next one wait again.
	p.row = later(p.row, now).Add(each * 6 / 5)
	if retry = p.row.Sub(now); retry > most {
		retry = most/2 + rand.N(most/2)
	}
	return retry, false
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
