package webserver

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-dev/postern/internal/bulkio"
)

// Conn is a client's connection: clear, or TLS from the first byte on. Handlers that take a connection over get it from Hijack.
type Conn struct {
	net.Conn // what the client is connected by
	listener *guarded
	leave    func() // the gate's
	closing  sync.Once

	begun     bool            // bytes were read; the reader's own
	secure    *bulkio.Secured // the client speaks TLS; set before the first byte of a request is returned
	broken    atomic.Bool     // the handshake has failed
	answering atomic.Bool     // a handler is at work, or its answer is being written
	taken     atomic.Bool     // a handler has taken it over
}

// handshakeRecord begins a TLS hello (RFC 8446 §5.1), and no HTTP request.
const handshakeRecord = 0x16

// Read reads what the client sends, under TLS if that is how it begins: the first Read finds out, and does the handshake within the
// time for the head.
func (c *Conn) Read(p []byte) (int, error) {
	if c.secure != nil {
		return c.secure.Read(p)
	}
	n, err := c.Conn.Read(p)
	if c.begun || n == 0 {
		return n, err
	}
	c.begun = true
	if p[0] != handshakeRecord || c.listener.tls == nil {
		return n, err
	}
	if err := c.handshake(bytes.Clone(p[:n])); err != nil {
		c.listener.log.Debug("handshake failed", "remote", c.RemoteAddr(), "error", err)
		c.broken.Store(true)
		return 0, err
	}
	return c.secure.Read(p)
}

// handshake does the TLS handshake of a client that began with hello. The server has set the deadline for reading.
func (c *Conn) handshake(hello []byte) error {
	secure := tls.Server(bulkio.New(c.Conn, hello...), c.listener.tls)
	if err := c.Conn.SetWriteDeadline(time.Now().Add(HeadTimeout)); err != nil {
		return err
	}
	if err := secure.Handshake(); err != nil {
		return err
	}
	c.secure = bulkio.Secure(secure)
	return c.Conn.SetWriteDeadline(time.Time{})
}

// Write writes to the client.
func (c *Conn) Write(p []byte) (int, error) {
	switch {
	case c.broken.Load():
		// net/http would answer in clear what was asked in TLS.
		return 0, net.ErrClosed
	case c.secure != nil:
		return c.secure.Write(p)
	}
	return c.Conn.Write(p)
}

// CloseWrite sends close_notify (TLS) or FIN (TCP).
func (c *Conn) CloseWrite() error {
	if c.secure != nil {
		return c.secure.CloseWrite()
	}
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close ends the connection. Idempotent.
func (c *Conn) Close() (err error) {
	c.closing.Do(func() {
		if c.secure != nil {
			err = c.secure.Close()
		} else {
			err = c.Conn.Close()
		}
		c.gone()
	})
	return err
}

// hangUp ends the connection from outside, while its own goroutine may be anywhere.
func (c *Conn) hangUp() {
	c.closing.Do(func() {
		_ = c.Conn.Close() // nothing was exchanged that could be lost
		c.gone()
	})
}

func (c *Conn) gone() {
	c.leave()
	c.listener.left(c)
}

// NetConn returns the connection beneath, for splice.Abort.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// TLS is the state of the client's TLS, nil in clear.
func (c *Conn) TLS() *tls.ConnectionState {
	if c.secure == nil {
		return nil
	}
	state := c.secure.ConnectionState()
	return &state
}

// Private reports whether nobody can listen in on the way to this server: TLS, loopback, or a socket of this machine.
func (c *Conn) Private() bool {
	if c.secure != nil {
		return true
	}
	remote, ok := c.RemoteAddr().(interface{ AddrPort() netip.AddrPort })
	return !ok || remote.AddrPort().Addr().IsLoopback()
}

// Authenticated says that the client is no stranger any more. Idempotent.
func (c *Conn) Authenticated() { c.leave() }

// state follows net/http.
func (c *Conn) state(s http.ConnState) {
	switch s {
	case http.StateIdle:
		c.answering.Store(false)
	case http.StateHijacked:
		c.taken.Store(true)
	case http.StateClosed:
		c.listener.open.Done()
	case http.StateNew, http.StateActive:
	}
}

// over is called when a handler has returned.
func (c *Conn) over() {
	if c.taken.Load() {
		// The handler has ended it, cleanly or not; this is for one that failed to, and for the records.
		c.hangUp()
		c.listener.open.Done()
	}
}
