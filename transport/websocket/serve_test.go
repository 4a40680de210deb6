package websocket

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/testnet"
	"github.com/postern-dev/postern/internal/webserver"
	"github.com/postern-dev/postern/transport"
)

// request is one for a WebSocket, with some of its lines replaced or, if the replacement is empty, left out.
func request(replace ...string) string {
	text := "GET " + Path + " HTTP/1.1\r\nHost: relay\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: postern-agent.1\r\n\r\n"
	return strings.NewReplacer(replace...).Replace(text)
}

func TestRequestsThatAreRefused(t *testing.T) {
	r := startRelay(t)
	for _, c := range []struct {
		name    string
		request string
		status  int
		says    string
	}{
		{"a page's", request("Upgrade: w", "Origin: https://relay\r\nUpgrade: w"), 403, "Origin"},
		{"a page's without a place", request("Upgrade: w", "Origin: null\r\nUpgrade: w"), 403, "Origin"},
		{"a page's with an empty place", request("Upgrade: w", "Origin:\r\nUpgrade: w"), 403, "Origin"},
		{"a browser's", "GET " + Path + " HTTP/1.1\r\nHost: relay\r\n\r\n", 426, "agents connect here"},
		{"to something else", request("Upgrade: websocket", "Upgrade: h2c"), 426, "agents connect here"},
		{"through a proxy of long ago", request("HTTP/1.1", "HTTP/1.0"), 426, "agents connect here"},
		{"without Connection", request("Connection: keep-alive, Upgrade\r\n", ""), 426, "Connection"},
		{"a later version", request("postern-agent.1", "postern-agent.2"), 400, "postern-agent.1, postern-client.1"},
		{"no protocol", request("Sec-WebSocket-Protocol: postern-agent.1\r\n", ""), 400, "postern-agent.1, postern-client.1"},
		{"the ALPN", request("postern-agent.1", "postern-agent/1"), 400, "postern-agent.1, postern-client.1"},
		{"another version of WebSocket", request("Version: 13", "Version: 8"), 400, "version"},
		{"a short key", request("AAAA==", "=="), 400, "Key"},
		{"a body", request("GET", "POST", "Host: relay", "Host: relay\r\nContent-Length: 0"), 405, "GET"},
		{"below", request(Path, Path+"/x"), 404, ""},
		{"chosen among others", request("postern-agent.1", "chat , postern-agent.2,postern-agent.1"), 101, ""},
	} {
		resp, body := ask(t, r.addr, c.request)
		if resp.StatusCode != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s: %s %q, want %d %s", c.name, resp.Status, body, c.status, c.says)
		}
		if len(resp.Header.Values("Sec-WebSocket-Extensions")) > 0 {
			t.Errorf("%s: extensions %q", c.name, resp.Header.Values("Sec-WebSocket-Extensions"))
		}
	}
}

// ask sends a request and returns the answer; its connection is closed with the test at the latest.
func ask(t *testing.T, addr, request string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // hung up on already, most often
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return resp, ""
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// Whatever is sent in place of a session ends that one connection, and no other notices (PROMISES P-14).
func TestNoiseInsideAWebSocket(t *testing.T) {
	r := startRelay(t)
	near, far := r.dial(t, "http://"+r.addr, r.client)
	masked := func(op byte, payload []byte) []byte {
		head := frameHead(op, len(payload))
		head[1] |= 0x80
		return append(append(head, 0, 0, 0, 0), payload...)
	}
	for name, sent := range map[string][]byte{
		"no mask":                  frame(opBinary, []byte("x")),
		"text":                     masked(opText, []byte("hello")),
		"too large":                masked(opBinary, make([]byte, maxReceived+1)),
		"neither TLS nor frames":   masked(opBinary, bytes.Repeat([]byte("noise"), 100)),
		"a TLS record of nonsense": masked(opBinary, append([]byte{0x16, 3, 1, 1, 0}, make([]byte, 256)...)),
		"a closed one":             masked(opClose, nil),
		"a reserved opcode":        masked(0xb, nil),
		"a continued nothing":      masked(0, []byte("x")),
	} {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		// It may be hung up on while it writes.
		_, _ = io.WriteString(conn, request())
		_, _ = conn.Write(sent)
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, context.DeadlineExceeded) || err != nil && postern.KindOf(err) == postern.Timeout {
			t.Errorf("%s: the connection lives on", name)
		}
		_ = conn.Close()
		for len(r.conns) > 0 {
			<-r.conns // it looked like a session for a moment
		}
	}
	s, err := far.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := near.AcceptStream(t.Context()); err != nil {
		t.Errorf("the session beside them: %v", err)
	}
}

// elsewhere are connections that seem to come from another machine.
type elsewhere struct{ net.Listener }

func (l elsewhere) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &foreign{c}, err
}

type foreign struct{ net.Conn }

func (*foreign) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 4711} }

// A proxy that has the relay's own certificate takes TLS off, and the session comes in clear. From another machine it is let in only
// where the operator says so.
func TestSessionsInClear(t *testing.T) {
	certificate, roots := testnet.Certificate(t)
	server := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13}
	client := &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: []string{transport.ALPNAgent}}
	for _, c := range []struct {
		name      string
		listener  func(net.Listener) net.Listener
		cleartext bool
		want      postern.Kind // how the session ends
	}{
		{"from this machine", func(ln net.Listener) net.Listener { return ln }, false, postern.OK},
		{"from another", func(ln net.Listener) net.Listener { return elsewhere{ln} }, false, postern.Denied},
		{"from another, which is allowed", func(ln net.Listener) net.Listener { return elsewhere{ln} }, true, postern.OK},
	} {
		t.Run(c.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var log lockedBuffer
			web := New(transport.WebOptions{
				TLS: server, Cleartext: c.cleartext, Log: slog.New(slog.NewTextHandler(&log, nil)),
				Accept: map[string]transport.Accept{transport.ALPNAgent: {Handle: func(_ context.Context, c transport.Conn, _ func()) {
					_ = c.CloseWithError(postern.OK, "welcome") // always nil
				}}},
			})
			serve(t, c.listener(ln), web)
			conn, err := Dialer(transport.DialOptions{TLS: client}).Dial(t.Context(), "https://"+terminate(t, certificate, ln.Addr().String()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.CloseWithError(postern.OK, "")
			if _, err = conn.AcceptStream(t.Context()); postern.KindOf(err) != c.want {
				t.Errorf("%v, want %s", err, c.want)
			}
			if told := strings.Contains(log.String(), "cleartext"); told != (c.want == postern.Denied) {
				t.Errorf("the log says %q", log.String())
			}
		})
	}
}

// serve serves web at Path until the test ends.
func serve(t *testing.T, ln net.Listener, web transport.Web) {
	t.Helper()
	routes := http.NewServeMux()
	routes.Handle(Path, web)
	ctx, cancel := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error { return (&webserver.Server{Handler: routes}).Serve(ctx, ln) })
	g.Go(func() error { return web.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A session that does not begin is hung up on in time.
func TestAWebSocketThatSaysNothing(t *testing.T) {
	t.Parallel()
	r := startRelay(t)
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprint(conn, request()); err != nil {
		t.Fatal(err)
	}
	limit := transport.StrangerTimeout + 3*time.Second
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); postern.KindOf(err) == postern.Timeout {
		t.Errorf("it is kept for more than %v", limit)
	}
}
