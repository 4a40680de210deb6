package mux

import (
	"math"
	"net"
	"sync"
	"time"

	"github.com/postern-dev/postern"
)

// Stream is one stream of a Conn. One goroutine may read while another writes, the other methods may be called from any;
// several writers take turns.
type Stream struct {
	conn   *Conn
	local  bool       // opened by us
	writer sync.Mutex // held during Write, above conn.mu

	// Everything below is guarded by conn.mu.

	id     uint32 // 0 until its OPEN is in a flush
	err    error  // why both directions are broken off; nil while they are not
	closed bool   // Close was called
	over   bool   // the far end is done with it, or knows that we are

	// Towards us. The offsets count from the beginning of the direction.
	readCond    sync.Cond
	readEnd     deadline
	unread      chunks
	received    uint64 // bytes that arrived
	consumed    uint64 // bytes that were read
	granted     uint64 // up to where the far end may send
	window      int    // how far ahead of consumed credit is given
	first       int    // the window at the beginning
	grownAt     uint64 // what was granted when the window grew last
	creditDue   bool   // granted has to be told
	finReceived bool
	stopDue     bool // STOP has to be told

	// Away from us.
	writeCond  sync.Cond
	writeEnd   deadline
	pending    []byte // what the Write in progress has not yet put in a frame
	sent       uint64 // bytes that were put in frames
	limit      uint64 // up to where the far end takes
	blockedDue bool   // BLOCKED has to be told
	blockedAt  uint64 // the offset that it was told for last
	finDue     bool   // CloseWrite was called
	finSent    bool
	stopped    bool // the far end does not read any more
	resetDue   bool // RESET has to be told; all else is over
	resetKind  postern.Kind

	inUrgent, inBulk bool // which queues of the Conn it is in
}

var _ postern.Stream = (*Stream)(nil)

// newStream returns a stream whose far end may send window bytes and takes limit.
func newStream(c *Conn, local bool, window int, limit uint64) *Stream {
	s := &Stream{
		conn: c, local: local, window: window, first: window, granted: uint64(window),
		limit: limit, blockedAt: math.MaxUint64,
	}
	s.readCond.L, s.writeCond.L = &c.mu, &c.mu
	return s
}

// LocalAddr is the address of this end of the Conn.
func (s *Stream) LocalAddr() net.Addr { return s.conn.opts.Info.Local }

// RemoteAddr is the address of the far end of the Conn.
func (s *Stream) RemoteAddr() net.Addr { return s.conn.opts.Info.Remote }

// SetDeadline sets both deadlines, as net.Conn does.
func (s *Stream) SetDeadline(t time.Time) error {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.setDeadlines(t, &s.readEnd, &s.writeEnd)
}

// SetReadDeadline lets Read fail with os.ErrDeadlineExceeded from t on; a zero t never.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.setDeadlines(t, &s.readEnd)
}

// SetWriteDeadline lets Write fail with os.ErrDeadlineExceeded from t on; a zero t never.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.setDeadlines(t, &s.writeEnd)
}

func (s *Stream) setDeadlines(t time.Time, which ...*deadline) error {
	if s.closed {
		return net.ErrClosed
	}
	for _, d := range which {
		d.set(t, s.conn, s.wake)
	}
	return nil
}

// wake lets Read and Write look again. c.mu is held.
func (s *Stream) wake() {
	s.readCond.Broadcast()
	s.writeCond.Broadcast()
}

// deadline is a point in time after which a direction fails. It is guarded by conn.mu.
type deadline struct {
	passed bool
	timer  *time.Timer
	turn   int // counts calls of set, so that a timer that fires late does nothing
}

func (d *deadline) set(t time.Time, c *Conn, wake func()) {
	d.stop()
	d.passed = false
	if t.IsZero() {
		wake()
		return
	}
	left := time.Until(t)
	if left <= 0 {
		d.passed = true
		wake()
		return
	}
	turn := d.turn
	d.timer = time.AfterFunc(left, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if d.turn == turn {
			d.passed = true
			wake()
		}
	})
}

func (d *deadline) stop() {
	d.turn++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}
