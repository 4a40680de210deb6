package testnet

import (
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/postern-dev/postern"
)

// half is one direction of a pipe: a bounded queue of bytes with one end that writes and one that reads.
type half struct {
	size int

	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever something below changes; guarded by mu, like all that follows
	buf     []byte
	fin     bool  // the writer has closed: EOF follows buf
	broken  error // an end has aborted: neither reading nor writing works any more

	readerGone, writerGone      bool // that end has closed its stream
	readDeadline, writeDeadline time.Time
}

func newHalf(size int) *half {
	return &half{size: max(size, 1), changed: make(chan struct{})}
}

// write queues p, waiting for room. It returns how much was queued.
func (h *half) write(p []byte) (n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		if err := h.writeErr(); err != nil {
			return n, err
		}
		if room := min(h.size-len(h.buf), len(p)); room > 0 {
			h.buf = append(h.buf, p[:room]...)
			n, p = n+room, p[room:]
			h.notify()
		}
		if len(p) == 0 {
			return n, nil
		}
		h.wait(h.writeDeadline)
	}
}

// writeErr says why nothing can be written now; mu is held.
func (h *half) writeErr() error {
	switch {
	case h.writerGone, h.fin:
		return net.ErrClosed
	case h.broken != nil:
		return h.broken
	case h.readerGone:
		return &postern.Error{Kind: postern.Aborted, Detail: "the far end has closed the stream"}
	case past(h.writeDeadline):
		return os.ErrDeadlineExceeded
	}
	return nil
}

// read takes what is queued, waiting until there is something.
func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.readerGone:
			return 0, net.ErrClosed
		case h.broken != nil:
			return 0, h.broken
		case past(h.readDeadline):
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case len(h.buf) > 0:
			n := copy(p, h.buf)
			h.buf = h.buf[:copy(h.buf, h.buf[n:])]
			h.notify()
			return n, nil
		case h.fin:
			return 0, io.EOF
		}
		h.wait(h.readDeadline)
	}
}

// set changes the state under the lock and tells those who wait.
func (h *half) set(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
	h.notify()
}

// breakOff makes both ends fail with err, unless something made them fail before.
func (h *half) breakOff(err error) {
	h.set(func() {
		if h.broken == nil {
			h.broken = err
		}
		h.buf = nil
	})
}

// notify wakes everybody in wait; mu is held.
func (h *half) notify() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// wait returns when the state has changed or the deadline has passed; mu is held, and released meanwhile.
func (h *half) wait(deadline time.Time) {
	changed := h.changed
	h.mu.Unlock()
	defer h.mu.Lock()
	if deadline.IsZero() {
		<-changed
		return
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}

func past(deadline time.Time) bool {
	return !deadline.IsZero() && !time.Now().Before(deadline)
}
