//go:build linux

package link

import (
	"math/rand/v2"
	"time"
)

// shaper decides what becomes of the packets of one direction, and when they arrive. Its time is that of the link, which
// stands still while the link is frozen. It knows nothing of devices, so that tests can ask it anything.
type shaper struct {
	cond   Conditions
	seed   uint64
	random *rand.Rand
	free   time.Duration // when the last packet will have been put on the link
	last   time.Duration // when the last one arrives, those aside that were held back
}

func newShaper(seed uint64, c Conditions) *shaper {
	return &shaper{cond: c, seed: seed, random: rand.New(rand.NewPCG(seed, 0))}
}

// plan is what becomes of one packet.
type plan struct {
	fate    fate
	arrives time.Duration
	twice   bool // another copy arrives right behind
	late    bool // it was held back
}

// plan decides about a packet that enters the link now.
func (s *shaper) plan(now time.Duration, size int, udp bool) plan {
	// Three numbers for each packet, used or not: what happens to the hundredth does not depend on the conditions of the others.
	lose, repeat, reorder := s.random.Float64(), s.random.Float64(), s.random.Float64()
	c := &s.cond
	switch {
	case udp && c.NoUDP:
		return plan{fate: noUDP}
	case c.MaxSize > 0 && size > c.MaxSize:
		return plan{fate: tooLarge}
	case c.Rate > 0 && s.backlog(now)+size > c.queue():
		return plan{fate: overflowed}
	}
	// What gets lost on the way has used the link all the same.
	s.free = max(s.free, now) + c.transmission(size)
	if lose < c.Loss {
		return plan{fate: lost}
	}
	p := plan{twice: repeat < c.Duplicate, late: reorder < c.Reorder}
	p.arrives = max(s.free+s.delay(s.free), s.last)
	if p.late {
		p.arrives += c.reorderBy()
	} else {
		s.last = p.arrives
	}
	return p
}

// backlog is how many bytes wait to be put on the link.
func (s *shaper) backlog(now time.Duration) int {
	if s.free <= now {
		return 0
	}
	return int((s.free - now).Seconds() * float64(s.cond.Rate) / 8)
}

// delay is the delay of a packet that leaves at a given time. With jitter it goes from one random value to the next in straight
// lines, each over four times the jitter: it never shrinks faster than time passes, so packets keep their order as they do in a
// router's queue. A random delay for each packet would reorder nearly all of them.
func (s *shaper) delay(at time.Duration) time.Duration {
	if s.cond.Jitter == 0 {
		return s.cond.Delay
	}
	period := 4 * s.cond.Jitter
	n, part := uint64(at/period), float64(at%period)/float64(period)
	swing := s.swing(n)*(1-part) + s.swing(n+1)*part
	return max(s.cond.Delay+time.Duration(swing*float64(s.cond.Jitter)), 0)
}

// swing is the nth of a row of numbers from -1 to 1 that the seed determines: the output function of SplitMix64 (Steele, Lea and
// Flood 2014), which gives the nth without those before.
func (s *shaper) swing(n uint64) float64 {
	x := s.seed + (n+1)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return float64(x>>11)/(1<<52) - 1
}
