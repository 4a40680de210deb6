//go:build linux

package link

import (
	"container/heap"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// direction carries what one side sends to the other.
type direction struct {
	in, out  int  // TUN devices
	wake     int  // an eventfd: look at the conditions again
	from, to *nat // the routers in front of sender and receiver

	done chan struct{} // closed when the loop has ended
	err  error         // of the loop; may be read once it is done

	mu       sync.Mutex
	closing  bool // guarded by mu, like the rest
	counters Counters
	shaper   *shaper
	clock    clock
	held     packets
	bytes    int // in held
	spare    [][]byte
}

// largest is the largest packet that IPv4 can have.
const largest = 65535

func startDirection(in, out int, s *shaper, from, to *nat) (*direction, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("an eventfd: %w", err)
	}
	d := &direction{in: in, out: out, wake: wake, from: from, to: to, shaper: s, clock: clock{began: time.Now()}, done: make(chan struct{})}
	d.clock.set(s.cond.Frozen)
	go func() {
		defer close(d.done)
		d.err = d.loop()
	}()
	return d, nil
}

// loop waits in one system call for packets, for the next one to be due, and for changes: timers of the runtime can be late by
// a millisecond, in which 400 Mbit/s carry thirty packets.
func (d *direction) loop() error {
	buf := make([]byte, largest)
	for {
		wait, closing := d.deliver()
		if closing {
			return nil
		}
		fds := []unix.PollFd{{Fd: int32(d.in), Events: unix.POLLIN}, {Fd: int32(d.wake), Events: unix.POLLIN}}
		var timeout *unix.Timespec
		if wait >= 0 {
			t := unix.NsecToTimespec(int64(wait))
			timeout = &t
		}
		if _, err := unix.Ppoll(fds, timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for packets: %w", err)
		}
		if fds[1].Revents != 0 {
			// Only that it was written matters.
			_, _ = unix.Read(d.wake, make([]byte, 8))
		}
		if err := d.fetch(buf); err != nil {
			return err
		}
	}
}

// deliver writes what is due and says how long there is nothing more to do; negative: until something happens.
func (d *direction) deliver() (wait time.Duration, closing bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.held) > 0 {
		now := d.clock.now()
		next := d.held[0]
		if d.clock.frozen {
			break
		}
		if next.arrives > now {
			return next.arrives - now, d.closing
		}
		heap.Pop(&d.held)
		d.bytes -= len(next.data)
		if _, err := unix.Write(d.out, next.data); err == nil {
			d.counters.Delivered++
			d.counters.DeliveredBytes += uint64(len(next.data))
		} else {
			d.counters.Overflowed++ // the receiver's kernel has no room for it
		}
		d.spare = append(d.spare, next.data)
	}
	return -1, d.closing
}

// batch bounds how many packets are fetched before what is due is delivered.
const batch = 32

func (d *direction) fetch(buf []byte) error {
	for range batch {
		n, err := unix.Read(d.in, buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("read from the device: %w", err)
		}
		d.accept(buf[:n])
	}
	return nil
}

// accept decides about a packet and keeps it until it is due.
func (d *direction) accept(p packet) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counters.Sent++
	d.counters.SentBytes += uint64(len(p))
	plan := d.shaper.plan(d.clock.now(), len(p), p.isUDP())
	if plan.fate == passes && d.bytes+len(p) > d.room() {
		plan.fate = overflowed
	}
	if plan.fate == passes {
		plan.fate = d.translate(p)
	}
	if plan.fate != passes {
		d.counters.drop(plan.fate)
		return
	}
	d.hold(plan.arrives, p)
	if plan.twice {
		d.counters.Duplicated++
		d.hold(plan.arrives, p)
	}
	if plan.late {
		d.counters.Reordered++
	}
}

// room is how many bytes may be under way.
func (d *direction) room() int {
	if d.clock.frozen {
		return d.shaper.cond.queue()
	}
	return maxHeld
}

// translate sends a packet through both routers.
func (d *direction) translate(p packet) fate {
	left := d.from.leave(p)
	entered, ok := d.to.enter(p)
	if !ok {
		return unmapped
	}
	if left || entered {
		d.counters.Rebound++
	}
	return passes
}

// hold keeps a copy of p.
func (d *direction) hold(arrives time.Duration, p packet) {
	var data []byte
	if n := len(d.spare); n > 0 {
		data, d.spare = d.spare[n-1], d.spare[:n-1]
	}
	heap.Push(&d.held, held{arrives: arrives, number: d.counters.Sent, data: append(data[:0], p...)})
	d.bytes += len(p)
}

// change changes the conditions.
func (d *direction) change(f func(*Conditions)) {
	d.mu.Lock()
	f(&d.shaper.cond)
	d.clock.set(d.shaper.cond.Frozen)
	d.mu.Unlock()
	d.awake()
}

func (d *direction) counted() Counters {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counters
}

func (d *direction) awake() {
	// It fails only when the loop has been woken 2^64 times without looking.
	_, _ = unix.Write(d.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// stop ends the loop and returns why it ended before, if it has.
func (d *direction) stop() error {
	d.mu.Lock()
	d.closing = true
	d.mu.Unlock()
	d.awake()
	<-d.done
	return errors.Join(d.err, unix.Close(d.wake))
}

// clock is the link's time, which can stand still.
type clock struct {
	began  time.Time
	lost   time.Duration // for how long it has stood still so far
	frozen bool
	since  time.Duration // when it stopped, if it is frozen
}

func (c *clock) now() time.Duration {
	if c.frozen {
		return c.since
	}
	return time.Since(c.began) - c.lost
}

// set stops the clock or lets it go on.
func (c *clock) set(frozen bool) {
	switch {
	case frozen && !c.frozen:
		c.since = c.now()
	case !frozen && c.frozen:
		c.lost = time.Since(c.began) - c.since
	}
	c.frozen = frozen
}

// held is a packet under way.
type held struct {
	arrives time.Duration
	number  uint64
	data    []byte
}

// packets are those under way, the next to arrive first; of those that arrive together the one that was sent first.
type packets []held

func (p packets) Len() int { return len(p) }

func (p packets) Less(i, j int) bool {
	return p[i].arrives < p[j].arrives || p[i].arrives == p[j].arrives && p[i].number < p[j].number
}

func (p packets) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p *packets) Push(x any)   { *p = append(*p, x.(held)) }

func (p *packets) Pop() any {
	last := (*p)[len(*p)-1]
	*p = (*p)[:len(*p)-1]
	return last
}
