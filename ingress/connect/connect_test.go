package connect

import (
	"bufio"
	"context"
	"encoding/json"
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

	"github.com/google/go-cmp/cmp"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/internal/testnet"
)

// proxy is a server for one test, in memory.
type proxy struct {
	t      *testing.T
	server *ingress.Server
	ln     *testnet.Listener
	logs   *logs

	mu   sync.Mutex // guards what follows
	asks []postern.Request
}

// logs collects what the server logs.
type logs struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// newProxy serves until the test ends. handle is the target: it gets one end of every stream, and owns it.
func newProxy(t *testing.T, o Options, handle func(postern.Stream), adjust func(*ingress.Server)) *proxy {
	t.Helper()
	p := &proxy{t: t, ln: testnet.Listen(), logs: &logs{}}
	var targets sync.WaitGroup
	p.server = &ingress.Server{Protocol: New(o), Auth: onePassword{}, Log: slog.New(slog.NewTextHandler(p.logs, nil))}
	if o.Agent != "" {
		p.server.Auth = nil
	}
	p.server.Opener = postern.OpenerFunc(func(_ context.Context, req *postern.Request) (postern.Stream, error) {
		p.mu.Lock()
		p.asks = append(p.asks, *req)
		p.mu.Unlock()
		near, far := testnet.Pipe()
		targets.Go(func() { handle(far) })
		return near, nil
	})
	if adjust != nil {
		adjust(p.server)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- p.server.Serve(ctx, p.ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		targets.Wait()
	})
	return p
}

func (p *proxy) asked() []postern.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]postern.Request(nil), p.asks...)
}

// conn is a client's connection with its read-ahead.
type conn struct {
	postern.Stream
	t *testing.T
	r *bufio.Reader
}

func (p *proxy) dial() *conn {
	p.t.Helper()
	s, err := p.ln.Dial(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = s.Close() }) // the test may have closed it
	if err := s.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		p.t.Fatal(err)
	}
	return &conn{s, p.t, bufio.NewReader(s)}
}

func (c *conn) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatalf("sending: %v", err)
	}
}

// response reads one response with its body.
func (c *conn) response(method string) (*http.Response, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("reading the response: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("reading the body: %v", err)
	}
	return resp, string(body)
}

func (c *conn) wantClosed() {
	c.t.Helper()
	if n, err := c.r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		c.t.Errorf("read %d bytes, %v; want the end of the connection", n, err)
	}
}

func noTarget(s postern.Stream) { s.Abort(postern.Aborted) }

func TestMalformedRequestsGetA400AndAHint(t *testing.T) {
	good := basic("nas:secret")
	for _, c := range []struct{ name, request, hint string }{
		{"no port", "CONNECT example.com HTTP/1.1\r\n" + good + "\r\n", "CONNECT example.com:443"},
		{"empty port", "CONNECT example.com: HTTP/1.1\r\n" + good + "\r\n", "port"},
		{"port 0", "CONNECT example.com:0 HTTP/1.1\r\n" + good + "\r\n", "port"},
		{"port too high", "CONNECT example.com:65536 HTTP/1.1\r\n" + good + "\r\n", "65535"},
		{"a URL", "CONNECT http://example.com:80 HTTP/1.1\r\n" + good + "\r\n", "host:port"},
		{"a URL without a port", "CONNECT http://example.com HTTP/1.1\r\n" + good + "\r\n", ""},
		{"empty host", "CONNECT :443 HTTP/1.1\r\n" + good + "\r\n", "empty"},
		{"octal address", "CONNECT 0177.1:443 HTTP/1.1\r\n" + good + "\r\n", "0177.1"},
		{"zone", "CONNECT [fe80::1%25eth0]:22 HTTP/1.1\r\n" + good + "\r\n", ""},
		{"body", "CONNECT a:1 HTTP/1.1\r\nContent-Length: 5\r\n" + good + "\r\nhello", "body"},
		{"two credentials", "CONNECT a:1 HTTP/1.1\r\n" + good + good + "\r\n", "more than one Proxy-Authorization"},
		{"origin form", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "this is a proxy"},
		{"asterisk form", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "this is a proxy"},
		{"https", "GET https://a/ HTTP/1.1\r\nHost: a\r\n" + good + "\r\n", "CONNECT"},
		{"ftp", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n" + good + "\r\n", "CONNECT"},
		{"fragment", "GET http://a/#b HTTP/1.1\r\nHost: a\r\n" + good + "\r\n", "fragment"},
		{"no host in the URL", "GET http:///a HTTP/1.1\r\nHost: a\r\n" + good + "\r\n", ""},
		{"preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1"},
		{"smuggling", "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n" + good + "\r\n", "both"},
		{"TLS", "\x16\x03\x01\x00\x05hello", "TLS"},
		{"SSH", "SSH-2.0-OpenSSH_9.9\r\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProxy(t, Options{}, noTarget, nil)
			client := p.dial()
			client.send(c.request)
			resp, body := client.response("GET")
			if resp.StatusCode != 400 || !strings.Contains(body, c.hint) || !resp.Close {
				t.Errorf("got %d %q, want 400 with %q", resp.StatusCode, body, c.hint)
			}
			if strings.Count(body, "\n") != 1 {
				t.Errorf("the hint is not one line: %q", body)
			}
			client.wantClosed()
			if len(p.asked()) != 0 {
				t.Error("a stream was opened for it")
			}
		})
	}
}

