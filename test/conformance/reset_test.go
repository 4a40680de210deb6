//go:build linux

package conformance

import (
	"crypto/tls"
	"io"
	"net"
	"testing"

	"github.com/postern-dev/postern/test/rig"
)

// readThenReport is a target that answers the first byte with itself, reads on, and tells how that ended: nil at a clean end.
func readThenReport(t *testing.T, ends chan<- error) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		_, err := io.CopyN(c, c, 1)
		if err == nil {
			_, err = io.Copy(io.Discard, c)
		}
		select {
		case ends <- err:
		case <-t.Context().Done():
		}
	}
}

// abortAfterHello is a target that reads a byte, says a word and breaks the connection off.
func abortAfterHello(c *net.TCPConn) {
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		return
	}
	if _, err := io.WriteString(c, "hello"); err != nil {
		return
	}
	// With a linger of 0 the close that follows is a reset. Failing to set it shows as the clean end that no test expects.
	_ = c.SetLinger(0)
}

// abort resets the connection to the proxy.
func abort(t *testing.T, conn *rig.Tunnel) {
	t.Helper()
	inner := conn.Conn
	if secure, ok := inner.(*tls.Conn); ok {
		inner = secure.NetConn()
	}
	tcp, ok := inner.(*net.TCPConn)
	if !ok {
		t.Fatalf("%T is no TCP connection", inner)
	}
	if err := tcp.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	if err := tcp.Close(); err != nil {
		t.Fatal(err)
	}
}
