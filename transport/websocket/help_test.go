package websocket

import (
	"bufio"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/postern-dev/postern/splice"
)

// verify is what crypto/tls does without InsecureSkipVerify.
func verify(config *tls.Config, state tls.ConnectionState) error {
	others := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		others.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: config.RootCAs, DNSName: config.ServerName, Intermediates: others,
	})
	return err
}

// serveEach serves the connections of ln, each in a goroutine, until the test ends.
func serveEach(t *testing.T, ln net.Listener, serve func(net.Conn)) {
	t.Helper()
	var running sync.WaitGroup
	var open []net.Conn
	accepted := make(chan struct{}) // closed when nothing is added to open any more
	go func() {
		defer close(accepted)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			open = append(open, c)
			running.Go(func() {
				defer splice.Abort(c)
				serve(c)
			})
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close() // ends the loop
		<-accepted
		for _, c := range open {
			splice.Abort(c)
		}
		running.Wait()
	})
}

// forward passes the connections of ln on to another address.
func forward(t *testing.T, ln net.Listener, to string) {
	t.Helper()
	serveEach(t, ln, func(in net.Conn) {
		out, err := net.Dial("tcp", to)
		if err != nil {
			t.Error(err)
			return
		}
		var back sync.WaitGroup
		back.Go(func() {
			// Ends with either of the two.
			_, _ = io.Copy(in, out)
			splice.Abort(in)
		})
		_, _ = io.Copy(out, in)
		splice.Abort(out)
		back.Wait()
	})
}

// acceptUpgrade answers the request on c as a server of RFC 6455 §4.2.2 does, byte by byte so that nothing after it is read.
func acceptUpgrade(c net.Conn) error {
	req, err := http.ReadRequest(bufio.NewReaderSize(&single{c}, 16))
	if err != nil {
		return err
	}
	sum := sha1.Sum([]byte(req.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	_, err = fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]), req.Header.Get("Sec-WebSocket-Protocol"))
	return err
}

// single reads a byte at a time.
type single struct{ io.Reader }

func (s *single) Read(p []byte) (int, error) { return s.Reader.Read(p[:1]) }
