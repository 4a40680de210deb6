package backoff

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestWaitsGrowToTenSecondsAndAfterTenMinutesToThirty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Backoff
		bounds := []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second, 10 * time.Second}
		for i, bound := range bounds {
			if d := b.Next(); d < bound/floorOf || d >= bound {
				t.Errorf("wait %d is %v, want between %v and %v", i, d, bound/floorOf, bound)
			}
		}
		Sleep(t.Context(), outage+time.Second)
		b.Next()
		if d := b.Next(); d >= late {
			t.Errorf("a late wait is %v, want below %v", d, late)
		}
		if b.bound != late {
			t.Errorf("the bound after ten minutes is %v, want %v", b.bound, late)
		}
		b.Reset()
		if d := b.Next(); d >= first {
			t.Errorf("the first wait of a new outage is %v, want below %v", d, first)
		}
	})
}

func TestWaitsOfManyAgentsAreSpread(t *testing.T) {
	buckets := make(map[int]int)
	for range 1000 {
		b := Backoff{bound: early, since: time.Now()}
		buckets[int(b.Next()/time.Second)]++
	}
	for second, n := range buckets {
		if n > 200 {
			t.Errorf("%d of 1000 waits fall into second %d, want at most 200", n, second)
		}
	}
}

func TestSleepEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if Sleep(ctx, time.Hour) {
			t.Error("Sleep reports that it waited although its context ended")
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("Sleep ended after %v, want 1s", d)
		}
	})
}
