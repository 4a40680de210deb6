package websocket

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/testnet"
	"github.com/postern-dev/postern/transport"
)

// relay is a listener of the transport that holds every connection until it ends.
type relay struct {
	addr   string
	client *tls.Config // trusts it
	conns  chan transport.Conn
}

func startRelay(t *testing.T) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: ln.Addr().String(), conns: make(chan transport.Conn, 16)}
	server, client := testnet.TLS(t)
	r.client = client
	r.client.NextProtos = []string{transport.ALPNAgent}
	hold := transport.Accept{Handle: func(ctx context.Context, c transport.Conn, _ func()) {
		r.conns <- c
		<-ctx.Done()
		_ = c.CloseWithError(postern.Draining, "") // always nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	listener := Listen(transport.ListenOptions{TCP: ln, TLS: server, Accept: map[string]transport.Accept{
		transport.ALPNAgent: hold, transport.ALPNClient: hold,
	}})
	go func() { ran <- listener.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

// dial connects and returns both ends.
func (r *relay) dial(t *testing.T, url string, config *tls.Config) (near, far transport.Conn) {
	t.Helper()
	near, err := Dialer(transport.DialOptions{TLS: config}).Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = near.CloseWithError(postern.OK, "") }) // always nil
	return near, <-r.conns
}

// pinned trusts whoever has the relay's certificate, as a pin does.
func (r *relay) pinned() *tls.Config {
	c := r.client.Clone()
	roots, name := c.RootCAs, c.ServerName
	c.RootCAs, c.ServerName, c.InsecureSkipVerify = nil, "", true
	c.VerifyConnection = func(state tls.ConnectionState) error {
		trusted := &tls.Config{RootCAs: roots, ServerName: name}
		return verify(trusted, state)
	}
	return c
}

func TestBothRolesCome(t *testing.T) {
	r := startRelay(t)
	for _, alpn := range []string{transport.ALPNAgent, transport.ALPNClient} {
		r.client.NextProtos = []string{alpn}
		for _, scheme := range []string{"https", "http"} {
			near, far := r.dial(t, scheme+"://"+r.addr, r.client)
			for _, c := range []transport.Conn{near, far} {
				if i := c.Info(); i.Transport != Name || i.ALPN != alpn || i.TLS == nil || i.TLS.Version != tls.VersionTLS13 {
					t.Errorf("%s, %s: %+v", alpn, scheme, i)
				}
			}
		}
	}
}

// TLS runs inside wherever the TLS outside does not prove the relay as the trust given asks (DESIGN D5).
func TestWhenTLSRunsInside(t *testing.T) {
	r := startRelay(t)
	other, _ := testnet.Certificate(t)
	for _, c := range []struct {
		name   string
		url    string
		config *tls.Config
		inside bool
	}{
		{"clear outside", "http://" + r.addr, r.client, true},
		{"clear outside, pinned", "http://" + r.addr, r.pinned(), true},
		{"the relay's own TLS outside", "https://" + r.addr, r.client, false},
		{"the relay's own TLS outside, pinned", "https://" + r.addr, r.pinned(), false},
		{"somebody else's TLS outside", "https://" + terminate(t, other, r.addr), r.client, true},
		{"somebody else's TLS outside, pinned", "https://" + terminate(t, other, r.addr), r.pinned(), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			near, far := r.dial(t, c.url, c.config)
			if got := near.Info().TLS.NegotiatedProtocol == transport.ALPNAgent; got != c.inside {
				t.Errorf("TLS inside: %v", got)
			}
			// What proves the relay is what the far end took part in.
			if a, b := near.Info().TLS, far.Info().TLS; exported(t, a) != exported(t, b) {
				t.Error("the ends are not those of one TLS session")
			}
		})
	}
}

func exported(t *testing.T, state *tls.ConnectionState) string {
	t.Helper()
	key, err := state.ExportKeyingMaterial("test", nil, 16)
	if err != nil {
		t.Fatal(err)
	}
	return string(key)
}

// A middle that speaks for the relay, at whatever layer, is found out.
func TestSomebodyInTheMiddle(t *testing.T) {
	r := startRelay(t)
	impostor := startRelay(t) // another relay, with a CA of its own
	other, _ := testnet.Certificate(t)
	for name, url := range map[string]string{
		"clear":               "http://" + impostor.addr,
		"its own certificate": "https://" + impostor.addr,
		"another one before":  "https://" + terminate(t, other, impostor.addr),
	} {
		for trust, config := range map[string]*tls.Config{"ca": r.client, "pin": r.pinned()} {
			_, err := Dialer(transport.DialOptions{TLS: config}).Dial(t.Context(), url)
			if postern.KindOf(err) != postern.Unauthenticated {
				t.Errorf("%s, %s: %v", name, trust, err)
			}
		}
	}
	// Whoever trusts all that the machine trusts wants proof inside, from a relay that has it.
	system := &tls.Config{NextProtos: []string{transport.ALPNAgent}}
	_, err := Dialer(transport.DialOptions{TLS: system}).Dial(t.Context(), "https://"+r.addr)
	if postern.KindOf(err) != postern.Unauthenticated || !strings.Contains(err.Error(), "--pin") {
		t.Errorf("a certificate that the machine does not know: %v", err)
	}
}

