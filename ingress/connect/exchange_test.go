package connect

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/internal/testnet"
)

func TestBytesStreamBothWays(t *testing.T) {
	// The target answers each chunk before it gets the next one.
	p := newProxy(t, Options{Agent: "nas"}, func(s postern.Stream) {
		defer s.Close()
		req, err := http.ReadRequest(bufio.NewReader(s))
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprint(s, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for buf := make([]byte, 1); ; {
			if _, err := req.Body.Read(buf); err != nil {
				break
			}
			fmt.Fprintf(s, "1\r\n%s\r\n", strings.ToUpper(string(buf)))
		}
		fmt.Fprint(s, "0\r\n\r\n")
	}, nil)
	client := p.dial()
	client.send("POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	resp, err := http.ReadResponse(client.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1)
	for i, c := range "abcdefgh" {
		client.send(fmt.Sprintf("1\r\n%c\r\n", c))
		if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != string("ABCDEFGH"[i]) {
			t.Fatalf("got %q, %v", buf, err)
		}
	}
	client.send("0\r\n\r\n")
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) != 0 {
		t.Errorf("got %q, %v", rest, err)
	}
}

func TestExpectContinue(t *testing.T) {
	seen := make(chan string, 1)
	p := newProxy(t, Options{Agent: "nas"}, func(s postern.Stream) {
		// A target that knows Expect; net/http's server half does not lend itself to that here.
		r := bufio.NewReader(s)
		for line := ""; line != "\r\n"; {
			var err error
			if line, err = r.ReadString('\n'); err != nil {
				t.Error(err)
				return
			}
		}
		fmt.Fprint(s, "HTTP/1.1 100 Continue\r\n\r\n")
		body := make([]byte, 5)
		_, err := io.ReadFull(r, body)
		seen <- fmt.Sprint(string(body), err)
		fmt.Fprint(s, okAnswer)
		_ = s.Close()
	}, nil)
	client := p.dial()
	client.send("POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	const want = "HTTP/1.1 100 Continue\r\n\r\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(client.r, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v", got, err)
	}
	client.send("hello")
	if resp, body := client.response("POST"); resp.StatusCode != 200 || body != "ok" || resp.Close {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
	if got := <-seen; got != "hello<nil>" {
		t.Errorf("the target got %s", got)
	}
}

func TestAnEarlyAnswerLeavesNoBodyBehind(t *testing.T) {
	p := newProxy(t, Options{Agent: "nas"}, func(s postern.Stream) {
		fmt.Fprint(s, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
		_ = s.Close()
	}, nil)
	client := p.dial()
	client.send("POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nGET http://smuggled/ HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, body := client.response("POST"); resp.StatusCode != 413 || body != "no" || !resp.Close {
		t.Errorf("got %d %q, closing %v", resp.StatusCode, body, resp.Close)
	}
	client.wantClosed()
	if n := len(p.asked()); n != 1 {
		t.Errorf("%d streams were opened, want 1", n)
	}
}

func TestMalformedChunksNeverReachTheTargetAsAnEnd(t *testing.T) {
	ended := make(chan error, 1)
	p := newProxy(t, Options{Agent: "nas"}, func(s postern.Stream) {
		defer s.Close()
		req, err := http.ReadRequest(bufio.NewReader(s))
		if err == nil {
			_, err = io.ReadAll(req.Body)
		}
		ended <- err
	}, nil)
	client := p.dial()
	client.send("POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\n\r\n")
	if resp, body := client.response("POST"); resp.StatusCode != 400 || !strings.Contains(body, "bare LF") {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
	if err := <-ended; err == nil || errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the target saw %v, want a failure", err)
	}
	client.wantClosed()
}

func TestAClientThatLeavesEndsTheStream(t *testing.T) {
	arrived, ended := make(chan struct{}), make(chan error, 1)
	p := newProxy(t, Options{Agent: "nas"}, func(s postern.Stream) {
		defer s.Close()
		r := bufio.NewReader(s)
		if _, err := http.ReadRequest(r); err != nil {
			t.Error(err)
		}
		close(arrived)
		_, err := r.ReadByte()
		ended <- err
	}, nil)
	client := p.dial()
	client.send("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n")
	<-arrived
	client.Abort(postern.Aborted)
	if err := <-ended; err == nil || err == io.EOF {
		t.Errorf("the target saw %v, want a failure", err)
	}
}

func TestUpgrade(t *testing.T) {
	p := newProxy(t, Options{Agent: "nas"}, func(s postern.Stream) {
		defer s.Close()
		r := bufio.NewReader(s)
		req, err := http.ReadRequest(r)
		if err != nil || req.Header.Get("Upgrade") != "websocket" || req.Header.Get("Connection") != "Upgrade" {
			t.Errorf("the target got %v, %v", req, err)
			return
		}
		// The first bytes of the new protocol come with the answer.
		fmt.Fprint(s, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: x\r\n\r\nhi ")
		// Half-close has to pass in both directions.
		all, err := io.ReadAll(r)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(s, "%s!", all)
	}, nil)
	client := p.dial()
	client.send("GET http://a/chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\nthere")
	resp, err := http.ReadResponse(client.r, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("Sec-WebSocket-Accept") != "x" {
		t.Fatalf("got %v, %v", resp, err)
	}
	client.send(", you")
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(client.r); err != nil || string(got) != "hi there, you!" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestAnIdleConnectionIsClosedWhenTheServerDrains(t *testing.T) {
	ctx, drain := context.WithCancel(t.Context())
	p := newProxy(t, Options{Agent: "nas"}, scripted(make(chan string, 1), okAnswer), nil)
	server := &ingress.Server{Protocol: New(Options{Agent: "nas"}), Opener: p.server.Opener, Grace: time.Hour}
	near, far := testnet.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		server.ServeConn(ctx, far, nil)
	}()
	client := &conn{near, t, bufio.NewReader(near)}
	client.send("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, _ := client.response("GET"); resp.StatusCode != 200 {
		t.Errorf("got %d", resp.StatusCode)
	}
	drain()
	client.wantClosed()
	if err := near.Close(); err != nil {
		t.Error(err)
	}
	<-ended
}

// TestTrailersComeAtOnce: a body may take its time, but once it is complete there is nothing left to wait for.
func TestTrailersComeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProxy(t, Options{Agent: "nas"}, func(s postern.Stream) {
			defer s.Close()
			// The end of the body that never comes is what ends this.
			_, _ = io.Copy(io.Discard, s)
		}, nil)
		client := p.dial()
		if err := client.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		client.send("POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
		time.Sleep(time.Hour)
		client.send("1\r\nb\r\n0\r\n")
		start := time.Now()
		resp, err := http.ReadResponse(client.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); resp.StatusCode != http.StatusBadRequest || took != ingress.HandshakeTimeout {
			t.Errorf("%s after %v, want 400 after %v", resp.Status, took, ingress.HandshakeTimeout)
		}
	})
}

// TestTrailersThatCameLeaveNoDeadline: the connection is as good afterwards as before.
func TestTrailersThatCameLeaveNoDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProxy(t, Options{Agent: "nas"}, func(s postern.Stream) {
			defer s.Close()
			req, err := http.ReadRequest(bufio.NewReader(s))
			if err == nil {
				_, err = io.Copy(io.Discard, req.Body)
			}
			if err != nil {
				t.Error(err)
			}
			time.Sleep(time.Hour) // a slow answer
			fmt.Fprint(s, okAnswer)
		}, nil)
		client := p.dial()
		if err := client.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		client.send("POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-T: 1\r\n\r\n")
		resp, err := http.ReadResponse(client.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusOK {
			t.Errorf("got %s", resp.Status)
		}
	})
}
