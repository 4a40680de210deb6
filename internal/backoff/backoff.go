// Package backoff says how long to wait before the next try: full jitter, 0.5 s to 10 s in the first ten minutes of an outage,
// then up to 30 s (DESIGN §3).
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// The bounds of a wait.
const (
	first   = 500 * time.Millisecond
	early   = 10 * time.Second
	late    = 30 * time.Second
	outage  = 10 * time.Minute
	floorOf = 10 // a wait is at least a tenth of its bound, so that full jitter never becomes a busy loop
)

// Backoff counts the tries of one outage. The zero value is ready. It must not be used concurrently.
type Backoff struct {
	since time.Time
	bound time.Duration
}

// Next returns how long to wait before the next try.
func (b *Backoff) Next() time.Duration {
	now := time.Now()
	if b.since.IsZero() {
		b.since, b.bound = now, first
	} else {
		b.bound *= 2
	}
	most := early
	if now.Sub(b.since) > outage {
		most = late
	}
	b.bound = min(b.bound, most)
	least := b.bound / floorOf
	return least + rand.N(b.bound-least)
}

// Reset begins a new outage: call it when a try has succeeded and lasted.
func (b *Backoff) Reset() { *b = Backoff{} }

// Sleep waits for d and reports whether it did: false means that ctx ended first.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
