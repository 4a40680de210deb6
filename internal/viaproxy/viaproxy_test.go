package viaproxy

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/ingress/connect"
	"github.com/postern-dev/postern/ingress/socks5"
	"github.com/postern-dev/postern/internal/testnet"
	"github.com/postern-dev/postern/splice"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func from(environ map[string]string) func(string) string {
	return func(name string) string { return environ[name] }
}

func TestWhichProxyLeadsWhere(t *testing.T) {
	const relay = "relay.example.com:443"
	for _, c := range []struct {
		name    string
		said    string
		environ map[string]string
		scheme  string
		addr    string
		want    string // "": none
	}{
		{name: "nothing is said"},
		{name: "said", said: "http://p:3128", want: "http://p:3128"},
		{name: "said without a scheme", said: "p:3128", want: "http://p:3128"},
		{name: "said without a port", said: "socks5://p", want: "socks5://p:1080"},
		{name: "as desktops write it", environ: map[string]string{"all_proxy": "socks://p:7891/"}, want: "socks5://p:7891"},
		{name: "said is stronger", said: "http://p:1", environ: map[string]string{"HTTPS_PROXY": "http://q:2", "NO_PROXY": "*"}, want: "http://p:1"},
		{name: "off is stronger", said: "off", environ: map[string]string{"HTTPS_PROXY": "http://q:2"}},
		{name: "https", environ: map[string]string{"HTTPS_PROXY": "http://q:2", "HTTP_PROXY": "http://r:3", "ALL_PROXY": "socks5://s:4"}, want: "http://q:2"},
		{name: "http", scheme: "http", environ: map[string]string{"HTTPS_PROXY": "http://q:2", "http_proxy": "http://r:3"}, want: "http://r:3"},
		{name: "the other scheme only", environ: map[string]string{"HTTP_PROXY": "http://r:3"}},
		{name: "all", environ: map[string]string{"ALL_PROXY": "socks5h://s:4"}, want: "socks5h://s:4"},
		{name: "lower case first", environ: map[string]string{"https_proxy": "http://l:1", "HTTPS_PROXY": "http://u:2"}, want: "http://l:1"},
		{name: "not for all", environ: map[string]string{"ALL_PROXY": "http://q:2", "NO_PROXY": "*"}},
		{name: "not below a name", environ: map[string]string{"ALL_PROXY": "http://q:2", "NO_PROXY": "corp, .Example.COM"}},
		{name: "not for a name", environ: map[string]string{"ALL_PROXY": "http://q:2", "no_proxy": "relay.example.com"}},
		{name: "a name that only ends so", environ: map[string]string{"ALL_PROXY": "http://q:2", "NO_PROXY": "ay.example.com"}, want: "http://q:2"},
		{name: "a port", environ: map[string]string{"ALL_PROXY": "http://q:2", "NO_PROXY": "example.com:443"}},
		{name: "another port", environ: map[string]string{"ALL_PROXY": "http://q:2", "NO_PROXY": "example.com:444"}, want: "http://q:2"},
		{name: "a CIDR", addr: "10.1.2.3:443", environ: map[string]string{"ALL_PROXY": "http://q:2", "NO_PROXY": "10.0.0.0/8"}},
		{name: "an address", addr: "[::1]:443", environ: map[string]string{"ALL_PROXY": "http://q:2", "NO_PROXY": "::1"}},
		{name: "another address", addr: "10.1.2.3:443", environ: map[string]string{"ALL_PROXY": "http://q:2", "NO_PROXY": "10.1.2.4"}, want: "http://q:2"},
		{name: "loopback is as good as others", addr: "127.0.0.1:443", environ: map[string]string{"ALL_PROXY": "http://q:2"}, want: "http://q:2"},
	} {
		p, err := New(c.said, from(c.environ))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got := ""
		if u := p.For(cmp.Or(c.scheme, "https"), cmp.Or(c.addr, relay)); u != nil {
			got = u.String()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if p.Always() != (c.said != "" && c.said != Off) {
			t.Errorf("%s: Always is %v", c.name, p.Always())
		}
	}
}

func TestWhatIsNoProxy(t *testing.T) {
	for said, want := range map[string]string{
		"ftp://p:1":                "ftp is not a kind",
		"http://":                  "names no host",
		"http://me:secret@p/x":     "more than a host",
		"http://me:1#secret@p":     "more than a host",
		"http://me:sec%ret@p:3128": "%40 for an @",
		"http://p:port":            "not the URL of a proxy",
	} {
		_, err := New(said, nil)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %s", said, err, want)
		}
		_, err = New("", from(map[string]string{"https_proxy": said}))
		if err == nil || !strings.HasPrefix(err.Error(), "https_proxy: ") {
			t.Errorf("%s in the environment: %v", said, err)
		}
	}
}

