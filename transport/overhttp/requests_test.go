package overhttp_test

import (
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/postern-dev/postern/internal/testnet"
	"github.com/postern-dev/postern/internal/viaproxy"
	"github.com/postern-dev/postern/transport"
	"github.com/postern-dev/postern/transport/overhttp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// requests sends one to u and returns what sent it, with the answer.
func requests(t *testing.T, u string, opts transport.DialOptions) (*overhttp.Requests, string) {
	t.Helper()
	web, err := transport.ParseWeb(u)
	if err != nil {
		t.Fatal(err)
	}
	r := overhttp.NewRequests(web, opts)
	t.Cleanup(r.CloseIdleConnections)
	answer, err := ask(t, r, u)
	if err != nil {
		t.Fatal(err)
	}
	return r, answer
}

func ask(t *testing.T, r *overhttp.Requests, u string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := r.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body), nil
}

// speaking serves TLS with the certificate that current holds.
func speaking(t *testing.T, current *atomic.Pointer[tls.Certificate]) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello") // the client looks at what arrives
	}))
	s.TLS = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return current.Load(), nil }}
	// httptest adds a certificate of its own, for those who name no server.
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

// Once the relay has proved itself outside, no other connection may lead to somebody else.
func TestRequestsStayWithWhoHasProvedItself(t *testing.T) {
	own, roots := testnet.Certificate(t)
	other, _ := testnet.Certificate(t)
	trust := transport.DialOptions{TLS: &tls.Config{RootCAs: roots, ServerName: "localhost"}}
	var current atomic.Pointer[tls.Certificate]
	url := speaking(t, &current)
	for _, c := range []struct {
		name   string
		first  *tls.Certificate
		proved bool
		then   *tls.Certificate
		fails  bool
	}{
		{"the relay, and the relay", &own, true, &own, false},
		{"the relay, and somebody else", &own, true, &other, true},
		{"somebody else, and the relay", &other, false, &own, false},
		{"somebody else twice", &other, false, &other, false},
	} {
		current.Store(c.first)
		r, answer := requests(t, url, trust)
		if state, proved := r.Outer(); proved != c.proved || state == nil || answer != "hello" {
			t.Errorf("%s: proved %v, %v, %q", c.name, proved, state, answer)
		}
		r.CloseIdleConnections()
		current.Store(c.then)
		if _, err := ask(t, r, url); (err != nil) != c.fails {
			t.Errorf("%s: then %v", c.name, err)
		}
	}
}

// An HTTP proxy gets requests in clear as they are, with the credentials that it wants, and is asked to connect for others.
func TestRequestsThroughProxies(t *testing.T) {
	asked := make(chan string, 16)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Method + " " + r.RequestURI + " " + r.Header.Get("Proxy-Authorization")
		if r.Method == http.MethodConnect {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, "from the proxy") // the client looks at what arrives
	}))
	t.Cleanup(proxy.Close)
	proxies, err := viaproxy.New(strings.Replace(proxy.URL, "://", "://me:secret@", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	opts := transport.DialOptions{TLS: &tls.Config{}, Proxies: proxies}
	credentials := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:secret"))

	r, answer := requests(t, "http://relay.example.com/agent/", opts)
	if got := <-asked; answer != "from the proxy" || got != "GET http://relay.example.com/agent/ "+credentials {
		t.Errorf("%q was asked, %q answered", got, answer)
	}
	if state, proved := r.Outer(); state != nil || proved {
		t.Error("clear text has proved something")
	}

	web, err := transport.ParseWeb("https://relay.example.com/")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ask(t, overhttp.NewRequests(web, opts), web.String()); err == nil || !strings.Contains(err.Error(), "403 Forbidden") || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
	if got := <-asked; got != "CONNECT relay.example.com:443 "+credentials {
		t.Errorf("%q was asked", got)
	}
}

// Without a proxy, or with one that only connects, the server itself is asked.
func TestRequestsGoToTheServer(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.RequestURI) // the client looks at what arrives
	}))
	t.Cleanup(s.Close)
	if _, answer := requests(t, s.URL+"/x/", transport.DialOptions{TLS: &tls.Config{}}); answer != "/x/" {
		t.Errorf("%q", answer)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	proxies, err := viaproxy.New("socks5://"+ln.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	web, err := transport.ParseWeb(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	_, err = ask(t, overhttp.NewRequests(web, transport.DialOptions{TLS: &tls.Config{}, Proxies: proxies}), s.URL)
	if err == nil || !strings.Contains(err.Error(), "socks5://") {
		t.Errorf("a SOCKS5 proxy that is not there: %v", err)
	}
}
