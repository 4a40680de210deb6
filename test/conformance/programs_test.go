//go:build linux

package conformance

import (
	"bufio"
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/postern-dev/postern/test/rig"
)

func TestSocatThroughProxy(t *testing.T) {
	target := rig.Counter(t)
	overEachTransport(t, func(t *testing.T, b *bed) {
		host, port, err := net.SplitHostPort(b.client.Proxy)
		if err != nil {
			t.Fatal(err)
		}
		address := "PROXY:" + host + ":" + target + ",proxyport=" + port + ",proxyauth=" + b.client.User + ":" + b.client.Secret
		r := rig.RunInput(t, short, strings.NewReader("twelve bytes"), rig.Program(t, "socat"), "-t", "20", "STDIO", address)
		r.MustSucceed(t, "socat")
		if r.Stdout != "GOT 12\n" {
			t.Errorf("got %q", r.Stdout)
		}
	})
}

// runNC reads what the server at addr says first.
func runNC(t *testing.T, addr string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return rig.Run(t, short, rig.Program(t, "nc"), "-N", "-w", "10", host, port).Stdout
}

// TestConnectIsAPipe runs postern connect by itself: half-close through stdin and stdout.
func TestConnectIsAPipe(t *testing.T) {
	counter, banner := rig.Counter(t), rig.Banner(t, "hello\n")
	overEachTransport(t, func(t *testing.T, b *bed) {
		connect := func(target, input string) rig.Result {
			args := append(append([]string{"connect"}, b.access(t)...), agentID, target)
			return rig.RunInput(t, short, strings.NewReader(input), rig.Binary(t), args...)
		}
		if r := connect(counter, "twelve bytes"); r.Code != 0 || r.Stdout != "GOT 12\n" {
			t.Errorf("exit code %d, %q %q", r.Code, r.Stdout, r.Stderr)
		}
		if r := connect(banner, ""); r.Code != 0 || r.Stdout != "hello\n" {
			t.Errorf("exit code %d, %q %q", r.Code, r.Stdout, r.Stderr)
		}
	})
}

// TestConnectEndsWithTheAnswer asks for a page of HTTP/1.0 time and again, with an input that ends and with one that stays open: when the
// target has said everything, postern connect is over.
func TestConnectEndsWithTheAnswer(t *testing.T) {
	const answer = "HTTP/1.0 200 OK\r\n\r\nthe page\n"
	page := rig.Serve(t, func(c *net.TCPConn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, err = io.WriteString(c, answer)
			if err != nil {
				t.Error(err)
			}
		}
	})
	overEachTransport(t, func(t *testing.T, b *bed) {
		args := append(append([]string{"connect"}, b.access(t)...), agentID, page)
		for i := range 40 {
			input, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, "GET / HTTP/1.0\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				_ = w.Close() // nothing was lost: the pipe has room for what was written
			}
			r := rig.RunInput(t, 10*time.Second, input, rig.Binary(t), args...)
			if r.Code != 0 || r.Stdout != answer {
				t.Errorf("run %d: exit code %d after %v, %q %q", i, r.Code, r.Took, r.Stdout, r.Stderr)
			}
			_ = w.Close() // it may be closed already
			_ = input.Close()
		}
	})
}

// TestWebSocketEcho goes through the proxy as a forwarded request (ws) and through CONNECT (by postern forward http too).
func TestWebSocketEcho(t *testing.T) {
	web := rig.Web(t)
	overEachTransport(t, func(t *testing.T, b *bed) {
		proxy := b.client.URL()
		t.Run("absolute form", func(t *testing.T) {
			webSocketEcho(t, web.URL, &http.Transport{Proxy: http.ProxyURL(proxy)})
		})
		t.Run("CONNECT", func(t *testing.T) {
			webSocketEcho(t, web.URL, &http.Transport{DialContext: func(_ context.Context, _, addr string) (net.Conn, error) {
				conn, answer, err := b.client.Connect(addr, nil)
				if conn == nil {
					t.Errorf("CONNECT %s: %v, %v", addr, answer, err)
					return nil, err
				}
				return conn, nil
			}})
		})
	})
}

func webSocketEcho(t *testing.T, site string, transport *http.Transport) {
	t.Helper()
	defer transport.CloseIdleConnections()
	u, err := url.Parse(site)
	if err != nil {
		t.Fatal(err)
	}
	u.Scheme, u.Path = "ws", "/websocket"
	ctx := t.Context()
	c, _, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }() // closed below, unless the test has failed
	c.SetReadLimit(-1)
	timer := time.AfterFunc(within, func() { _ = c.CloseNow() })
	defer timer.Stop()
	for _, size := range []int{0, 1, 125, 126, 70000, 4 << 20} {
		message := make([]byte, size)
		if _, err := rand.Read(message); err != nil {
			t.Fatal(err)
		}
		if err := c.Write(ctx, websocket.MessageBinary, message); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		_, got, err := c.Read(ctx)
		if err != nil || string(got) != string(message) {
			t.Fatalf("%d bytes came back as %d, %v", size, len(got), err)
		}
	}
	if err := c.Close(websocket.StatusNormalClosure, "done"); err != nil {
		t.Errorf("the closing handshake: %v", err)
	}
}
