package pace

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// crowd lets many come at once; each comes again when it is told to, late by up to lateness. It returns when each entered.
func crowd(p *Pace, many int, lateness time.Duration) []time.Duration {
	start := time.Now()
	entered := make([]time.Duration, many)
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() {
			time.Sleep(rand.N(500 * time.Millisecond))
			for {
				retry, ok := p.Enter()
				if ok {
					entered[i] = time.Since(start)
					return
				}
				time.Sleep(retry + rand.N(lateness))
			}
		})
	}
	all.Wait()
	return entered
}

func TestAThousandAreSpread(t *testing.T) {
	for _, lateness := range []time.Duration{time.Millisecond, 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			var p Pace
			var last time.Duration
			perSecond := make(map[time.Duration]int)
			for _, at := range crowd(&p, 1000, lateness) {
				perSecond[at/time.Second]++
				last = max(last, at)
			}
			for second, n := range perSecond {
				if n > 200 {
					t.Errorf("late by up to %v: %d of 1000 entered in second %d, want at most 200", lateness, n, second)
				}
			}
			if last > 20*time.Second {
				t.Errorf("late by up to %v: the last entered after %v", lateness, last)
			}
			t.Logf("late by up to %v: the last of 1000 entered after %v", lateness, last)
		})
	}
}

func TestAFewAreNotHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Pace
		for i := range defaultBurst {
			if retry, ok := p.Enter(); !ok {
				t.Fatalf("number %d has to wait %v", i, retry)
			}
		}
		if retry, ok := p.Enter(); ok || retry <= 0 || retry > 20*time.Millisecond {
			t.Errorf("one more than the burst: %v, to come again after %v", ok, retry)
		}
		time.Sleep(time.Second)
		if _, ok := p.Enter(); !ok {
			t.Error("after a second there is no place")
		}
	})
}

func TestNobodyIsSentAwayForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := Pace{Rate: 10, Burst: 1}
		for range 10000 {
			if retry, _ := p.Enter(); retry > most {
				t.Fatalf("sent away for %v", retry)
			}
		}
	})
}
