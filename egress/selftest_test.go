package egress

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern"
)

func openSelftest(t testing.TB) (*Egress, postern.Stream) {
	t.Helper()
	e := newEgress(t, Options{Selftest: true, Version: "1.2.3"})
	stream, err := e.Open(t.Context(), service("selftest"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stream.Close() })
	return e, stream
}

// pattern is what source sends.
func pattern(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return string(b)
}

func TestSelftestCommands(t *testing.T) {
	big := pattern(1 << 20)
	for _, c := range []struct {
		name, send string
		want       string // a beginning with "error:" is compared as a beginning
		kind       postern.Kind
	}{
		{"echo", "echo\nhello\nworld", "hello\nworld", postern.OK},
		{"echo after CRLF", "echo\r\nhello", "hello", postern.OK},
		{"echo of nothing", "echo\n", "", postern.OK},
		{"echo without a line end", "echo", "", postern.OK},
		{"echo of much", "echo\n" + big, big, postern.OK},
		{"discard", "discard\n12345", "5\n", postern.OK},
		{"discard much", "discard\n" + big, "1048576\n", postern.OK},
		{"source", "source 700\n", pattern(700), postern.OK},
		{"source of much, with bytes nobody asked for", "source 1048576\nblabla", big, postern.OK},
		{"source of nothing", "source 0\n", "", postern.OK},
		{"delay", "delay 1ms\nx", "x", postern.OK},
		{"abort", "abort\n", "", postern.Aborted},
		{"abort later", "abort 1000\n", pattern(1000), postern.Aborted},
		{"abort much later", "abort 1048576\n", big, postern.Aborted},
		{"source without a number", "source\n", "error:", postern.OK},
		{"source of less than nothing", "source -1\n", "error:", postern.OK},
		{"source of words", "source ten\n", "error:", postern.OK},
		{"delay of words", "delay soon\n", "error:", postern.OK},
		{"delay into the past", "delay -1s\n", "error:", postern.OK},
		{"delay of years", "delay 9999h\n", "error:", postern.OK},
		{"unknown", "reboot now\n", "error:", postern.OK},
		{"too many words", "source 1 2\n", "error:", postern.OK},
		{"echo with an argument", "echo x\n", "error:", postern.OK},
		{"an empty line", "\n", "error:", postern.OK},
		{"nothing", "", "error:", postern.OK},
		{"an endless line", strings.Repeat("x", 10000) + "\n", "error:", postern.OK},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, stream := openSelftest(t)
			go func() {
				_, _ = io.WriteString(stream, c.send)
				_ = stream.CloseWrite()
			}()
			got, err := io.ReadAll(stream)
			if postern.KindOf(err) != c.kind {
				t.Errorf("it ended with %v, want %v", err, c.kind)
			}
			if c.want == "error:" {
				if !strings.HasPrefix(string(got), c.want) || strings.Count(string(got), "\n") != 1 {
					t.Errorf("got %.100q", got)
				}
			} else if string(got) != c.want {
				t.Errorf("got %d bytes %.100q, want %d bytes", len(got), got, len(c.want))
			}
		})
	}
}

func TestSelftestEchoesWhileTheClientWrites(t *testing.T) {
	_, stream := openSelftest(t)
	if _, err := io.WriteString(stream, "echo\n"); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		want := fmt.Sprintf("ping %d", i)
		if _, err := io.WriteString(stream, want); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(stream, got); err != nil || string(got) != want {
			t.Fatalf("got %q and %v", got, err)
		}
	}
}

func TestSelftestStatus(t *testing.T) {
	_, stream := openSelftest(t)
	if _, err := io.WriteString(stream, "status\n"); err != nil {
		t.Fatal(err)
	}
	checkStatus(t, stream)
}

func checkStatus(t *testing.T, r io.Reader) {
	t.Helper()
	line, err := io.ReadAll(r)
	if err != nil || bytes.Count(line, []byte("\n")) != 1 {
		t.Fatalf("got %q and %v", line, err)
	}
	var status struct {
		Version    string
		Uptime     *int64 `json:"uptime_seconds"`
		Goroutines int
	}
	if err := json.Unmarshal(line, &status); err != nil || status.Version != "1.2.3" || status.Uptime == nil || status.Goroutines < 1 {
		t.Errorf("got %s and %v", line, err)
	}
}

func TestSelftestDelayWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, stream := openSelftest(t)
		start := time.Now()
		if _, err := io.WriteString(stream, "delay 90s\nx"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(stream, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 90*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// The goroutine of a stream ends with the stream, whatever it is doing.
func TestSelftestEndsWithItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, send := range []string{"", "ec", "echo\nx", "discard\n", "source 99999999999\n", "delay 1h\n", "GET /delay?for=1h HTTP/1.1\r\nHost: x\r\n\r\n", "GET /source?bytes=99999999999 HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HT"} {
			for name, end := range map[string]func(postern.Stream){
				"close": func(s postern.Stream) { _ = s.Close() },
				"abort": func(s postern.Stream) { s.Abort(postern.Aborted) },
			} {
				e, stream := openSelftest(t)
				if _, err := io.WriteString(stream, send); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				end(stream)
				start := time.Now()
				e.selftest.running.Wait()
				if took := time.Since(start); took != 0 {
					t.Errorf("%q, %s: the server lived for %v more", send, name, took)
				}
			}
		}
	})
}

func TestCloseEndsTheSelftest(t *testing.T) {
	for _, send := range []string{"", "echo\n", "delay 1h\n", "source 99999999999\n", "GET /delay?for=1h HTTP/1.1\r\nHost: x\r\n\r\n"} {
		e, stream := openSelftest(t)
		if _, err := io.WriteString(stream, send); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.Copy(io.Discard, stream); postern.KindOf(err) != postern.Draining {
			t.Errorf("%q: the stream ended with %v", send, err)
		}
		if _, err := e.Open(t.Context(), service("selftest")); postern.KindOf(err) != postern.Draining {
			t.Errorf("a new stream: %v", err)
		}
	}
}

func TestRulesOfTheRequestHoldForTheSelftest(t *testing.T) {
	e := newEgress(t, Options{Selftest: true})
	req := service("selftest")
	req.Allow = [][]string{{"web.service"}}
	if _, err := e.Open(t.Context(), req); postern.KindOf(err) != postern.Denied {
		t.Errorf("got %v", err)
	}
}

// httpClient speaks to the selftest over as many streams as it wants.
func httpClient(t *testing.T) *http.Client {
	t.Helper()
	e := newEgress(t, Options{Selftest: true, Version: "1.2.3"})
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return e.Open(ctx, service("selftest"))
		},
		ExpectContinueTimeout: time.Minute,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestSelftestOverHTTP(t *testing.T) {
	client := httpClient(t)
	big := pattern(1 << 20)
	for _, c := range []struct {
		name, method, path, body string
		chunked, expect          bool
		status                   int
		want                     string // "*": anything
	}{
		{"echo", "POST", "/echo", "hello", false, false, 200, "hello"},
		{"echo of nothing", "GET", "/echo", "", false, false, 200, ""},
		{"echo of much", "PUT", "/echo", big, false, false, 200, big},
		{"echo in chunks", "POST", "/echo", big, true, false, 200, big},
		{"echo after 100 Continue", "POST", "/echo", big, false, true, 200, big},
		{"discard", "POST", "/discard", "12345", false, false, 200, "5\n"},
		{"discard chunks", "POST", "/discard", big, true, true, 200, "1048576\n"},
		{"source", "GET", "/source?bytes=1048576", "", false, false, 200, big},
		{"source with a body nobody reads", "POST", "/source?bytes=700", big, true, false, 200, pattern(700)},
		{"head of source", "HEAD", "/source?bytes=700", "", false, false, 200, ""},
		{"source without a number", "GET", "/source", "", false, false, 400, "*"},
		{"delay", "POST", "/delay?for=1ms", "x", false, false, 200, "x"},
		{"delay of words", "GET", "/delay?for=x", "", false, false, 400, "*"},
		{"abort of words", "GET", "/abort?bytes=x", "", false, false, 400, "*"},
		{"unknown", "GET", "/", "", false, false, 404, "*"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var body io.Reader = strings.NewReader(c.body)
			if c.chunked {
				body = io.MultiReader(body) // hides the length
			}
			req, err := http.NewRequestWithContext(t.Context(), c.method, "http://selftest.service"+c.path, body)
			if err != nil {
				t.Fatal(err)
			}
			if c.expect {
				req.Header.Set("Expect", "100-continue")
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			got, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != c.status || c.want != "*" && string(got) != c.want {
				t.Errorf("got %d, %d bytes %.60q and %v", resp.StatusCode, len(got), got, err)
			}
		})
	}
	t.Run("status", func(t *testing.T) {
		resp, err := client.Get("http://selftest.service/status")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		checkStatus(t, resp.Body)
	})
	t.Run("abort", func(t *testing.T) {
		resp, err := client.Get("http://selftest.service/abort?bytes=1000")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if got, err := io.ReadAll(resp.Body); err == nil || string(got) != pattern(1000) {
			t.Errorf("got %d bytes and %v", len(got), err)
		}
		if _, err := client.Get("http://selftest.service/abort"); err == nil {
			t.Error("abort has an answer")
		}
	})
}

