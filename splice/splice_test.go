package splice

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/testnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// joined returns the far ends of two pipes whose near ends are joined, and the result to come.
func joined(ctx context.Context, o Options) (client, target postern.Stream, result <-chan Result) {
	client, a := testnet.Pipe()
	b, target := testnet.Pipe()
	done := make(chan Result, 1)
	go func() { done <- Join(ctx, a, b, o) }()
	return client, target, done
}

func TestBytesArriveBothWaysAndAreCounted(t *testing.T) {
	client, target, result := joined(t.Context(), Options{})
	up, down := randomBytes(3<<20), randomBytes(5<<20)
	got := make(chan []byte, 1)
	go func() {
		data, _ := io.ReadAll(target)
		got <- data
	}()
	go func() {
		target.Write(down)
		target.CloseWrite()
	}()
	go func() {
		client.Write(up)
		client.CloseWrite()
	}()
	received, err := io.ReadAll(client)
	if err != nil {
		t.Fatal(err)
	}
	if sha256.Sum256(received) != sha256.Sum256(down) {
		t.Error("what the client received is not what the target sent")
	}
	if sha256.Sum256(<-got) != sha256.Sum256(up) {
		t.Error("what the target received is not what the client sent")
	}
	r := <-result
	if r.Sent != int64(len(up)) || r.Received != int64(len(down)) || r.Reason != Done || r.Err != nil {
		t.Errorf("result = %+v, want %d sent, %d received, done", r, len(up), len(down))
	}
}

func TestAnAnswerAfterTheClientsEndArrivesWhole(t *testing.T) {
	for _, clientFirst := range []bool{true, false} {
		for range 100 {
			client, target, result := joined(t.Context(), Options{})
			asks, answers := client, target
			if !clientFirst {
				asks, answers = target, client
			}
			go func() {
				question, _ := io.ReadAll(answers)
				answers.Write(append([]byte("got "), question...))
				answers.CloseWrite()
			}()
			if _, err := io.WriteString(asks, "question"); err != nil {
				t.Fatal(err)
			}
			if err := asks.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(asks)
			if err != nil || string(answer) != "got question" {
				t.Fatalf("answer = %q, %v", answer, err)
			}
			if r := <-result; r.Reason != Done {
				t.Fatalf("reason = %q, want done", r.Reason)
			}
		}
	}
}

func TestAnAbortTravelsAsAnAbortWithItsKind(t *testing.T) {
	for _, tt := range []struct {
		name   string
		abort  func(client, target postern.Stream) (other postern.Stream)
		reason Reason
	}{
		{"of the client", func(client, target postern.Stream) postern.Stream { client.Abort(postern.Limited); return target }, AAborted},
		{"of the target", func(client, target postern.Stream) postern.Stream { target.Abort(postern.Limited); return client }, BAborted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, target, result := joined(t.Context(), Options{})
			io.WriteString(client, "x")
			io.ReadFull(target, make([]byte, 1))
			other := tt.abort(client, target)
			_, err := io.ReadAll(other)
			if postern.KindOf(err) != postern.Limited {
				t.Errorf("the other side read %v, want an error of kind %v", err, postern.Limited)
			}
			if r := <-result; r.Reason != tt.reason || r.Err == nil {
				t.Errorf("result = %+v, want reason %q and an error", r, tt.reason)
			}
		})
	}
}

func TestAnAnswerArrivesThoughTheTargetReadsNoMore(t *testing.T) {
	client, target, result := joined(t.Context(), Options{})
	go func() {
		// An endless upload; it ends when the join has closed its side.
		for {
			if _, err := client.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}()
	io.WriteString(target, "413 too large")
	target.Close()
	answer, err := io.ReadAll(client)
	if string(answer) != "413 too large" || err != nil {
		t.Errorf("answer = %q, %v", answer, err)
	}
	if r := <-result; r.Reason != BStopped {
		t.Errorf("reason = %q, want %q", r.Reason, BStopped)
	}
	client.Close()
}

func TestACancelledJoinAbortsBothSidesWithTheCause(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	client, target, result := joined(ctx, Options{})
	cancel(&postern.Error{Kind: postern.Draining})
	for _, s := range []postern.Stream{client, target} {
		if _, err := s.Read(make([]byte, 1)); postern.KindOf(err) != postern.Draining {
			t.Errorf("read %v, want an error of kind draining", err)
		}
	}
	if r := <-result; r.Reason != Cancelled {
		t.Errorf("reason = %q, want %q", r.Reason, Cancelled)
	}
}

func TestAnIdleJoinEndsAndABusyOneDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		client, target, result := joined(t.Context(), Options{Idle: time.Minute})
		// A byte every 40 s, in alternating directions, for ten minutes.
		for i := range 15 {
			from, to := client, target
			if i%2 == 1 {
				from, to = target, client
			}
			io.WriteString(from, ".")
			io.ReadFull(to, make([]byte, 1))
			<-time.After(40 * time.Second)
		}
		if len(result) > 0 {
			t.Fatalf("the busy join ended: %+v", <-result)
		}
		r := <-result
		if r.Reason != Idle || postern.KindOf(r.Err) != postern.Timeout {
			t.Errorf("result = %+v, want idle", r)
		}
		if d := time.Since(start); d < 10*time.Minute || d > 11*time.Minute+15*time.Second {
			t.Errorf("it ended after %v, want about a minute after the last byte", d)
		}
		client.Close()
		target.Close()
	})
}

func TestAResetOfATCPTargetIsNoCleanEndForTheClient(t *testing.T) {
	for range 50 {
		target, near := tcpPair(t)
		client, a := testnet.Pipe()
		done := make(chan Result, 1)
		go func() { done <- Join(t.Context(), a, Stream(near), Options{}) }()
		// The client keeps writing, so that the copy towards the target may be the one to meet the reset.
		go func() {
			for {
				if _, err := client.Write([]byte("more")); err != nil {
					return
				}
			}
		}()
		io.WriteString(target, "part of an answer")
		Abort(target)
		_, err := io.ReadAll(client)
		if err == nil {
			t.Fatal("the client saw a clean end after a reset")
		}
		<-done
		client.Close()
	}
}

func TestAbortOfTLSSendsNoCloseNotify(t *testing.T) {
	serverTLS, clientTLS := testnet.TLS(t)
	far, near := tcpPair(t)
	errs := make(chan error, 1)
	go func() {
		c := tls.Client(far, clientTLS)
		_, err := io.ReadAll(c)
		errs <- err
	}()
	s := tls.Server(near, serverTLS)
	if err := s.Handshake(); err != nil {
		t.Fatal(err)
	}
	Stream(s).Abort(postern.Aborted)
	if err := <-errs; err == nil {
		t.Error("the far end saw a clean end after an abort")
	}
	far.Close()
}

func TestStreamsStayWhatTheyAre(t *testing.T) {
	a, b := testnet.Pipe()
	defer a.Close()
	defer b.Close()
	if Stream(a) != a {
		t.Error("a stream was wrapped again")
	}
	c, _ := net.Pipe()
	s := Stream(c)
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("after CloseWrite of a connection without one, Write = %v", err)
	}
}

// tcpPair returns the two ends of a connection over loopback.
func tcpPair(t *testing.T) (far, near net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	far, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close(); near.Close() })
	return far, near
}

func randomBytes(n int) []byte {
	var seed [32]byte
	b := make([]byte, n)
	rand.NewChaCha8(seed).Read(b)
	return bytes.Clone(b)
}
