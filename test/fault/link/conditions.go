//go:build linux

package link

import "time"

// Conditions are what happens to the packets that one side sends. The zero value is a perfect link.
type Conditions struct {
	Rate      int64         // bits a second, IP headers included; 0: as fast as it goes
	Queue     int           // bytes that may wait for Rate, or in a frozen link; more are dropped. 0: see queue
	Delay     time.Duration // one way
	Jitter    time.Duration // the delay swings between Delay-Jitter and Delay+Jitter, slowly enough to keep the order
	Loss      float64       // share of the packets that are lost, 0 to 1
	Duplicate float64       // share that arrives twice
	Reorder   float64       // share that is held back by ReorderBy, so that later ones overtake it
	ReorderBy time.Duration // 0: 10 ms
	MaxSize   int           // larger IP packets are dropped, and nobody is told; 0: none are
	NoUDP     bool          // UDP is dropped
	Frozen    bool          // time stands still: nothing arrives
}

// maxHeld bounds the memory of one direction.
const maxHeld = 64 << 20

// queue is Queue or its default: without a rate what memory allows, else what the link carries in one round trip, or in 50 ms
// if that is more, and never less than 64 KiB.
func (c *Conditions) queue() int {
	switch {
	case c.Queue > 0:
		return min(c.Queue, maxHeld)
	case c.Rate == 0:
		return maxHeld
	}
	worth := max(2*c.Delay, 50*time.Millisecond)
	return int(min(max(float64(c.Rate)/8*worth.Seconds(), 64<<10), maxHeld))
}

func (c *Conditions) reorderBy() time.Duration {
	if c.ReorderBy == 0 {
		return 10 * time.Millisecond
	}
	return c.ReorderBy
}

// transmission is how long a packet of so many bytes keeps the link busy.
func (c *Conditions) transmission(size int) time.Duration {
	if c.Rate == 0 {
		return 0
	}
	return time.Duration(float64(size) * 8 / float64(c.Rate) * float64(time.Second))
}

// Counters are what has happened to the packets that one side sent.
type Counters struct {
	Sent, SentBytes           uint64 // what entered the link
	Delivered, DeliveredBytes uint64 // what left it at the other side, repeated ones included
	Lost                      uint64 // by Loss
	Overflowed                uint64 // found the queue full
	TooLarge                  uint64 // by MaxSize
	NoUDP                     uint64 // by NoUDP
	Unmapped                  uint64 // sent to a port that a rebinding has taken away
	Duplicated                uint64 // arrived, or will arrive, twice
	Reordered                 uint64 // were held back
	Rebound                   uint64 // had a port rewritten
}

// fate is what becomes of a packet.
type fate int

const (
	passes fate = iota
	lost
	overflowed
	tooLarge
	noUDP
	unmapped
)

// drop counts a packet that does not pass.
func (c *Counters) drop(f fate) {
	switch f {
	case passes:
	case lost:
		c.Lost++
	case overflowed:
		c.Overflowed++
	case tooLarge:
		c.TooLarge++
	case noUDP:
		c.NoUDP++
	case unmapped:
		c.Unmapped++
	}
}