func TestRedacted(t *testing.T) {
	for s, want := range map[string]string{
		"http://me:secret@p:1": "http://me:xxxxx@p:1",
		"socks5://p":           "socks5://p:1080",
		"me:sec%ret@p":         "(not a proxy)",
	} {
		if got := Redacted(s); got != want {
			t.Errorf("%s is shown as %s, want %s", s, got, want)
		}
	}
}

// password lets one user in.
type password struct{}

func (password) Verify(_ context.Context, c auth.Credential) (*postern.Identity, error) {
	if c.Secret != "s:e@cret" {
		return nil, postern.Errorf(postern.Unauthenticated, postern.HopRelay, "no")
	}
	return &postern.Identity{Subject: "me", Agents: []string{"me"}}, nil
}

// proxy runs one of Postern's own, with an echo behind whatever is asked for, and returns its address.
func proxy(t *testing.T, server *ingress.Server) (addr string, asked <-chan string) {
	t.Helper()
	targets := make(chan string, 16)
	server.Opener = postern.OpenerFunc(func(_ context.Context, req *postern.Request) (postern.Stream, error) {
		targets <- req.Target.Address()
		if req.Target.Port == 1 {
			return nil, postern.Errorf(postern.Denied, postern.HopRelay, "no")
		}
		near, far := testnet.Pipe()
		go func() {
			// Ends with the stream.
			_, _ = io.Copy(far, far)
			_ = far.Close()
		}()
		return near, nil
	})
	ln := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String(), targets
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() }) // closed by its server, most often
	return ln
}

func TestThroughPosternsOwnProxies(t *testing.T) {
	server, client := testnet.TLS(t)
	open := func(p ingress.Protocol) *ingress.Server { return &ingress.Server{Protocol: p, TLS: server} }
	closed := func(p ingress.Protocol) *ingress.Server {
		return &ingress.Server{Protocol: p, TLS: server, Auth: password{}}
	}
	me := postern.AgentID("me")
	for _, c := range []struct {
		name   string
		server *ingress.Server
		prefix string
		says   string // of the error; "": it works
	}{
		{"CONNECT", open(connect.New(connect.Options{Agent: me})), "http://", ""},
		{"CONNECT over TLS", open(connect.New(connect.Options{Agent: me})), "https://", ""},
		{"CONNECT with a password", closed(connect.New(connect.Options{})), "http://me:s%3Ae%40cret@", ""},
		{"CONNECT without it", closed(connect.New(connect.Options{})), "http://", "407 Proxy Authentication Required\"; give user and password"},
		{"CONNECT with another", closed(connect.New(connect.Options{})), "http://me:x@", "not the right ones"},
		{"SOCKS5", open(socks5.New(socks5.Options{Agent: me})), "socks5://", ""},
		{"SOCKS5, spelled as curl does", open(socks5.New(socks5.Options{Agent: me})), "socks5h://", ""},
		{"SOCKS5 with a password that is not wanted", open(socks5.New(socks5.Options{Agent: me})), "socks5://a:b@", ""},
		{"SOCKS5 with a password", closed(socks5.New(socks5.Options{})), "socks5://me:s%3Ae%40cret@", ""},
		{"SOCKS5 without it", closed(socks5.New(socks5.Options{})), "socks5://", "give user and password"},
		{"SOCKS5 with another", closed(socks5.New(socks5.Options{})), "socks5://me:x@", "not the right ones"},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr, asked := proxy(t, c.server)
			if strings.HasPrefix(c.prefix, "https") {
				addr = strings.Replace(addr, "127.0.0.1", "localhost", 1)
			}
			p, err := New(c.prefix+addr, nil)
			if err != nil {
				t.Fatal(err)
			}
			p.roots = client.RootCAs
			for _, target := range []string{"relay.example.com:4242", "192.0.2.7:443", "[2001:db8::7]:443"} {
				conn, err := p.Dial(t.Context(), "https", target)
				if c.says != "" {
					if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), addr) {
						t.Errorf("%v, want the proxy's address and %s", err, c.says)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := <-asked; got != target {
					t.Errorf("the proxy was asked for %s, not %s", got, target)
				}
				echo(t, conn)
			}
			if c.says != "" {
				return
			}
			if _, err := p.Dial(t.Context(), "https", "relay.example.com:1"); err == nil || !strings.Contains(err.Error(), "it answers") {
				t.Errorf("a target that the proxy does not allow: %v", err)
			}
		})
	}
}

func echo(t *testing.T, conn net.Conn) {
	t.Helper()
	defer splice.Abort(conn)
	buf := make([]byte, 5)
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, buf); err != nil || string(buf) != "hello" {
		t.Errorf("%q, %v", buf, err)
	}
}

