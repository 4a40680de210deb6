//go:build linux

package link

import (
	"slices"
	"testing"
	"time"
)

const ms = time.Millisecond

// arrivals plans n packets of 1,000 bytes that enter the link every gap.
func arrivals(s *shaper, n int, gap time.Duration) (passed []time.Duration, fates []fate) {
	for i := range n {
		p := s.plan(time.Duration(i)*gap, 1000, false)
		fates = append(fates, p.fate)
		if p.fate == passes {
			passed = append(passed, p.arrives)
		}
	}
	return passed, fates
}

func TestRateAndDelay(t *testing.T) {
	s := newShaper(1, Conditions{Rate: 8e6, Delay: 20 * ms}) // a packet takes 1 ms
	got, _ := arrivals(s, 4, 0)
	if want := []time.Duration{21 * ms, 22 * ms, 23 * ms, 24 * ms}; !slices.Equal(got, want) {
		t.Errorf("four packets at once arrive at %v, want %v", got, want)
	}
	if p := s.plan(time.Second, 500, false); p.arrives != time.Second+20*ms+500*time.Microsecond {
		t.Errorf("on an idle link half a packet arrives at %v", p.arrives)
	}
}

func TestQueueDropsTheTail(t *testing.T) {
	_, fates := arrivals(newShaper(1, Conditions{Rate: 8e6, Queue: 10_000}), 12, 0)
	want := append(slices.Repeat([]fate{passes}, 10), overflowed, overflowed)
	if !slices.Equal(fates, want) {
		t.Errorf("twelve packets at once into a queue of ten: %v", fates)
	}
	for c, want := range map[Conditions]int{
		{}:                                     maxHeld,
		{Rate: 8e6}:                            64 << 10, // 50 ms would be 50,000
		{Rate: 80e6}:                           500_000,
		{Rate: 400e6, Delay: 20 * ms}:          2_500_000,
		{Rate: 400e6, Delay: 40 * ms}:          4_000_000,
		{Rate: 8e6, Delay: time.Hour}:          maxHeld,
		{Rate: 8e6, Queue: 1}:                  1,
		{Rate: 8e9, Delay: ms, Queue: 1 << 30}: maxHeld,
	} {
		if got := c.queue(); got != want {
			t.Errorf("the queue of %+v is %d, want %d", c, got, want)
		}
	}
}

// TestSharesAndSeed counts what is random, and looks that the seed determines it packet by packet.
func TestSharesAndSeed(t *testing.T) {
	const n = 20_000
	cond := Conditions{Loss: 0.05, Duplicate: 0.02, Reorder: 0.1}
	run := func(seed uint64, c Conditions) (plans []plan, lostOnes, twice, late int) {
		s := newShaper(seed, c)
		for i := range n {
			p := s.plan(time.Duration(i)*ms, 1000, false)
			plans = append(plans, p)
			lostOnes += count(p.fate == lost)
			twice += count(p.twice)
			late += count(p.late)
		}
		return plans, lostOnes, twice, late
	}
	plans, lostOnes, twice, late := run(7, cond)
	near := func(what string, got int, share float64) {
		if want := share * n; float64(got) < 0.8*want || float64(got) > 1.2*want {
			t.Errorf("%s: %d of %d, asked for was a share of %v", what, got, n, share)
		}
	}
	near("lost", lostOnes, 0.05)
	near("twice", twice, 0.02*0.95)
	near("held back", late, 0.1*0.95)
	if again, _, _, _ := run(7, cond); !slices.Equal(plans, again) {
		t.Error("the same seed gives other packets another fate")
	}
	if other, _, _, _ := run(8, cond); slices.Equal(plans, other) {
		t.Error("another seed gives the same")
	}
	only, _, _, _ := run(7, Conditions{Loss: 0.05})
	for i := range only {
		if only[i].fate != plans[i].fate {
			t.Fatalf("packet %d meets another fate when others are repeated or held back", i)
		}
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestJitterKeepsTheOrder(t *testing.T) {
	const n, gap = 50_000, 100 * time.Microsecond
	s := newShaper(3, Conditions{Delay: 200 * ms, Jitter: 50 * ms})
	least, most, last := time.Hour, time.Duration(0), time.Duration(0)
	for i := range n {
		at := time.Duration(i) * gap
		p := s.plan(at, 1000, false)
		if p.arrives < last {
			t.Fatalf("packet %d arrives at %v, the one before at %v", i, p.arrives, last)
		}
		last = p.arrives
		least, most = min(least, p.arrives-at), max(most, p.arrives-at)
	}
	if least < 150*ms || most > 250*ms {
		t.Errorf("delays from %v to %v, asked for were 200 ± 50 ms", least, most)
	}
	if least > 175*ms || most < 225*ms {
		t.Errorf("delays from %v to %v only in 5 s", least, most)
	}
}

func TestReorderIsOvertaken(t *testing.T) {
	s := newShaper(3, Conditions{Reorder: 0.1, ReorderBy: 5 * ms})
	got, _ := arrivals(s, 1000, ms)
	overtaken := 0
	for i := 1; i < len(got); i++ {
		overtaken += count(got[i] < got[i-1])
	}
	if overtaken < 50 {
		t.Errorf("%d of 1,000 were overtaken by the next", overtaken)
	}
}

func TestDrops(t *testing.T) {
	s := newShaper(1, Conditions{NoUDP: true, MaxSize: 1280})
	for _, c := range []struct {
		size int
		udp  bool
		want fate
	}{{100, true, noUDP}, {100, false, passes}, {1280, false, passes}, {1281, false, tooLarge}} {
		if got := s.plan(0, c.size, c.udp).fate; got != c.want {
			t.Errorf("%d bytes, UDP %v: %v, want %v", c.size, c.udp, got, c.want)
		}
	}
}

func TestClockStandsStill(t *testing.T) {
	c := clock{began: time.Now()}
	c.set(true)
	first := c.now()
	c.set(true)
	if again := c.now(); again != first {
		t.Errorf("time passes on a frozen link: %v, %v", first, again)
	}
	c.since -= time.Minute // as if a minute had gone by since
	c.set(false)
	if got := c.now(); got > first-time.Minute+time.Second {
		t.Errorf("after the thaw it is %v, it was %v when it froze", got, first-time.Minute)
	}
}
