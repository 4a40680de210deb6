package tls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/transport"
)

func TestDialErrors(t *testing.T) {
	addr, client := both(t)
	client.NextProtos = []string{transport.ALPNAgent}
	for _, c := range []struct {
		name   string
		change func(*tls.Config)
		addr   string
		kind   postern.Kind
		says   string
	}{
		{"fine", nil, addr, postern.OK, ""},
		{"not trusted", func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }, addr, postern.Unauthenticated, "--ca"},
		{"another name", func(c *tls.Config) { c.ServerName = "other.example" }, addr, postern.Unauthenticated, "not trusted"},
		{"the pin does not fit", func(c *tls.Config) {
			c.InsecureSkipVerify = true
			c.VerifyConnection = func(tls.ConnectionState) error { return errors.New("another key") }
		}, addr, postern.Unauthenticated, "another key"},
		{"a check with an error of its own", func(c *tls.Config) {
			c.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error {
				return postern.Errorf(postern.Denied, postern.HopRelay, "not this one")
			}
		}, addr, postern.Denied, "not this one"},
		{"another protocol", func(c *tls.Config) { c.NextProtos = []string{"postern-agent/9"} }, addr, postern.Unreachable, "agents port"},
		{"no port", nil, "relay.example.com", postern.BadAddress, "host:port"},
		{"no host", nil, ":4242", postern.BadAddress, "host:port"},
		{"no such port", nil, "127.0.0.1:notaport", postern.BadAddress, "host:port"},
		{"nobody there", nil, unused(t), postern.Refused, "nothing listens"},
		{"no such name", nil, "relay.invalid:4242", postern.NameNotFound, "relay.invalid"},
		{"not TLS", nil, plain(t), postern.Unreachable, "does not speak TLS"},
		{"closes at once", nil, closing(t), postern.Unreachable, "broke the handshake off"},
	} {
		config := client.Clone()
		if c.change != nil {
			c.change(config)
		}
		conn, err := Dialer(transport.DialOptions{TLS: config}).Dial(t.Context(), c.addr)
		if postern.KindOf(err) != c.kind || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v (%v), want %v with %q", c.name, err, postern.KindOf(err), c.kind, c.says)
		}
		if conn != nil {
			_ = conn.CloseWithError(postern.OK, "")
		}
	}
}

func TestAnEndedContextIsTold(t *testing.T) {
	addr := silent(t)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancelLate := context.WithTimeout(t.Context(), 1)
	defer cancelLate()
	for want, ctx := range map[postern.Kind]context.Context{postern.Aborted: cancelled, postern.Timeout: late} {
		_, err := Dialer(transport.DialOptions{TLS: &tls.Config{}}).Dial(ctx, addr)
		if postern.KindOf(err) != want {
			t.Errorf("%v, want %v", err, want)
		}
	}
}

// unused is an address where nothing listens.
func unused(t *testing.T) string {
	ln := listening(t)
	ln.Close()
	return ln.Addr().String()
}

func listening(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// plain answers like an HTTP server.
func plain(t *testing.T) string {
	return serving(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
		_ = c.Close()
	})
}

func closing(t *testing.T) string {
	return serving(t, func(c net.Conn) { _ = c.Close() })
}

func silent(t *testing.T) string {
	ln := listening(t)
	return ln.Addr().String()
}

// serving serves one connection.
func serving(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	ln := listening(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := ln.Accept(); err == nil {
			serve(c)
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return ln.Addr().String()
}
