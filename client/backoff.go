package client

import (
	"context"
	"time"

	"github.com/postern-dev/postern/internal/backoff"
)

// A dial happens only when somebody waits for a stream, so the pause before it is cut short at patience. After
// calm without a dial the next one is free.
const (
	patience = 5 * time.Second
	calm     = 30 * time.Second
)

// pause spaces dials out. Its zero value lets the first one through.
type pause struct {
	backoff backoff.Backoff
	tried   time.Time // when the last dial ended; zero: there was none
	wait    time.Duration
}

// sleep waits until the next dial may begin; it reports false if ctx ended first.
func (p *pause) sleep(ctx context.Context) bool {
	if p.tried.IsZero() || time.Since(p.tried) > calm {
		p.backoff.Reset()
		return ctx.Err() == nil
	}
	return backoff.Sleep(ctx, time.Until(p.tried.Add(p.wait)))
}

// done notes that a dial has ended. A session that was won counts too: one that breaks at once must not be dialled in a tight loop.
func (p *pause) done() {
	p.tried, p.wait = time.Now(), min(p.backoff.Next(), patience)
}
