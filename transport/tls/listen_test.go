package tls

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/testnet"
	"github.com/postern-dev/postern/splice"
	"github.com/postern-dev/postern/transport"
)

// starvedListener fails to accept until it is closed.
type starvedListener struct {
	err    error
	tries  []time.Time
	closed chan struct{}
	once   sync.Once // closes closed
}

func (l *starvedListener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
	}
	l.tries = append(l.tries, time.Now())
	return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", l.err)}
}

func (l *starvedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *starvedListener) Addr() net.Addr { return &net.TCPAddr{} }

// Out of descriptors, the listener neither gives up nor spins.
func TestAcceptOutlivesAShortageWithoutSpinning(t *testing.T) {
	for _, shortage := range []error{syscall.EMFILE, syscall.ENFILE} {
		synctest.Test(t, func(t *testing.T) {
			ln := &starvedListener{err: shortage, closed: make(chan struct{})}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := Listen(transport.ListenOptions{TCP: ln, TLS: &tls.Config{}}).Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
			if n := len(ln.tries); n < 50 || n > 80 {
				t.Errorf("%v: %d tries in a minute", shortage, n)
			}
			if first := ln.tries[1].Sub(ln.tries[0]); first != firstPause {
				t.Errorf("%v: the first pause is %v", shortage, first)
			}
		})
	}
}

func TestRunReturnsALastingFailure(t *testing.T) {
	ln := &starvedListener{err: syscall.EINVAL, closed: make(chan struct{})}
	if err := Listen(transport.ListenOptions{TCP: ln, TLS: &tls.Config{}}).Run(t.Context()); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("Run: %v", err)
	}
	if len(ln.tries) != 1 {
		t.Errorf("%d tries", len(ln.tries))
	}
}

// running starts a listener and returns its address and the TLS that trusts it.
func running(t *testing.T, opts transport.ListenOptions) (addr string, client *tls.Config) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, client := testnet.TLS(t)
	server.MinVersion = 0
	opts.TCP, opts.TLS = ln, server
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- Listen(opts).Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return ln.Addr().String(), client
}

// both is a listener for agents and for HTTP, each saying which one it is.
func both(t *testing.T) (addr string, client *tls.Config) {
	return running(t, transport.ListenOptions{
		Accept: map[string]transport.Accept{transport.ALPNAgent: {Handle: func(ctx context.Context, c transport.Conn, _ func()) {
			<-ctx.Done()
			_ = c.CloseWithError(postern.Draining, "")
		}}},
		Raw: map[string]func(context.Context, net.Conn, func()){transport.ALPNHTTP: func(_ context.Context, c net.Conn, _ func()) {
			_, _ = io.WriteString(c, "raw")
			_ = c.Close()
		}},
	})
}

func TestVersionsAndProtocols(t *testing.T) {
	addr, client := both(t)
	for _, c := range []struct {
		name    string
		version uint16
		offers  []string
		want    string // what is said, or "" for a refusal
	}{
		{"http/1.1 over TLS 1.2", tls.VersionTLS12, []string{"http/1.1"}, "raw"},
		{"http/1.1 over TLS 1.3", tls.VersionTLS13, []string{"http/1.1"}, "raw"},
		{"no ALPN over TLS 1.2", tls.VersionTLS12, nil, "raw"},
		{"a browser's list", tls.VersionTLS13, []string{"h2", "http/1.1"}, "raw"},
		{"unknown only", tls.VersionTLS13, []string{"h2"}, ""},
		{"an agent of another major version", tls.VersionTLS13, []string{"postern-agent/2"}, ""},
		{"TLS 1.1", tls.VersionTLS11, nil, ""},
		{"an agent over TLS 1.2", tls.VersionTLS12, []string{transport.ALPNAgent}, ""},
		{"agent or http over TLS 1.2", tls.VersionTLS12, []string{"http/1.1", transport.ALPNAgent}, ""},
	} {
		config := client.Clone()
		config.MinVersion, config.MaxVersion, config.NextProtos = c.version, c.version, c.offers
		got, err := readFrom(addr, config)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
}

func readFrom(addr string, config *tls.Config) (string, error) {
	c, err := tls.Dial("tcp", addr, config)
	if err != nil {
		return "", err
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	return string(b), err
}

// The caller's own choice of certificates by client is kept, and so are our protocols.
func TestGetConfigForClientIsAsked(t *testing.T) {
	server, client := testnet.TLS(t)
	asked := 0
	opts := transport.ListenOptions{
		TLS: &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			asked++
			return server, nil
		}},
		Accept: map[string]transport.Accept{transport.ALPNAgent: {}},
	}
	near, far := net.Pipe()
	client.NextProtos = []string{transport.ALPNAgent}
	done := make(chan error, 1)
	go func() { done <- tls.Client(far, client).HandshakeContext(t.Context()) }()
	c := tls.Server(near, serverConfig(opts))
	if err := errors.Join(c.HandshakeContext(t.Context()), <-done); err != nil {
		t.Fatal(err)
	}
	if state := c.ConnectionState(); asked != 1 || state.NegotiatedProtocol != transport.ALPNAgent || state.Version != tls.VersionTLS13 {
		t.Errorf("asked %d times, got %q over %x", asked, state.NegotiatedProtocol, state.Version)
	}
	near.Close()
	far.Close()
}

func TestASecondHandshakeIsResumed(t *testing.T) {
	addr, client := both(t)
	client.NextProtos = []string{transport.ALPNAgent}
	client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for _, want := range []bool{false, true} {
		conn, err := Dialer(transport.DialOptions{TLS: client}).Dial(t.Context(), addr)
		if err != nil {
			t.Fatal(err)
		}
		// The greeting comes behind the tickets.
		s, err := conn.OpenStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.Abort(postern.Aborted)
		if got := conn.Info().TLS.DidResume; got != want {
			t.Errorf("resumed: %v, want %v", got, want)
		}
		_ = conn.CloseWithError(postern.OK, "")
	}
}

// An abort beneath TLS must not look like an end that the far end meant.
func TestAbortIsNoCleanEndOfTLS(t *testing.T) {
	addr, client := running(t, transport.ListenOptions{
		Raw: map[string]func(context.Context, net.Conn, func()){transport.ALPNHTTP: func(_ context.Context, c net.Conn, _ func()) {
			_, _ = io.WriteString(c, "half of it")
			splice.Abort(c)
		}},
	})
	if got, err := readFrom(addr, client); err == nil {
		t.Errorf("a clean end after %q", got)
	}
}
