package ingress

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/splice"
)

// Conn is a client's connection: clear or under TLS, with what was read ahead kept for whoever reads next. It is a postern.Stream.
// One goroutine may read while another writes.
type Conn struct {
	net.Conn
	r       *bufio.Reader // nil once Stream has found it empty
	tls     *tls.ConnectionState
	drain   <-chan struct{}
	due     time.Time // when the handshake has to be over
	rejects int

	authenticated func() // tells whoever counts strangers that c is none
}

// readAhead is enough for the head of nearly every request; it is given back before bytes are spliced.
const readAhead = 4 << 10

func newConn(c net.Conn, drain <-chan struct{}, authenticated func()) *Conn {
	splice.ResetOnExit(c, true)
	return &Conn{
		Conn: c, r: bufio.NewReaderSize(c, readAhead), tls: tlsState(c), drain: drain,
		due: time.Now().Add(HandshakeTimeout), authenticated: authenticated,
	}
}

// secured puts c under TLS. The protocol's handshake has its full time from here.
func (c *Conn) secured(conn *tls.Conn) {
	state := conn.ConnectionState()
	c.Conn, c.r, c.tls = conn, bufio.NewReaderSize(conn, readAhead), &state
	c.due = time.Now().Add(HandshakeTimeout)
}

// tlsState finds the TLS session in c or beneath its wrappers.
func tlsState(c net.Conn) *tls.ConnectionState {
	for c != nil {
		switch inner := c.(type) {
		case interface{ ConnectionState() tls.ConnectionState }:
			state := inner.ConnectionState()
			return &state
		case interface{ NetConn() net.Conn }:
			c = inner.NetConn()
		default:
			return nil
		}
	}
	return nil
}

// Reader is the connection with its read-ahead. Handshakes read through it, so that what follows them is not lost.
func (c *Conn) Reader() *bufio.Reader { return c.r }

// Read takes what was read ahead first.
func (c *Conn) Read(p []byte) (int, error) {
	if c.r == nil {
		return c.Conn.Read(p)
	}
	return c.r.Read(p)
}

// CloseWrite sends FIN (TCP) or close_notify (TLS).
func (c *Conn) CloseWrite() error { return splice.Stream(c.Conn).CloseWrite() }

// Abort breaks the connection off so that the client sees a failure, never a clean end.
func (c *Conn) Abort(k postern.Kind) { splice.Stream(c.Conn).Abort(k) }

// Close ends the connection cleanly.
func (c *Conn) Close() error {
	splice.ResetOnExit(c.Conn, false)
	return c.Conn.Close()
}

// NetConn returns the connection beneath, for those who look for a descriptor.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Stream returns the connection for splicing: without the read-ahead when that is empty. After it only the stream may be read.
func (c *Conn) Stream() postern.Stream {
	if c.r != nil && c.r.Buffered() > 0 {
		return c
	}
	c.r = nil
	return splice.Stream(c.Conn)
}

// again readies c for another try at a handshake.
func (c *Conn) again() bool {
	c.rejects++
	c.due = time.Now().Add(HandshakeTimeout)
	return c.SetDeadline(time.Time{}) == nil
}

// TLS is the state of the connection's TLS, nil in clear.
func (c *Conn) TLS() *tls.ConnectionState { return c.tls }

// Private reports whether nobody can listen in: TLS, loopback, or a socket of this machine.
func (c *Conn) Private() bool {
	if c.tls != nil {
		return true
	}
	addr := Source(c.Conn).Addr()
	return !addr.IsValid() || addr.IsLoopback()
}

// Rejects is how many calls on this connection were rejected so far.
func (c *Conn) Rejects() int { return c.rejects }

// Draining is closed when the server takes nothing new: connections without a request are to end.
func (c *Conn) Draining() <-chan struct{} { return c.drain }

// ErrDraining is what Await returns when the server takes nothing new.
var ErrDraining = errors.New("the server is going away")

// Await waits for the first byte of the client's next request: for at most idle, or until the server drains. It consumes
// nothing. Afterwards the client has HandshakeTimeout for the rest: the deadline is that far ahead.
func (c *Conn) Await(idle time.Duration) error {
	if c.r.Buffered() > 0 {
		return c.SetDeadline(time.Now().Add(HandshakeTimeout))
	}
	if err := c.SetDeadline(time.Now().Add(idle)); err != nil {
		return err
	}
	done, watched := make(chan struct{}), make(chan struct{})
	drained := false
	go func() {
		defer close(watched)
		select {
		case <-c.drain:
			drained = true
			// Failing means that the connection is closed, which ends the wait as well.
			_ = c.SetReadDeadline(past)
		case <-done:
		}
	}()
	_, err := c.r.Peek(1)
	close(done)
	<-watched
	if err != nil && drained {
		return ErrDraining
	}
	if err != nil {
		return err
	}
	return c.SetDeadline(time.Now().Add(HandshakeTimeout))
}

// past is a deadline that makes blocked calls return.
var past = time.Unix(1, 0)

// lingerTime and lingerBytes bound how long a client that was turned away is listened to, see linger.
const (
	lingerTime  = time.Second
	lingerBytes = 256 << 10
)

// linger ends the connection so that the last answer arrives: closing while bytes of the client are unread makes the kernel
// send a reset, which takes the answer away from a client that has not read it yet.
func (c *Conn) linger(ctx context.Context) {
	if c.CloseWrite() != nil || c.SetReadDeadline(time.Now().Add(lingerTime)) != nil || ctx.Err() != nil {
		return
	}
	// Whatever ends it, the connection is closed next.
	_, _ = io.CopyN(io.Discard, c, lingerBytes)
}

// replay reads what was read ahead of a TLS handshake before the rest of the connection.
type replay struct {
	net.Conn
	r *bufio.Reader
}

func (c *replay) Read(p []byte) (int, error) { return c.r.Read(p) }

// NetConn is the connection beneath, for splice.Abort.
func (c *replay) NetConn() net.Conn { return c.Conn }
