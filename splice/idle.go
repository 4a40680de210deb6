package splice

import (
	"sync"
	"time"
)

// watcher looks at the counts now and then, which costs less than a deadline on every read.
type watcher struct {
	idle   time.Duration
	counts *Counts
	expire func()

	mu    sync.Mutex // guards what follows
	timer *time.Timer
	ended bool
	seen  int64
	since time.Time
}

// looks is how many times per idle period the watcher looks, so an idle stream ends at most a quarter late.
const looks = 4

// WatchIdle calls expire once when counts have stood still for idle, at most a quarter late. The caller calls stop in the end;
// afterwards expire is not called any more. For those who move a stream's bytes by themselves; Join does it by its Options.
func WatchIdle(idle time.Duration, counts *Counts, expire func()) (stop func()) {
	w := &watcher{idle: idle, counts: counts, expire: expire, since: time.Now()}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(idle/looks, w.look)
	return w.stop
}

func (w *watcher) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	if n := w.counts.Sent.Load() + w.counts.Received.Load(); n != w.seen {
		w.seen, w.since = n, time.Now()
	}
	if time.Since(w.since) >= w.idle {
		w.ended = true
		w.expire()
		return
	}
	w.timer.Reset(w.idle / looks)
}

// stop ends the watch; expire is not called afterwards.
func (w *watcher) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.timer.Stop()
}
