package ingress_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/internal/gate"
	"github.com/postern-dev/postern/internal/testnet"
	"github.com/postern-dev/postern/splice"
)

func TestClearAndTLSOnOnePort(t *testing.T) {
	serverTLS, clientTLS := testnet.TLS(t)
	s := newServer()
	s.TLS = serverTLS
	outside := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:5000"))
	for _, c := range []struct {
		name      string
		tls       bool
		cleartext bool
		want      string
	}{
		{"TLS", true, false, "ok"},
		{"clear", false, false, "denied"},
		{"clear, allowed", false, true, "ok"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := &ingress.Server{Protocol: s.Protocol, Auth: s.Auth, Opener: s.Opener, TLS: s.TLS, Cleartext: c.cleartext}
			ln := testnet.Listen()
			ctx, cancel := context.WithCancel(t.Context())
			served := make(chan error, 1)
			go func() { served <- server.Serve(ctx, ln) }()
			stream, err := ln.DialFrom(ctx, outside)
			if err != nil {
				t.Fatal(err)
			}
			var client net.Conn = stream
			if c.tls {
				config := clientTLS.Clone()
				config.NextProtos = []string{"http/1.1"}
				client = tls.Client(stream, config)
			}
			if answer := ask(t, client, "me secret"); answer != c.want {
				t.Errorf("got %q, want %q", answer, c.want)
			}
			if err := client.Close(); err != nil {
				t.Error(err)
			}
			cancel()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAConnectionThatIsUnderTLSAlreadyIsPrivate(t *testing.T) {
	serverTLS, clientTLS := testnet.TLS(t)
	ln := testnet.Listen()
	near, err := ln.DialFrom(t.Context(), net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:5000")))
	if err != nil {
		t.Fatal(err)
	}
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var wasTLS bool
	s := newServer()
	s.Auth = verify(func(ctx context.Context, c auth.Credential) (*postern.Identity, error) {
		wasTLS = c.TLS != nil
		return secretIsSecret(ctx, c)
	})
	done := make(chan struct{})
	var authenticated int
	go func() {
		defer close(done)
		s.ServeConn(t.Context(), tls.Server(far, serverTLS), func() { authenticated++ })
	}()
	client := tls.Client(near, clientTLS)
	if answer := ask(t, client, "me secret"); answer != "ok" || !wasTLS {
		t.Errorf("got %q, TLS %v", answer, wasTLS)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	<-done
	if authenticated == 0 {
		t.Error("the gate was not told that the client is no stranger")
	}
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheGateCountsStrangersOnly(t *testing.T) {
	s := newServer()
	s.Gate = &gate.Gate{PerSource: 1}
	ln := testnet.Listen()
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	dial := func() postern.Stream {
		c, err := ln.Dial(ctx)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() }) // it may be closed already
		return c
	}
	for range 3 { // they are no strangers any more once they have their answer
		if answer := ask(t, dial(), "me secret"); answer != "ok" {
			t.Errorf("got %q", answer)
		}
	}
	first := dial()
	second := dial()
	if _, err := first.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("the first stranger got %v, want to be sent away for the second", err)
	}
	if answer := ask(t, second, "me secret"); answer != "ok" {
		t.Errorf("the second got %q", answer)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// shaky is a listener that fails with given errors first.
type shaky struct {
	net.Listener
	errs []error
}

func (l *shaky) Accept() (net.Conn, error) {
	if len(l.errs) == 0 {
		return l.Listener.Accept()
	}
	err := l.errs[0]
	l.errs = l.errs[1:]
	return nil, err
}

func TestServeOutlivesAShortage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shortage := &net.OpError{Op: "accept", Err: syscall.EMFILE}
		ln := testnet.Listen()
		served := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		s := newServer()
		go func() {
			served <- s.Serve(ctx, &shaky{ln, []error{shortage, shortage, shortage, &net.OpError{Op: "accept", Err: syscall.ECONNABORTED}}})
		}()
		c, err := ln.Dial(ctx)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if answer := ask(t, c, "me secret"); answer != "ok" {
			t.Errorf("got %q", answer)
		}
		if waited := time.Since(begin); waited == 0 || waited > time.Second {
			t.Errorf("it waited %v", waited)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func TestABrokenListenerIsAnErrorAndEndsWhatItBrought(t *testing.T) {
	broken := errors.New("the network is on fire")
	s := newServer()
	err := s.Serve(t.Context(), &shaky{testnet.Listen(), []error{broken}})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "oneline") {
		t.Errorf("got %v", err)
	}
}

func TestAClosedServerServesNobody(t *testing.T) {
	s := newServer()
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Serve(t.Context(), testnet.Listen()); err != nil {
		t.Errorf("Serve: %v", err)
	}
	near, far := testnet.Pipe()
	s.ServeConn(t.Context(), far, nil)
	if _, err := near.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("the client saw %v, want a failure", err)
	}
}

func TestBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		s.Splice = splice.Options{Idle: time.Minute}
		stream := &ingress.Stream{}
		ctx, cancel := s.Bound(t.Context(), stream)
		begin := time.Now()
		for range 10 { // not idle: something passes every half a minute
			<-time.After(30 * time.Second)
			stream.Counts.Sent.Add(1)
		}
		if ctx.Err() != nil {
			t.Fatalf("it ended after %v though it was busy", time.Since(begin))
		}
		last := time.Now()
		<-ctx.Done()
		if quiet := time.Since(last); quiet < time.Minute || quiet > 90*time.Second {
			t.Errorf("it ended after %v", quiet)
		}
		if k := postern.KindOf(context.Cause(ctx)); k != postern.Timeout {
			t.Errorf("its cause is %v", k)
		}
		cancel()

		short := &ingress.Stream{Identity: &postern.Identity{Expires: time.Now().Add(time.Second)}}
		s.Splice.Idle, s.ExpiredGrace = 0, time.Second
		ctx, cancel = s.Bound(t.Context(), short)
		defer cancel()
		begin = time.Now()
		<-ctx.Done()
		if took := time.Since(begin); took != 2*time.Second || postern.KindOf(context.Cause(ctx)) != postern.Unauthenticated {
			t.Errorf("it ended after %v: %v", took, context.Cause(ctx))
		}
	})
}

func TestWhichAgent(t *testing.T) {
	for user, want := range map[string]postern.AgentID{"nas": "nas", "me+nas": "nas", "me+you+nas": "nas", "": "", "me+": "", "a b": ""} {
		if got, err := ingress.AgentOf(user); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", user, got, err)
		}
	}
}