func TestSelftestHTTPAnswersWhatIsNoRequest(t *testing.T) {
	for send, want := range map[string]string{
		"GET /status HTTP/1.0\r\n\r\n": "HTTP/1.0 200 OK",
		"GET http://selftest.service/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n": "HTTP/1.1 200 OK",
		"GET /status HTTP/1.1\r\nbad header\r\n\r\n":                                          "HTTP/1.1 400 Bad Request",
		"GET /status HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 64<<10):                "HTTP/1.1 431 Request Header Fields Too Large",
	} {
		_, stream := openSelftest(t)
		var running sync.WaitGroup
		running.Go(func() {
			_, _ = io.WriteString(stream, send)
			_ = stream.CloseWrite()
		})
		got, err := io.ReadAll(stream)
		running.Wait()
		if err != nil || !strings.HasPrefix(string(got), want) {
			t.Errorf("%.60q: got %.200q and %v", send, got, err)
		}
	}
}

func TestSelftestHTTPKeepsConnections(t *testing.T) {
	_, stream := openSelftest(t)
	const request = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
	if _, err := io.WriteString(stream, strings.Repeat(request, 3)); err != nil {
		t.Fatal(err)
	}
	_ = stream.CloseWrite()
	got, err := io.ReadAll(stream)
	if err != nil || strings.Count(string(got), "HTTP/1.1 200 OK") != 3 || strings.Count(string(got), "\r\n\r\nhi") != 3 {
		t.Errorf("got %q and %v", got, err)
	}
}

// FuzzSelftest: whatever a client sends, its stream ends, and so does the server.
func FuzzSelftest(f *testing.F) {
	for _, s := range []string{"echo\nx", "source 10\n", "abort 5\n", "discard", "GET /echo HTTP/1.1\r\n\r\n", "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "GET /abort?bytes=3 HTTP/1.1\r\nHost: x\r\n\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		if bytes.Contains(bytes.ToLower(sent), []byte("delay")) || bytes.Contains(sent, []byte("9")) {
			return // these may rightly take long
		}
		e, stream := openSelftest(t)
		if err := stream.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		var running sync.WaitGroup
		running.Go(func() {
			_, _ = stream.Write(sent)
			_ = stream.CloseWrite()
		})
		_, err := io.CopyN(io.Discard, stream, 1<<20)
		if err != nil && !errors.Is(err, io.EOF) && postern.KindOf(err) != postern.Aborted {
			t.Errorf("it ended with %v", err)
		}
		_ = stream.Close()
		running.Wait()
		e.selftest.running.Wait()
	})
}

// A client that goes on writing after the answer is complete must not lose the answer to a failed write.
func TestSelftestTakesWhatFollowsItsAnswer(t *testing.T) {
	for _, send := range []string{"source 10\n", "status\n", "nonsense\n", "GET /source?bytes=10 HTTP/1.0\r\n\r\n"} {
		_, stream := openSelftest(t)
		if _, err := io.WriteString(stream, send); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(stream); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Write(make([]byte, 4*duplexBuffer)); err != nil {
			t.Errorf("%q: writing after the answer: %v", send, err)
		}
	}
}
