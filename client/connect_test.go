package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/testnet"
)

var target = postern.Target{Network: postern.TCP, Host: "10.0.0.7", Port: 22}

// sink is a stdout that tells when it was closed.
type sink struct {
	bytes.Buffer
	closed chan struct{}
}

func newSink() *sink { return &sink{closed: make(chan struct{})} }

func (s *sink) Close() error {
	close(s.closed)
	return nil
}

// connecting runs Connect against the far end of a pipe.
func connecting(t *testing.T, ctx context.Context, stdin io.Reader, stdout io.Writer) (far postern.Stream, result <-chan error) {
	t.Helper()
	near, far := testnet.Pipe()
	opener := postern.OpenerFunc(func(_ context.Context, req *postern.Request) (postern.Stream, error) {
		if req.Agent != "nas" || req.Target != target {
			t.Errorf("asked for %+v", req)
		}
		return near, nil
	})
	done := make(chan error, 1)
	go func() { done <- Connect(ctx, opener, "nas", target, stdin, stdout) }()
	t.Cleanup(func() { _ = far.Close() })
	if err := far.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return far, done
}

func await(t *testing.T, result <-chan error) error {
	t.Helper()
	select {
	case err := <-result:
		return err
	case <-time.After(10 * time.Second):
		stacks := make([]byte, 64<<10)
		t.Fatalf("it has not returned\n%s", stacks[:runtime.Stack(stacks, true)])
		return nil
	}
}

func TestConnectPassesTheEndOfInputOnAndReadsTheAnswer(t *testing.T) {
	question, answer := strings.Repeat("question ", 100_000), strings.Repeat("answer ", 100_000)
	out := newSink()
	far, result := connecting(t, t.Context(), strings.NewReader(question), out)
	got, err := io.ReadAll(far)
	if err != nil || string(got) != question {
		t.Fatalf("%d bytes arrived and %v, want %d", len(got), err, len(question))
	}
	if _, err := io.WriteString(far, answer); err != nil {
		t.Fatal(err)
	}
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	if err := await(t, result); err != nil {
		t.Fatal(err)
	}
	<-out.closed
	if out.String() != answer {
		t.Errorf("%d bytes came out, want %d", out.Len(), len(answer))
	}
}

// inputs are kinds of stdin that stay open and silent. open returns the input and what keeps it open.
func inputs(t *testing.T) map[string]io.Reader {
	t.Helper()
	pipe, pipeWriter, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	memory, memoryWriter := io.Pipe()
	near, far := testnet.Pipe()
	all := map[string]io.Reader{"pipe": pipe, "memory": memory, "connection": near}
	t.Cleanup(func() {
		for _, c := range []io.Closer{pipe, pipeWriter, memoryWriter, near, far} {
			_ = c.Close()
		}
	})
	addBlocking(t, all)
	return all
}

func TestConnectEndsWithTheAnswerWhileInputIsOpen(t *testing.T) {
	for name, stdin := range inputs(t) {
		t.Run(name, func(t *testing.T) {
			out := newSink()
			far, result := connecting(t, t.Context(), stdin, out)
			if _, err := io.WriteString(far, "answer"); err != nil {
				t.Fatal(err)
			}
			if err := far.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if err := await(t, result); err != nil {
				t.Fatal(err)
			}
			<-out.closed
			if out.String() != "answer" {
				t.Errorf("%q came out", out.String())
			}
		})
	}
}

func TestConnectReportsAReset(t *testing.T) {
	for name, stdin := range inputs(t) {
		t.Run(name, func(t *testing.T) {
			out := newSink()
			far, result := connecting(t, t.Context(), stdin, out)
			if _, err := io.WriteString(far, "half an ans"); err != nil {
				t.Fatal(err)
			}
			far.Abort(postern.Aborted)
			if err := await(t, result); postern.KindOf(err) != postern.Aborted {
				t.Fatalf("got %v, want an error of kind aborted", err)
			}
			<-out.closed
		})
	}
}

func TestConnectEndsWithItsContext(t *testing.T) {
	for name, stdin := range inputs(t) {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			far, result := connecting(t, ctx, stdin, newSink())
			cancel()
			if err := await(t, result); !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v", err)
			}
			if _, err := far.Read(make([]byte, 1)); err == nil || err == io.EOF {
				t.Errorf("the far end sees %v, want a failure", err)
			}
		})
	}
}

func TestConnectToldOfAClosedOutput(t *testing.T) {
	for name, stdin := range inputs(t) {
		t.Run(name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			far, result := connecting(t, t.Context(), stdin, w)
			if _, err := io.WriteString(far, "answer"); err != nil {
				t.Fatal(err)
			}
			err = await(t, result)
			if postern.KindOf(err) != postern.Aborted || !strings.Contains(err.Error(), "the output cannot be written") {
				t.Fatalf("got %v", err)
			}
			if _, err := far.Read(make([]byte, 1)); err == nil || err == io.EOF {
				t.Errorf("the far end sees %v, want a failure", err)
			}
		})
	}
}

// TestConnectEndsThoughItsWordsAreNotRead: a target that answers and stops, and never reads what it is sent.
func TestConnectEndsThoughItsWordsAreNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newSink()
		far, result := connecting(t, t.Context(), endless{}, out)
		if _, err := io.WriteString(far, "answer"); err != nil {
			t.Fatal(err)
		}
		if err := far.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := await(t, result); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > lastWords || out.String() != "answer" {
			t.Errorf("%q came out after %v", out.String(), took)
		}
	})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestConnectKeepsTheKindOfARefusal(t *testing.T) {
	for _, k := range postern.Kinds() {
		opener := postern.OpenerFunc(func(context.Context, *postern.Request) (postern.Stream, error) {
			return nil, &postern.Error{Kind: k, Hop: postern.HopAgent}
		})
		err := Connect(t.Context(), opener, "nas", target, strings.NewReader(""), io.Discard)
		if postern.KindOf(err) != k || !strings.Contains(err.Error(), "10.0.0.7:22") {
			t.Errorf("%v became %v", k, err)
		}
	}
}

func TestConnectReportsInputThatCannotBeRead(t *testing.T) {
	broken := errors.New("the disk is gone")
	far, result := connecting(t, t.Context(), io.MultiReader(strings.NewReader("x"), failing{broken}), newSink())
	if err := await(t, result); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	if _, err := io.ReadAll(far); err == nil {
		t.Error("the far end sees a clean end of input that was cut short")
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
