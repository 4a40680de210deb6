// Package bulkio makes few large system calls of many small ones: a layer beneath protocols that cut what they carry
// into records or frames, and read and write those one by one.
//
//	beneath := bulkio.New(tcp)
//	c := bulkio.Secure(tls.Client(beneath, config)) // all records of one Write leave in one write(2)
//
//	beneath.Hold()
//	frames.Write(head)
//	frames.Write(body)
//	err := beneath.Release() // both leave now
package bulkio

import (
	"crypto/tls"
	"net"
	"slices"
	"sync"
)

// Conn is a connection that reads ahead while bytes come thick, and gathers what is written between Hold and Release. One
// goroutine may read while others write, hold and release; what they write is not mixed.
type Conn struct {
	net.Conn

	// The reader's own.
	ahead *buffer // taken while bytes come thick
	r, w  int     // ahead[r:w] was read and not yet used
	thick bool    // the last read filled what it was given
	begin []byte  // was read before, and is read again first

	mu   sync.Mutex // guards what follows, and is held while gathered bytes are written
	held int
	out  *buffer // taken while bytes are gathered
	n    int     // how many
}

var _ net.Conn = (*Conn)(nil)

// bufferSize holds eight TLS records, which is what a multiplexer writes at once, and the heads of smaller frames.
const bufferSize = 8*(16<<10) + 4<<10

type buffer [bufferSize]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// thin is how few bytes of a read say that no more are waiting.
const thin = 4 << 10

// New returns a Conn over c. begin was read from c already, and is read from the Conn first.
func New(c net.Conn, begin ...byte) *Conn { return &Conn{Conn: c, begin: begin} }

// NetConn returns the connection beneath.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Unread has p, which was read last, read again. The reader calls it.
func (c *Conn) Unread(p []byte) { c.begin = slices.Concat(p, c.begin) }

// Buffered is how many bytes can be read without waiting.
func (c *Conn) Buffered() int { return len(c.begin) + c.w - c.r }

// Read reads what is there. It holds a large buffer only while reads before it were large.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.begin) > 0 {
		n := copy(p, c.begin)
		c.begin = c.begin[n:]
		return n, nil
	}
	if c.r == c.w {
		if n, err, done := c.fill(p); done {
			return n, err
		}
	}
	n := copy(p, c.ahead[c.r:c.w])
	c.r += n
	return n, nil
}

// fill reads ahead; where that is of no use, it reads into p and is done.
func (c *Conn) fill(p []byte) (n int, err error, done bool) {
	if !c.thick || len(p) >= bufferSize {
		c.release()
		n, err = c.Conn.Read(p)
		c.thick = n > 0 && n == len(p)
		return n, err, true
	}
	if c.ahead == nil {
		c.ahead = buffers.Get().(*buffer)
	}
	n, err = c.Conn.Read(c.ahead[:])
	c.r, c.w, c.thick = 0, n, n >= thin
	if n == 0 {
		c.release()
		return 0, err, true
	}
	// An error beside bytes comes again with the next read.
	return 0, nil, false
}

func (c *Conn) release() {
	if c.ahead != nil {
		buffers.Put(c.ahead)
		c.ahead, c.r, c.w = nil, 0, 0
	}
}

// Hold has Write gather from now on, as far as there is room. Release ends it; the two nest.
func (c *Conn) Hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held++
}

// Release writes what was gathered. Its error may be that of a Write before it.
func (c *Conn) Release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held--
	if c.held > 0 {
		return nil
	}
	return c.flush()
}

// Write writes p, or gathers it.
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n+len(p) > bufferSize {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	if c.held == 0 || len(p) > bufferSize {
		return c.Conn.Write(p)
	}
	if c.out == nil {
		c.out = buffers.Get().(*buffer)
	}
	c.n += copy(c.out[c.n:], p)
	return len(p), nil
}

// flush writes what was gathered. mu is held, so that nothing written meanwhile gets before it.
func (c *Conn) flush() error {
	if c.out == nil {
		return nil
	}
	_, err := c.Conn.Write(c.out[:c.n])
	buffers.Put(c.out)
	c.out, c.n = nil, 0
	return err
}

// Secured is TLS over a Conn: what is written to it at once leaves at once.
type Secured struct {
	*tls.Conn
	beneath *Conn
}

// Secure returns c as a connection whose writes are gathered by the *Conn that it was made over. Over anything else it is c as it was.
func Secure(c *tls.Conn) *Secured {
	beneath, _ := c.NetConn().(*Conn)
	return &Secured{Conn: c, beneath: beneath}
}

// Write writes p as TLS records, and those in one piece.
func (s *Secured) Write(p []byte) (int, error) {
	if s.beneath == nil {
		return s.Conn.Write(p)
	}
	s.beneath.Hold()
	n, err := s.Conn.Write(p)
	if rerr := s.beneath.Release(); err == nil && rerr != nil {
		return 0, rerr
	}
	return n, err
}