func TestStrangersLearnNothing(t *testing.T) {
	p := newProxy(t, Options{}, noTarget, func(s *ingress.Server) {
		s.Opener = postern.OpenerFunc(func(context.Context, *postern.Request) (postern.Stream, error) {
			return nil, postern.Errorf(postern.NoSuchAgent, postern.HopRelay, "")
		})
	})
	var first string
	for _, credential := range []string{
		"", basic("nas:wrong"), basic("nobody:wrong"), basic("me+nobody:wrong"), basic("not an id:secret"), basic("nas"),
		"Proxy-Authorization: Basic !!!\r\n", "Proxy-Authorization: Bearer secret\r\n",
	} {
		client := p.dial()
		client.send("CONNECT 10.0.0.1:22 HTTP/1.1\r\n" + credential + "\r\n")
		resp, body := client.response("CONNECT")
		trace := resp.Header.Get("X-Request-Id")
		resp.Header.Del("X-Request-Id")
		got := fmt.Sprint(resp.StatusCode, resp.Header, strings.ReplaceAll(body, trace, "TRACE"))
		if first == "" {
			first = got
		}
		if got != first || resp.StatusCode != 407 || resp.Header.Get("Proxy-Authenticate") != `Basic realm="postern"` {
			t.Errorf("%q: got %s\nwant %s", credential, got, first)
		}
	}
	if log := p.logs.String(); log != "" {
		t.Errorf("strangers fill the log: %s", log)
	}
}

func TestAfterA407TheClientMayTryAgain(t *testing.T) {
	p := newProxy(t, Options{}, echo, nil)
	client := p.dial()
	for range 2 {
		client.send("CONNECT a:1 HTTP/1.1\r\n\r\n")
		if resp, _ := client.response("GET"); resp.StatusCode != 407 || resp.Close {
			t.Fatalf("got %d, closing %v", resp.StatusCode, resp.Close)
		}
	}
	client.send("CONNECT a:1 HTTP/1.1\r\n" + basic("me+nas:secret") + "\r\n")
	if err := readEstablished(client.r); err != nil {
		t.Fatal(err)
	}
	want := postern.Request{Agent: "nas", Target: postern.Target{Network: postern.TCP, Host: "a", Port: 1}}
	got := p.asked()
	if len(got) != 1 || got[0].Agent != want.Agent || got[0].Target != want.Target || got[0].Identity.Subject != "me+nas" || len(got[0].Trace) != 16 || !got[0].Client.IsValid() {
		t.Errorf("asked for %+v", got)
	}
}

func TestTriesAreBounded(t *testing.T) {
	p := newProxy(t, Options{}, noTarget, nil)
	client := p.dial()
	for i := range maxTries {
		client.send("CONNECT a:1 HTTP/1.1\r\n" + basic("nas:guess") + "\r\n")
		if resp, _ := client.response("GET"); resp.StatusCode != 407 || resp.Close != (i == maxTries-1) {
			t.Fatalf("try %d: got %d, closing %v", i, resp.StatusCode, resp.Close)
		}
	}
	client.wantClosed()
}

func TestBytesForATunnelThatFailedAreNoRequest(t *testing.T) {
	p := newProxy(t, Options{}, noTarget, nil)
	client := p.dial()
	client.send("CONNECT a:1 HTTP/1.1\r\n\r\nGET http://a/ HTTP/1.1\r\nHost: a\r\n" + basic("nas:secret") + "\r\n")
	if resp, _ := client.response("GET"); resp.StatusCode != 407 || !resp.Close {
		t.Fatalf("got %d, closing %v", resp.StatusCode, resp.Close)
	}
	client.wantClosed()
	if len(p.asked()) != 0 {
		t.Error("what was meant for a tunnel was served as a request")
	}
}

func TestHTTP10MayConnect(t *testing.T) {
	p := newProxy(t, Options{}, echo, nil)
	client := p.dial()
	client.send("CONNECT web.service:80 HTTP/1.0\r\n" + basic("nas:secret") + "\r\nping")
	if err := readEstablished(client.r); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(client.r, got); err != nil || string(got) != "ping" {
		t.Errorf("got %q, %v", got, err)
	}
	if target := p.asked()[0].Target; target != (postern.Target{Network: postern.Service, Host: "web"}) {
		t.Errorf("asked for %v", target)
	}
}

func TestCredentialsInClearAreRefusedBeforeTheyAreAskedFor(t *testing.T) {
	far := net.TCPAddrFromAddrPort(sourceOutside)
	for _, c := range []struct {
		name      string
		cleartext bool
		want      int
	}{{"refused", false, 403}, {"allowed", true, 407}} {
		t.Run(c.name, func(t *testing.T) {
			p := newProxy(t, Options{}, noTarget, func(s *ingress.Server) { s.Cleartext = c.cleartext })
			s, err := p.ln.DialFrom(t.Context(), far)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			client := &conn{s, t, bufio.NewReader(s)}
			client.send("CONNECT a:1 HTTP/1.1\r\n\r\n")
			resp, body := client.response("GET")
			if resp.StatusCode != c.want || c.want == 403 && !strings.Contains(body, "TLS") {
				t.Errorf("got %d %q", resp.StatusCode, body)
			}
		})
	}
}

func TestFailureByAccept(t *testing.T) {
	p := newProxy(t, Options{Agent: "nas"}, noTarget, func(s *ingress.Server) {
		s.Opener = postern.OpenerFunc(func(context.Context, *postern.Request) (postern.Stream, error) {
			return nil, &postern.Error{Kind: postern.Refused, Hop: postern.HopTarget, Detail: "10.0.0.7:22 <refused> \"it\"\r\n", Err: errors.New("the inner cause")}
		})
	})
	for _, c := range []struct{ accept, contentType, want string }{
		{"", "text/plain; charset=utf-8", "postern: 10.0.0.7:22 <refused> \"it\"   (at the target, request id "},
		{"*/*", "text/plain; charset=utf-8", "postern: "},
		{"text/html,application/xhtml+xml;q=0.9", "text/html; charset=utf-8", "&lt;refused&gt;"},
		{"application/json", "application/problem+json", `"status":502`},
	} {
		client := p.dial()
		client.send("CONNECT 10.0.0.7:22 HTTP/1.1\r\nAccept: " + c.accept + "\r\n\r\n")
		resp, body := client.response("GET")
		if resp.StatusCode != 502 || resp.Header.Get("Content-Type") != c.contentType || !strings.Contains(body, c.want) {
			t.Errorf("Accept %q: got %d %v %q", c.accept, resp.StatusCode, resp.Header, body)
		}
		if strings.Contains(body, "inner cause") {
			t.Error("the cause is told to the client")
		}
		if got, want := resp.Header.Get("Proxy-Status"), `target; error=connection_refused; details="10.0.0.7:22 <refused> \"it\"??"`; got != want {
			t.Errorf("Proxy-Status %s, want %s", got, want)
		}
		if c.contentType == "application/problem+json" {
			var problem map[string]any
			if err := json.Unmarshal([]byte(body), &problem); err != nil || problem["hop"] != "target" {
				t.Errorf("%v, %v", problem, err)
			}
		}
		if resp.Header.Get("Server") != "" || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("headers %v", resp.Header)
		}
	}
}

func TestAHopFromTheWireIsNotRepeated(t *testing.T) {
	err := &postern.Error{Kind: postern.Denied, Hop: "agent\r\nX-Evil: 1"}
	if hop := hopOf(err); hop != postern.HopRelay {
		t.Errorf("got %q", hop)
	}
}

func TestBasicAuth(t *testing.T) {
	for field, want := range map[string][]string{
		"Basic bmFzOnNlY3JldA==": {"nas", "secret"},
		"basic bmFzOmE6Yg==":     {"nas", "a:b"},
		"Basic bmFz":             nil,
		"Basic":                  nil,
		"":                       nil,
	} {
		user, secret, ok := basicAuth(field)
		var got []string
		if ok {
			got = []string{user, secret}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", field, diff)
		}
	}
}

// echo is a target that sends back what it gets.
func echo(s postern.Stream) {
	// What ends it shows at the client.
	_, _ = io.Copy(s, s)
	_ = s.Close()
}
