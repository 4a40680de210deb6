package connect

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/ingress"
)

var sourceOutside = netip.MustParseAddrPort("192.0.2.7:40000")

// scripted is a target that reads one request to its end, notes it, and answers with fixed bytes.
func scripted(seen chan<- string, answer string) func(postern.Stream) {
	return func(s postern.Stream) {
		defer s.Close()
		r := bufio.NewReader(s)
		var raw strings.Builder
		req, err := http.ReadRequest(bufio.NewReader(io.TeeReader(r, &raw)))
		if err != nil {
			seen <- "error: " + err.Error()
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			seen <- "error: " + err.Error()
			return
		}
		head, _, _ := strings.Cut(raw.String(), "\r\n\r\n")
		seen <- head + "\n\n" + string(body) + trailers(req.Trailer)
		// A client that leaves early is no matter here.
		_, _ = io.WriteString(s, answer)
	}
}

func trailers(h http.Header) string {
	if len(h) == 0 {
		return ""
	}
	return fmt.Sprint(h)
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func TestWhatTheTargetGets(t *testing.T) {
	for _, c := range []struct{ name, request, want string }{
		{
			"a plain GET", "GET http://Example.COM/a%2fb/../c?q=1 HTTP/1.1\r\nHost: other\r\nAccept: x\r\n\r\n",
			"GET /a%2fb/../c?q=1 HTTP/1.1\r\nHost: Example.COM\r\nAccept: x\r\nConnection: close\n\n",
		},
		{"no path", "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\n\n"},
		{"only a query", "GET http://a?x HTTP/1.1\r\nHost: a\r\n\r\n", "GET /?x HTTP/1.1\r\nHost: a\r\nConnection: close\n\n"},
		{"two slashes", "GET http://a//b HTTP/1.1\r\nHost: a\r\n\r\n", "GET //b HTTP/1.1\r\nHost: a\r\nConnection: close\n\n"},
		{"odd characters", "GET http://a/{b}|\"c\" HTTP/1.1\r\nHost: a\r\n\r\n", "GET /{b}|\"c\" HTTP/1.1\r\nHost: a\r\nConnection: close\n\n"},
		{
			"hop-by-hop", "GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: X-One, x-two,host\r\nX-One: 1\r\nX-Two: 2\r\nX-Three: 3\r\n" +
				"Keep-Alive: 5\r\nTE: trailers\r\nTrailer: X\r\nUpgrade: h2\r\nProxy-Connection: keep-alive\r\n" +
				"Proxy-Authorization: Basic eDp5\r\nProxy-Authenticate: Basic\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a\r\nX-Three: 3\r\nConnection: close\n\n",
		},
		{
			"a body", "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
			"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\n\nhello",
		},
		{
			"chunks and trailers",
			"PUT http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Authorization\r\n\r\n5;x\r\nhello\r\n0\r\nX-Sum: 9\r\nAuthorization: a\r\nX-Other: b\r\n\r\n",
			"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nConnection: close\n\nhellomap[X-Sum:[9]]",
		},
		{"another method", "PROPFIND http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "PROPFIND / HTTP/1.1\r\nHost: a\r\nConnection: close\n\n"},
		{"DELETE", "DELETE http://a:8080/x HTTP/1.1\r\nHost: a\r\n\r\n", "DELETE /x HTTP/1.1\r\nHost: a:8080\r\nConnection: close\n\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen := make(chan string, 1)
			p := newProxy(t, Options{Agent: "nas"}, scripted(seen, okAnswer), nil)
			client := p.dial()
			client.send(c.request)
			resp, body := client.response("GET")
			if resp.StatusCode != 200 || body != "ok" {
				t.Errorf("got %d %q", resp.StatusCode, body)
			}
			if diff := cmp.Diff(c.want, <-seen); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheURLNamesTheTarget(t *testing.T) {
	for url, want := range map[string]postern.Target{
		"http://Example.com/":     {Network: postern.TCP, Host: "example.com", Port: 80},
		"http://10.0.0.7:8080/":   {Network: postern.TCP, Host: "10.0.0.7", Port: 8080},
		"http://[::1]:8080/":      {Network: postern.TCP, Host: "::1", Port: 8080},
		"http://web.service/x":    {Network: postern.Service, Host: "web"},
		"HTTP://web.service:99/x": {Network: postern.Service, Host: "web"},
	} {
		seen := make(chan string, 1)
		p := newProxy(t, Options{Agent: "nas"}, scripted(seen, okAnswer), nil)
		client := p.dial()
		client.send("GET " + url + " HTTP/1.1\r\nHost: a\r\n\r\n")
		client.response("GET")
		<-seen
		if got := p.asked(); len(got) != 1 || got[0].Target != want || got[0].Agent != "nas" {
			t.Errorf("%s: asked for %+v, want %v", url, got, want)
		}
	}
}

func TestSeveralRequestsOnOneConnectionThenATunnel(t *testing.T) {
	seen := make(chan string, 10)
	p := newProxy(t, Options{}, scripted(seen, okAnswer), nil)
	client := p.dial()
	client.send("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, _ := client.response("GET"); resp.StatusCode != 407 || resp.Close {
		t.Fatalf("got %d, closing %v", resp.StatusCode, resp.Close)
	}
	for _, agent := range []string{"nas", "nas2"} {
		client.send("POST http://a/" + agent + " HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n" + basic(agent+":secret") + "\r\nabc")
		if resp, body := client.response("POST"); resp.StatusCode != 200 || resp.Close || body != "ok" {
			t.Fatalf("got %d %q, closing %v", resp.StatusCode, body, resp.Close)
		}
		if got := <-seen; !strings.HasPrefix(got, "POST /"+agent+" ") || strings.Contains(got, "Authorization") {
			t.Errorf("the target got %q", got)
		}
	}
	// Two at once.
	get := "GET http://a/ HTTP/1.1\r\nHost: a\r\n" + basic("nas:secret") + "\r\n"
	client.send(get + get)
	for range 2 {
		if _, body := client.response("GET"); body != "ok" {
			t.Fatalf("got %q", body)
		}
	}
	client.send("CONNECT a:1 HTTP/1.1\r\n" + basic("nas:secret") + "\r\n")
	if err := readEstablished(client.r); err != nil {
		t.Fatal(err)
	}
	var agents []postern.AgentID
	for _, ask := range p.asked() {
		agents = append(agents, ask.Agent)
	}
	if diff := cmp.Diff([]postern.AgentID{"nas", "nas2", "nas", "nas", "nas"}, agents); diff != "" {
		t.Error(diff)
	}
	if got := strings.Count(p.logs.String(), "msg=stream"); got < 4 {
		t.Errorf("%d lines in the log for 4 requests:\n%s", got, p.logs)
	}
}

func TestWhatTheClientGets(t *testing.T) {
	for _, c := range []struct {
		name, method, answer, want string
		version                    string
	}{
		{name: "length", answer: "HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nX: y\r\n\r\nok", want: "HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nX: y\r\n\r\nok"},
		{name: "extra bytes", answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\nevil", want: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"},
		{name: "until the end", answer: "HTTP/1.0 200 OK\r\n\r\nall", want: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n0\r\n\r\n"},
		{
			name:   "chunks and trailers",
			answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nall\r\n0\r\nX-Sum: 1\r\nX-Request-Id: evil\r\n\r\n",
			want:   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nall\r\n0\r\nX-Sum: 1\r\n\r\n",
		},
		{
			name:   "hop-by-hop",
			answer: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: X-One\r\nX-One: 1\r\nKeep-Alive: 5\r\nProxy-Authenticate: Basic\r\nUpgrade: h2\r\n\r\n",
			want:   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		},
		{name: "no body", answer: "HTTP/1.1 204 No Content\r\n\r\nevil", want: "HTTP/1.1 204 No Content\r\n\r\n"},
		{name: "304", answer: "HTTP/1.1 304 Not Modified\r\nEtag: \"a\"\r\n\r\n", want: "HTTP/1.1 304 Not Modified\r\nEtag: \"a\"\r\n\r\n"},
		{name: "HEAD", method: "HEAD", answer: "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", want: "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"},
		{
			name: "HTTP/1.0", version: "1.0", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n0\r\n\r\n",
			want: "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall",
		},
		{
			name: "early hints", answer: "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + okAnswer,
			want: "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + okAnswer,
		},
		{
			name: "a flood of hints", answer: strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100) + okAnswer,
			want: strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", maxHints) + okAnswer,
		},
		{name: "no HTTP/1.0 hints", version: "1.0", answer: "HTTP/1.1 103 Early Hints\r\n\r\n" + okAnswer, want: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.method == "" {
				c.method = "GET"
			}
			if c.version == "" {
				c.version = "1.1"
			}
			p := newProxy(t, Options{Agent: "nas"}, scripted(make(chan string, 1), c.answer), nil)
			client := p.dial()
			client.send(c.method + " http://a/ HTTP/" + c.version + "\r\nHost: a\r\n\r\n")
			if err := client.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(client.r)
			if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(c.want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBrokenAnswers(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		want         int // 0: the connection has to fail
	}{
		{"nothing", "", 502},
		{"no HTTP", "SSH-2.0-x\r\n", 502},
		{"half a head", "HTTP/1.1 200 OK\r\nX: ", 502},
		{"an upgrade that nobody wanted", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 502},
		{"a short body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nshor", 0},
		{"a missing last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProxy(t, Options{Agent: "nas"}, scripted(make(chan string, 1), c.answer), nil)
			client := p.dial()
			client.send("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n")
			if c.want == 0 {
				if _, err := io.ReadAll(client.r); err == nil {
					t.Error("a short answer ended cleanly")
				}
				return
			}
			resp, _ := client.response("GET")
			if resp.StatusCode != c.want || !strings.HasPrefix(resp.Header.Get("Proxy-Status"), "target; error=connection_terminated") {
				t.Errorf("got %d %v", resp.StatusCode, resp.Header)
			}
		})
	}
}

func TestFailuresOfForwardingFollowTheTable(t *testing.T) {
	var kind postern.Kind
	p := newProxy(t, Options{Agent: "nas"}, noTarget, func(s *ingress.Server) {
		s.Opener = postern.OpenerFunc(func(context.Context, *postern.Request) (postern.Stream, error) {
			return nil, postern.Errorf(kind, postern.HopAgent, "made up")
		})
	})
	for _, kind = range postern.Kinds() {
		client := p.dial()
		client.send("GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		if err := readRejected(client.r, kind); err != nil {
			t.Errorf("%v: %v", kind, err)
		}
	}
}