// terminate is what stands before many relays: it takes TLS off and passes the bytes on.
func terminate(t *testing.T, certificate tls.Certificate, to string) string {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	forward(t, ln, to)
	return ln.Addr().String()
}

func TestDialErrors(t *testing.T) {
	answers := func(status int, head, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if name, value, ok := strings.Cut(head, ": "); ok {
				w.Header().Set(name, value)
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body) // the client looks at what arrives
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	r := startRelay(t)
	_, trust := testnet.TLS(t)
	trust.NextProtos = []string{transport.ALPNAgent}
	for _, c := range []struct {
		name string
		url  string
		kind postern.Kind
		says string
	}{
		{"not there", answers(404, "", "<html>no</html>"), postern.Unreachable, `/agent/v1 answers "404 Not Found"; is it the web listener`},
		{"a reason", answers(400, "", "no such protocol\nmore"), postern.Unreachable, `"400 Bad Request" (no such protocol)`},
		{"a reason that is none for people", answers(400, "", "\x1b[31m"), postern.Unreachable, `"400 Bad Request"`},
		{"somewhere else", answers(302, "Location: https://other.example/", ""), postern.Unreachable, "it leads to \"https://other.example/\""},
		{"no Upgrade", answers(426, "", ""), postern.Unreachable, "proxy_http_version 1.1"},
		{"a gateway without a relay", answers(502, "", ""), postern.Unreachable, "the relay behind it does not answer"},
		{"a proxy that wants to know us", answers(407, "", ""), postern.Unreachable, "--proxy http://USER"},
		{"a page", answers(200, "", "welcome"), postern.Unreachable, `"200 OK" (welcome)`},
		{"no web server", "http://" + noise(t, "SSH-2.0-x\r\n"), postern.Unreachable, "is no web server"},
		{"an endless head", "http://" + noise(t, "HTTP/1.1 101 "+strings.Repeat("x", 70<<10)), postern.Unreachable, "too long"},
		{"no TLS", "https://" + noise(t, "HTTP/1.1 400 Bad Request\r\n\r\n"), postern.Unreachable, "web listener?"},
		{"an upgrade to something", "http://" + noise(t, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"), postern.Unreachable, "is no relay"},
		{"nobody", "http://" + closed.Addr().String(), postern.Refused, "is this its web listener?"},
		{"no such name", "https://relay.invalid/", postern.NameNotFound, "relay.invalid"},
		{"no URL", "ftp://x/", postern.BadAddress, "ftp://x/"},
		{"a password", "https://me:secret@x/", postern.BadAddress, "user or a password"},
		{"below a path", "http://" + r.addr + "/elsewhere", postern.Unreachable, `/elsewhere/agent/v1 answers "404`},
	} {
		_, err := Dialer(transport.DialOptions{TLS: trust}).Dial(t.Context(), c.url)
		if postern.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: kind %q (%v), want %q with %q", c.name, postern.KindOf(err), err, c.kind, c.says)
		}
	}
}

// noise answers whoever comes with the same bytes.
func noise(t *testing.T, text string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveEach(t, ln, func(c net.Conn) {
		// The client looks at what it gets, and hangs up.
		_, _ = io.WriteString(c, text)
		_, _ = io.Copy(io.Discard, c)
	})
	return ln.Addr().String()
}

// Whoever gives up gets out, at whatever the far end is silent.
func TestGivingUp(t *testing.T) {
	r := startRelay(t)
	for name, url := range map[string]string{
		"silent before TLS":     "https://" + noise(t, ""),
		"silent before Upgrade": "http://" + noise(t, ""),
		"silent in its answer":  "http://" + noise(t, "HTTP/1.1 101 Switching Protocols\r\n"),
		"silent inside":         "http://" + upgrader(t),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := Dialer(transport.DialOptions{TLS: r.client}).Dial(ctx, url)
		cancel()
		if postern.KindOf(err) != postern.Timeout || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		if _, err = Dialer(transport.DialOptions{TLS: r.client}).Dial(ctx, url); !errors.Is(err, context.Canceled) {
			t.Errorf("%s, cancelled: %v", name, err)
		}
	}
}

// upgrader upgrades whoever comes, and says no more.
func upgrader(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveEach(t, ln, func(c net.Conn) {
		if acceptUpgrade(c) == nil {
			_, _ = io.Copy(io.Discard, c) // until the client hangs up
		}
	})
	return ln.Addr().String()
}

// A relay that speaks a later version refuses with what it speaks.
func TestAnotherVersion(t *testing.T) {
	r := startRelay(t)
	r.client.NextProtos = []string{"postern-agent/2"}
	_, err := Dialer(transport.DialOptions{TLS: r.client}).Dial(t.Context(), "https://"+r.addr)
	if postern.KindOf(err) != postern.Unreachable || !strings.Contains(fmt.Sprint(err), "postern-agent.1, postern-client.1") {
		t.Errorf("%v", err)
	}
}