// broken is a proxy that gives one answer to whatever it is asked, and hangs up unless silent.
func broken(t *testing.T, answer string) string {
	t.Helper()
	ln := listen(t)
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = ln.Close() // ends the goroutine
		<-done
	})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			// The client looks at what it gets, and hangs up.
			_, _ = io.WriteString(c, answer)
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}()
	return ln.Addr().String()
}

func TestAnswersOfBrokenProxies(t *testing.T) {
	for _, c := range []struct{ scheme, answer, says string }{
		{"http", "", "is it an HTTP proxy?"},
		{"http", "SSH-2.0-x\r\n", "is it an HTTP proxy?"},
		{"http", "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno\n", `it answers "403 Forbidden"`},
		{"http", "HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM x\r\n\r\n", "takes Negotiate, NTLM only"},
		{"http", "HTTP/1.1 200 OK\r\n\r\nSSH-2.0", "nobody has asked for"},
		{"http", "HTTP/1.1 200 " + strings.Repeat("x", maxAnswer), "cannot be read"},
		{"https", "HTTP/1.1 200 OK\r\n\r\n", "no TLS with the proxy"},
		{"socks5", "", "is it a SOCKS5 proxy?"},
		{"socks5", "HTTP/1.1 400 Bad Request\r\n\r\n", "is it an HTTP proxy?"},
		{"socks5", "\x05\xff", "it wants to know who we are"},
		{"socks5", "\x05\x01", "neither nobody in particular"},
		{"socks5", "\x05\x00", "without an answer"},
		{"socks5", "\x05\x00\x05\x02\x00\x01", "not allowed by its rules"},
		{"socks5", "\x05\x00\x05\x63\x00\x01", "failure 99"},
		{"socks5", "\x05\x00\x04\x00\x00\x01", "not of SOCKS5"},
		{"socks5", "\x05\x00\x05\x00\x00\x09", "no known type"},
		{"socks5", "\x05\x00\x05\x00\x00\x03\x04abc", "EOF"},
	} {
		addr := broken(t, c.answer)
		p, err := New(c.scheme+"://"+addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := p.Dial(t.Context(), "https", "relay.example.com:443")
		if err == nil {
			splice.Abort(conn)
		}
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), addr) {
			t.Errorf("%s answers %.40q: %v, want %s", c.scheme, c.answer, err, c.says)
		}
	}
}

func TestAProxyThatIsNotThere(t *testing.T) {
	ln := listen(t)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	p, err := New("http://me:secret@"+ln.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Dial(t.Context(), "https", "relay.example.com:443")
	if err == nil || !strings.Contains(err.Error(), "the proxy itself cannot be reached") || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

func TestASilentProxyIsGivenUp(t *testing.T) {
	ln := listen(t) // the kernel accepts, nobody answers
	for _, scheme := range []string{"http", "https", "socks5"} {
		p, err := New(scheme+"://"+ln.Addr().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err = p.Dial(ctx, "https", "relay.example.com:443")
		cancel()
		if failed, ok := errors.AsType[*Error](err); !ok || !failed.Timeout || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", scheme, err)
		}
	}
}

// An address with line breaks must not become fields of the request.
func TestAnAddressIsNoRequest(t *testing.T) {
	p, err := New("http://"+broken(t, "HTTP/1.1 200 OK\r\n\r\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Dial(t.Context(), "https", "a\r\nX-Y: z:443"); err == nil || !strings.Contains(err.Error(), "do not have") {
		t.Error(err)
	}
}

// FuzzAnswers: no answer of a proxy makes us panic or take more than it may have.
func FuzzAnswers(f *testing.F) {
	f.Add(false, []byte("HTTP/1.1 200 OK\r\n\r\n"))
	f.Add(true, []byte("\x05\x02\x01\x00\x05\x00\x00\x03\x04abcd\x00\x50"))
	f.Add(true, []byte("\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x50more"))
	f.Fuzz(func(t *testing.T, five bool, answer []byte) {
		near, far := testnet.Pipe()
		defer near.Close()
		if _, err := far.Write(answer); err != nil || far.Close() != nil {
			t.Fatal(err)
		}
		u, err := Parse("socks5://me:secret@p")
		if err != nil {
			t.Fatal(err)
		}
		if !five {
			// It has read no more than one buffer beyond the head; the outcome is of no interest.
			_ = askHTTP(near, u.User, "relay.example.com:443")
			return
		}
		if askSocks(near, u.User, "relay.example.com:443") != nil {
			return
		}
		rest, err := io.ReadAll(near)
		if err != nil || len(rest) > len(answer)-10 {
			t.Errorf("%d of %d bytes are left, %v", len(rest), len(answer), err)
		}
	})
}
