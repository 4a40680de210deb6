package egress

import (
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/postern-dev/postern"
)

// duplexBuffer is how many bytes one direction of a duplex holds before Write waits.
const duplexBuffer = 64 << 10

// newDuplex returns the two ends of a stream in memory. What was written before an Abort can still be read.
func newDuplex() (*duplex, *duplex) {
	there, back := newHalf(), newHalf()
	ended := make(chan struct{})
	end := sync.OnceFunc(func() { close(ended) })
	return &duplex{in: back, out: there, ended: ended, end: end}, &duplex{in: there, out: back, ended: ended, end: end}
}

// duplex is one end of a stream in memory. All methods may be called concurrently.
type duplex struct {
	in, out *half
	ended   <-chan struct{} // closed once either end was closed or aborted
	end     func()
}

var _ postern.Stream = (*duplex)(nil)

// Read waits for at least one byte.
func (d *duplex) Read(p []byte) (int, error) { return d.in.read(p) }

// Write waits until all of p is taken.
func (d *duplex) Write(p []byte) (int, error) { return d.out.write(p) }

// CloseWrite ends this end's direction.
func (d *duplex) CloseWrite() error {
	d.out.change(func(h *half) { h.finished = true })
	return nil
}

// Close ends both directions: what is still written to this end is thrown away.
func (d *duplex) Close() error {
	d.out.change(func(h *half) { h.finished = true })
	d.in.change(func(h *half) {
		h.unread = true
		h.drop()
	})
	d.stopTimers()
	d.end()
	return nil
}

// Abort makes both directions fail, unless this end has been closed.
func (d *duplex) Abort(k postern.Kind) {
	err := postern.Errorf(k, postern.HopTarget, "the stream was broken off")
	closed := false
	d.in.change(func(h *half) {
		if closed = h.unread; !closed {
			h.fail(err)
			h.drop()
		}
	})
	if !closed {
		d.out.change(func(h *half) { h.fail(err) })
	}
	d.stopTimers()
	d.end()
}

func (d *duplex) stopTimers() {
	d.in.setReadDeadline(time.Time{})
	d.out.setWriteDeadline(time.Time{})
}

// SetDeadline sets both deadlines.
func (d *duplex) SetDeadline(t time.Time) error {
	d.in.setReadDeadline(t)
	d.out.setWriteDeadline(t)
	return nil
}

// SetReadDeadline makes Read fail with os.ErrDeadlineExceeded from t on.
func (d *duplex) SetReadDeadline(t time.Time) error {
	d.in.setReadDeadline(t)
	return nil
}

// SetWriteDeadline makes Write fail with os.ErrDeadlineExceeded from t on.
func (d *duplex) SetWriteDeadline(t time.Time) error {
	d.out.setWriteDeadline(t)
	return nil
}

// LocalAddr has no address to tell.
func (d *duplex) LocalAddr() net.Addr { return memoryAddr{} }

// RemoteAddr has no address to tell.
func (d *duplex) RemoteAddr() net.Addr { return memoryAddr{} }

type memoryAddr struct{}

func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return selftestName }

// half is one direction of a duplex.
type half struct {
	mu            sync.Mutex // guards all below
	changed       sync.Cond  // of any of them
	store         []byte     // grows on demand; from start on it is written and not read yet
	start         int
	finished      bool  // the writer has ended it
	unread        bool  // the reader has gone
	err           error // it was aborted
	readDeadline  deadline
	writeDeadline deadline
}

func newHalf() *half {
	h := &half{}
	h.changed.L = &h.mu
	return h
}

func (h *half) change(f func(*half)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(h)
	h.changed.Broadcast()
}

// fail keeps the first reason.
func (h *half) fail(err error) {
	if h.err == nil {
		h.err = err
	}
}

// drop throws away what was not read.
func (h *half) drop() { h.store, h.start = nil, 0 }

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.unread:
			return 0, net.ErrClosed
		case h.readDeadline.passed():
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case h.start < len(h.store):
			n := copy(p, h.store[h.start:])
			if h.start += n; h.start == len(h.store) {
				h.store, h.start = h.store[:0], 0
			}
			h.changed.Broadcast()
			return n, nil
		case h.err != nil:
			return 0, h.err
		case h.finished:
			return 0, io.EOF
		}
		h.changed.Wait()
	}
}

func (h *half) write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	written := 0
	for {
		switch {
		case h.err != nil:
			return written, h.err
		case h.finished:
			return written, net.ErrClosed
		case h.writeDeadline.passed():
			return written, os.ErrDeadlineExceeded
		case h.unread:
			return written, io.ErrClosedPipe
		case written == len(p):
			return written, nil
		}
		if n := min(duplexBuffer-(len(h.store)-h.start), len(p)-written); n > 0 {
			if len(h.store)+n > cap(h.store) {
				h.store = append(h.store[:0], h.store[h.start:]...)
				h.start = 0
			}
			h.store = append(h.store, p[written:written+n]...)
			written += n
			h.changed.Broadcast()
			continue
		}
		h.changed.Wait()
	}
}

func (h *half) setReadDeadline(t time.Time) { h.change(func(h *half) { h.readDeadline.set(t, h) }) }

func (h *half) setWriteDeadline(t time.Time) { h.change(func(h *half) { h.writeDeadline.set(t, h) }) }

// deadline wakes those who wait in a half. It is guarded by the half's mu.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) set(at time.Time, h *half) {
	if d.timer != nil {
		d.timer.Stop()
	}
	d.at, d.timer = at, nil
	if left := time.Until(at); !at.IsZero() && left > 0 {
		d.timer = time.AfterFunc(left, func() { h.change(func(*half) {}) })
	}
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }
