package webserver_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-dev/postern/internal/gate"
	"github.com/postern-dev/postern/internal/testnet"
	"github.com/postern-dev/postern/internal/webserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running serves until the test ends, over a listener in memory.
type running struct {
	ln     *testnet.Listener
	client *tls.Config
	cancel context.CancelFunc
	ran    chan error
}

func serve(t *testing.T, s *webserver.Server) *running {
	t.Helper()
	r := &running{ln: testnet.Listen(), ran: make(chan error, 1)}
	s.TLS, r.client = testnet.TLS(t)
	ctx, cancel := context.WithCancel(t.Context())
	r.cancel = cancel
	go func() { r.ran <- s.Serve(ctx, r.ln) }()
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return r
}

func (r *running) stop() error {
	r.cancel()
	err := <-r.ran
	r.ran <- err
	return err
}

func (r *running) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := r.ln.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // closed before, most often
	return c
}

// ask sends a request over c and returns the answer with its body read.
func ask(t *testing.T, c net.Conn, head string) (status int, body string) {
	t.Helper()
	if _, err := io.WriteString(c, head); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

const hello = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

// tell answers with what the connection is.
func tell(w http.ResponseWriter, r *http.Request) {
	c := webserver.ConnOf(r)
	fmt.Fprintf(w, "TLS %v %v, private %v", r.TLS != nil, c.TLS() != nil, c.Private())
}

func TestClearTextAndTLSOnOnePort(t *testing.T) {
	r := serve(t, &webserver.Server{Handler: http.HandlerFunc(tell)})
	clear := r.dial(t)
	for range 2 { // the second finds the connection kept alive
		if status, body := ask(t, clear, hello); status != 200 || body != "TLS false false, private true" {
			t.Errorf("in clear: %d %q", status, body)
		}
	}
	secure := tls.Client(r.dial(t), r.client)
	for range 2 {
		if status, body := ask(t, secure, hello); status != 200 || body != "TLS true true, private true" {
			t.Errorf("over TLS: %d %q", status, body)
		}
	}
	if p := secure.ConnectionState().NegotiatedProtocol; p != "" {
		t.Errorf("the protocol %q was negotiated", p)
	}
}

// Whoever speaks something else is answered in nothing but HTTP, if at all, and others do not notice.
func TestOtherProtocols(t *testing.T) {
	r := serve(t, &webserver.Server{Handler: http.HandlerFunc(tell)})
	for _, noise := range []string{
		"SSH-2.0-OpenSSH_9.2\r\n", "\x16\x03\x01\x00\x05hello", "\x16\x16\x16\x16\x16\x16\x16", "\x05\x01\x00", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		strings.Repeat("\x00", 100_000),
	} {
		c := r.dial(t)
		if _, err := io.WriteString(c, noise); err != nil {
			continue // hung up on already
		}
		if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		// A reset is as good an end as any.
		answer, _ := io.ReadAll(c)
		if s := string(answer); s != "" && !strings.HasPrefix(s, "HTTP/1.1 4") && !strings.HasPrefix(s, "HTTP/1.1 505 ") && s[0] != 0x15 || strings.HasPrefix(s, "\x15") && strings.Contains(s, "HTTP") {
			t.Errorf("%.20q was answered with %q", noise, s)
		}
	}
	if status, _ := ask(t, r.dial(t), hello); status != 200 {
		t.Errorf("after that: %d", status)
	}
}

func TestLimitsOfTheHead(t *testing.T) {
	r := serve(t, &webserver.Server{Handler: http.HandlerFunc(tell)})
	for _, c := range []struct {
		name   string
		fields string
		status int
	}{
		{"within both", strings.Repeat("A: b\r\n", 99), 200},
		{"too many fields", strings.Repeat("A: b\r\n", 101), 431},
		{"large", "A: " + strings.Repeat("b", 27<<10) + "\r\n", 200},
		{"too large", "A: " + strings.Repeat("b", 33<<10) + "\r\n", 431},
	} {
		conn := r.dial(t)
		if status, body := ask(t, conn, "GET / HTTP/1.1\r\nHost: x\r\n"+c.fields+"\r\n"); status != c.status {
			t.Errorf("%s: %d %q", c.name, status, body)
		}
	}
}

// However slow a stranger is, and at whatever, 10 s are the end (PROMISES P-14).
func TestSlowStrangersAreHungUpOn(t *testing.T) {
	for name, drops := range map[string]string{
		"silent": "", "slow head": hello[:20], "slow TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := serve(t, &webserver.Server{Handler: http.HandlerFunc(tell)})
				c := r.dial(t)
				start := time.Now()
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					// How it ends does not matter.
					_, _ = io.Copy(io.Discard, c)
				}()
				tick := time.NewTicker(time.Second)
				defer tick.Stop()
				for {
					select {
					case <-ended:
						if took := time.Since(start); took > 10*time.Second {
							t.Errorf("hung up on after %v", took)
						}
						return
					case <-tick.C:
						if drops != "" {
							_, _ = io.WriteString(c, drops[:1]) // fails when we are hung up on
							drops = drops[1:]
						}
					}
				}
			})
		})
	}
}

// A body that does not come and an answer that nobody reads are no reason to wait for ever.
func TestSlowRequestsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errs := make(chan error, 2)
		r := serve(t, &webserver.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				_, err := io.Copy(io.Discard, r.Body)
				errs <- err
				return
			}
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					errs <- err
					return
				}
			}
		})})
		start := time.Now()
		for _, head := range []string{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123", hello} {
			if _, err := io.WriteString(r.dial(t), head); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := <-errs; err == nil {
				t.Error("it ended without an error")
			}
		}
		if took := time.Since(start); took != webserver.Patience {
			t.Errorf("after %v", took)
		}
	})
}

func TestTheGateCountsStrangers(t *testing.T) {
	r := serve(t, &webserver.Server{Gate: &gate.Gate{PerSource: 1}, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		webserver.ConnOf(r).Authenticated()
		webserver.ConnOf(r).Authenticated() // counts once
	})})
	first := r.dial(t)
	second := r.dial(t)
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Error("a second stranger is let in")
	}
	if status, _ := ask(t, first, hello); status != 200 {
		t.Error(status)
	}
	for range 2 { // one more stranger, and the next when that one has left
		c := r.dial(t)
		if status, _ := ask(t, c, hello); status != 200 {
			t.Error(status)
		}
	}
}

// takeOver hijacks the connection, says so, and echoes until it ends.
func takeOver(_ http.ResponseWriter, r *http.Request, w http.Hijacker) error {
	c, rw, err := w.Hijack()
	if err != nil {
		return err
	}
	defer c.Close()
	if _, ok := c.(*webserver.Conn); !ok || webserver.ConnOf(r) != c {
		return fmt.Errorf("what was hijacked is a %T", c)
	}
	if _, err := io.WriteString(c, "taken\n"); err != nil {
		return err
	}
	_, err = io.Copy(struct{ io.Writer }{c}, rw)
	return err
}

// A connection that was taken over has no deadline and outlives the drain; Serve waits for its handler.
func TestServeWaitsForWhoTookAConnectionOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handled := make(chan error, 1)
		r := serve(t, &webserver.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			handled <- takeOver(w, r, w.(http.Hijacker))
		})})
		for _, secure := range []bool{false, true} {
			c := r.dial(t)
			if secure {
				c = tls.Client(c, r.client)
			}
			if _, err := io.WriteString(c, hello+"early\n"); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(c)
			for _, want := range []string{"taken\n", "early\n"} {
				if line, err := lines.ReadString('\n'); line != want || err != nil {
					t.Fatalf("%q, %v", line, err)
				}
			}
			<-time.After(time.Hour)
			if secure {
				r.cancel()
				synctest.Wait()
			}
			if _, err := io.WriteString(c, "late\n"); err != nil {
				t.Fatal(err)
			}
			if line, err := lines.ReadString('\n'); line != "late\n" || err != nil {
				t.Fatalf("%q, %v", line, err)
			}
			select {
			case err := <-r.ran:
				t.Fatalf("Serve has returned %v before the handler", err)
			default:
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if err := <-handled; err != nil {
				t.Error(err)
			}
		}
	})
}

// At the end whoever is answered gets the answer, and everybody else is hung up on at once.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		told := make(chan context.Context, 1)
		r := serve(t, &webserver.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				told <- r.Context()
				<-answer
			}
			_, _ = io.WriteString(w, "here") // the client looks at what arrives
		})})
		idle, fresh, half, slow := r.dial(t), r.dial(t), r.dial(t), r.dial(t)
		ask(t, idle, hello)
		if _, err := io.WriteString(half, hello[:20]); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(slow, strings.Replace(hello, "/", "/slow", 1)); err != nil {
			t.Fatal(err)
		}
		ctx := <-told
		start := time.Now()
		r.cancel()
		for _, c := range []net.Conn{idle, fresh, half} {
			if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
				t.Error("something came")
			}
		}
		<-ctx.Done()
		close(answer)
		text, err := io.ReadAll(slow)
		if !strings.HasSuffix(string(text), "here") || err != nil {
			t.Errorf("%q, %v", text, err)
		}
		if err := r.stop(); err != nil || time.Since(start) > 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestABrokenListenerIsAnError(t *testing.T) {
	handling := make(chan struct{})
	r := serve(t, &webserver.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(handling)
		<-r.Context().Done()
	})})
	if _, err := io.WriteString(r.dial(t), hello); err != nil {
		t.Fatal(err)
	}
	<-handling
	if err := r.ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-r.ran; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
	r.ran <- nil // for the cleanup
}
