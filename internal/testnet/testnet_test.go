package testnet_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/testnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHalfCloseLeavesTheOtherDirectionOpen(t *testing.T) {
	a, b := testnet.Pipe()
	write(t, a, "question")
	check(t, a.CloseWrite())
	check(t, a.CloseWrite())
	wantRead(t, b, "question")
	write(t, b, "answer")
	check(t, b.Close())
	wantRead(t, a, "answer")
	if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write after CloseWrite: %v", err)
	}
	check(t, a.Close())
}

func TestWriterWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := testnet.PipeSize(10)
		done := make(chan error, 1)
		go func() {
			_, err := a.Write(make([]byte, 25))
			done <- err
		}()
		for _, n := range []int{10, 10} {
			synctest.Wait()
			select {
			case err := <-done:
				t.Fatalf("Write returned %v though there is no room", err)
			default:
			}
			if _, err := io.ReadFull(b, make([]byte, n)); err != nil {
				t.Fatal(err)
			}
		}
		check(t, <-done)
	})
}

func TestAbortIsNeverACleanEnd(t *testing.T) {
	for _, k := range postern.Kinds() {
		a, b := testnet.Pipe()
		write(t, a, "lost")
		check(t, a.CloseWrite())
		a.Abort(k)
		a.Abort(postern.Internal)
		if _, err := b.Read(make([]byte, 10)); postern.KindOf(err) != k {
			t.Errorf("Read at the far end of Abort(%v): %v", k, err)
		}
		if _, err := b.Write([]byte("x")); postern.KindOf(err) != k {
			t.Errorf("Write at the far end of Abort(%v): %v", k, err)
		}
		if _, err := a.Read(make([]byte, 10)); postern.KindOf(err) != k {
			t.Errorf("Read after Abort(%v): %v", k, err)
		}
		check(t, errors.Join(a.Close(), b.Close()))
	}
}

func TestAbortWakesBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := testnet.PipeSize(1)
		got := make(chan error, 2)
		go func() { _, err := b.Read(make([]byte, 1)); got <- err }()
		go func() { _, err := b.Write(make([]byte, 2)); got <- err }()
		synctest.Wait()
		a.Abort(postern.Denied)
		for range 2 {
			if err := <-got; postern.KindOf(err) != postern.Denied {
				t.Errorf("an operation that waited: %v", err)
			}
		}
	})
}

func TestCloseDeliversAndStopsTheFarWriter(t *testing.T) {
	a, b := testnet.Pipe()
	write(t, a, "the last words")
	check(t, a.Close())
	a.Abort(postern.Internal) // nothing after Close
	check(t, a.Close())
	if _, err := b.Write([]byte("x")); err == nil {
		t.Error("Write to a closed far end succeeded")
	}
	wantRead(t, b, "the last words")
	for _, err := range []error{readErr(a), writeErr(a)} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("use after Close: %v", err)
		}
	}
	check(t, b.Close())
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := testnet.PipeSize(4)
		start := time.Now()
		check(t, a.SetDeadline(start.Add(3*time.Second)))
		if err := readErr(a); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("Read: %v after %v", err, time.Since(start))
		}
		if err := writeErr(a); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write after the deadline: %v", err)
		}
		check(t, a.SetDeadline(time.Time{}))
		write(t, b, "x")
		if err := readErr(a); err != nil {
			t.Errorf("Read after the deadline was taken away: %v", err)
		}

		check(t, a.SetWriteDeadline(time.Now().Add(time.Second)))
		if n, err := a.Write(make([]byte, 10)); n != 4 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write without room = %d, %v", n, err)
		}
	})
}

func TestDeadlineWakesAReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := testnet.Pipe()
		got := make(chan error, 1)
		go func() { got <- readErr(a) }()
		synctest.Wait()
		check(t, a.SetReadDeadline(time.Now().Add(-time.Second)))
		if err := <-got; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read: %v", err)
		}
	})
}

func TestListener(t *testing.T) {
	ln := testnet.Listen()
	near, err := ln.Dial(t.Context())
	check(t, err)
	c, err := ln.Accept()
	check(t, err)
	far, ok := c.(postern.Stream)
	if !ok {
		t.Fatalf("Accept returned a %T, which is no Stream", c)
	}
	if far.RemoteAddr().String() != near.LocalAddr().String() || near.RemoteAddr().String() != ln.Addr().String() {
		t.Errorf("the addresses do not match: %v %v %v %v", near.LocalAddr(), near.RemoteAddr(), far.LocalAddr(), far.RemoteAddr())
	}
	write(t, near, "hello")
	check(t, near.Close())
	wantRead(t, far, "hello")
	check(t, far.Close())

	waiting, err := ln.Dial(t.Context())
	check(t, err)
	check(t, errors.Join(ln.Close(), ln.Close()))
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	if err := readErr(waiting); postern.KindOf(err) != postern.Refused {
		t.Errorf("a connection that nobody accepted: %v", err)
	}
	if _, err := ln.Dial(t.Context()); postern.KindOf(err) != postern.Refused {
		t.Errorf("Dial after Close: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := testnet.Listen().Dial(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Dial with a cancelled ctx: %v", err)
	}
}

func TestTLSInABubble(t *testing.T) {
	serverTLS, clientTLS := testnet.TLS(t)
	synctest.Test(t, func(t *testing.T) {
		near, far := testnet.Pipe()
		server, client := tls.Server(far, serverTLS), tls.Client(near, clientTLS)
		got := make(chan []byte, 1)
		go func() {
			p := make([]byte, 5)
			// A failure shows in what was got.
			_, _ = io.ReadFull(server, p)
			got <- p
		}()
		_, err := client.Write([]byte("hello"))
		check(t, err)
		if p := <-got; !bytes.Equal(p, []byte("hello")) {
			t.Errorf("got %q", p)
		}
	})
}

func TestCertificateIsForItsNamesAlone(t *testing.T) {
	certificate, roots := testnet.Certificate(t, "relay.test")
	for name, good := range map[string]bool{"relay.test": true, "localhost": true, "127.0.0.1": true, "::1": true, "example.com": false} {
		near, far := testnet.Pipe()
		server := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{certificate}})
		served := make(chan error, 1)
		go func() { served <- server.HandshakeContext(t.Context()) }()
		err := tls.Client(near, &tls.Config{RootCAs: roots, ServerName: name}).HandshakeContext(t.Context())
		if (err == nil) != good {
			t.Errorf("handshake with %s: %v", name, err)
		}
		check(t, near.Close())
		if err := <-served; good && err != nil {
			t.Errorf("the server's side with %s: %v", name, err)
		}
		check(t, far.Close())
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, s postern.Stream, text string) {
	t.Helper()
	if n, err := s.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatalf("Write = %d, %v", n, err)
	}
}

// wantRead reads to the clean end.
func wantRead(t *testing.T, s postern.Stream, want string) {
	t.Helper()
	if got, err := io.ReadAll(s); string(got) != want || err != nil {
		t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

func readErr(s postern.Stream) error {
	_, err := s.Read(make([]byte, 1))
	return err
}

func writeErr(s postern.Stream) error {
	_, err := s.Write([]byte{1})
	return err
}
