package splice

import (
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"syscall"

	"github.com/postern-dev/postern"
)

// Stream makes a postern.Stream of a connection: TCP, unix, TLS over either, or anything with CloseWrite. A
// connection without CloseWrite cannot half-close, so its CloseWrite closes it.
// A connection that is a Stream already is returned as it is.
func Stream(c net.Conn) postern.Stream {
	if s, ok := c.(postern.Stream); ok {
		return s
	}
	return &connStream{Conn: c}
}

type connStream struct {
	net.Conn
	fin atomic.Bool // CloseWrite was called
}

// Read tells a reset from a clean end even where the system does not: it reports a reset once, and if a concurrent Write was
// told, the next Read sees an end like any other.
func (s *connStream) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	// The state first: a CloseWrite between the two would turn an end into what looks like a reset.
	if err == io.EOF && wasReset(s.Conn) && !s.fin.Load() {
		err = &postern.Error{Kind: postern.Aborted, Detail: "the connection was reset", Err: syscall.ECONNRESET}
	}
	return n, err
}

// CloseWrite sends FIN (TCP) or close_notify (TLS).
func (s *connStream) CloseWrite() error {
	s.fin.Store(true)
	if c, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return s.Conn.Close()
}

// Abort makes TCP send RST. It goes beneath TLS, whose Close would send a close_notify that looks like a clean end.
func (s *connStream) Abort(postern.Kind) {
	Abort(s.Conn)
}

// Close ends the connection cleanly, whatever a Join has prepared it for.
func (s *connStream) Close() error {
	ResetOnExit(s.Conn, false)
	return s.Conn.Close()
}

// NetConn returns the connection itself, for those who look for a descriptor.
func (s *connStream) NetConn() net.Conn { return s.Conn }

// Abort breaks c off so that its far end sees a failure: RST on TCP, an end without close_notify on TLS.
func Abort(c net.Conn) {
	for {
		switch inner := c.(type) {
		case *tls.Conn:
			c = inner.NetConn()
		case interface{ SetLinger(int) error }:
			// Failing to set it means that the socket is closed already.
			_ = inner.SetLinger(0)
			_ = c.Close()
			return
		case interface{ NetConn() net.Conn }:
			c = inner.NetConn()
		case postern.Stream:
			inner.Abort(postern.Aborted)
			return
		default:
			_ = c.Close()
			return
		}
	}
}

// ResetOnExit makes the system reset a TCP connection, instead of ending it cleanly, when it is closed without being ended: that is
// what happens to it when the process is killed. A client that reads until the end must not take half a file for a whole one.
// Whoever switches it on switches it off before a clean Close; a Stream's Close does that by itself.
func ResetOnExit(c net.Conn, on bool) {
	for {
		switch inner := c.(type) {
		case *net.TCPConn:
			seconds := -1 // the system's usual way: send what is left, then FIN
			if on {
				seconds = 0
			}
			// A connection that is closed already needs neither.
			_ = inner.SetLinger(seconds)
			return
		case interface{ NetConn() net.Conn }:
			c = inner.NetConn()
		default:
			return
		}
	}
}
