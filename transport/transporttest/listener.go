package transporttest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/gate"
	"github.com/postern-dev/postern/internal/testnet"
	"github.com/postern-dev/postern/transport"
)

// RunListener tests a whole transport over loopback: Run with the conns it makes, then its listener and its dialer.
func RunListener(t *testing.T, maker transport.Maker) {
	t.Run("Conn", func(t *testing.T) {
		Run(t, func(t *testing.T) (relay, agent transport.Conn) {
			r := newRig(t, maker, nil)
			return r.connect(t)
		})
	})
	cases := listenerCases()
	if maker.Network != transport.NetworkUDP {
		cases = append(cases, tcpCases(maker.Network)...)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			checkLeaks(t)
			bounded(t, func(ctx context.Context) { c.run(t, ctx, maker) })
		})
	}
	// These wait for the clock of the transport itself, so they do it together.
	t.Run("Patience", func(t *testing.T) {
		checkLeaks(t)
		t.Run("all", func(t *testing.T) {
			for _, c := range slowCases(maker.Network) {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					bounded(t, func(ctx context.Context) { c.run(t, ctx, maker) })
				})
			}
		})
	})
}

// makerCase is a case of RunListener.
type makerCase struct {
	name string
	run  func(t *testing.T, ctx context.Context, maker transport.Maker)
}

func listenerCases() []makerCase {
	return []makerCase{
		{"WrongALPN", wrongALPN},
		{"WrongCertificate", wrongCertificate},
		{"WrongName", wrongName},
		{"NobodyThere", nobodyThere},
		{"MalformedAddress", malformedAddress},
		{"CancelledDial", cancelledDial},
		{"DialerConfigUntouched", configUntouched},
		{"Gate", gateBoundsStrangers},
		{"RunWaitsForHandlers", runWaitsForHandlers},
		{"RunFreesTheSocket", runFreesTheSocket},
		{"RunFailsWithItsSocket", runFailsWithSocket},
		{"CancelledRunRefuses", cancelledRunRefuses},
		{"Noise", noise},
	}
}

// wantRefusal checks that a dial failed with a telling kind, not because time ran out.
func wantRefusal(c transport.Conn, err error) error {
	if err == nil {
		return errors.Join(errors.New("a Dial succeeded"), c.CloseWithError(postern.OK, ""))
	}
	if _, ok := errors.AsType[*postern.Error](err); !ok {
		return fmt.Errorf("a Dial: %w is not an *Error", err)
	}
	switch k := postern.KindOf(err); k {
	case postern.OK, postern.Internal, postern.Timeout:
		return fmt.Errorf("a Dial: kind %q (%w) does not tell of a refusal", k, err)
	}
	return nil
}

func wrongALPN(t *testing.T, ctx context.Context, maker transport.Maker) {
	r := newRig(t, maker, nil)
	r.client.NextProtos = []string{"postern-nonsense/1"}
	check(t, wantRefusal(r.dial(ctx)))
}

func wrongCertificate(t *testing.T, ctx context.Context, maker transport.Maker) {
	r := newRig(t, maker, nil)
	_, other := testnet.TLS(t)
	r.client.RootCAs = other.RootCAs
	_, err := r.dial(ctx)
	check(t, wantKind("Dial of a relay with another CA", err, postern.Unauthenticated))
}

func wrongName(t *testing.T, ctx context.Context, maker transport.Maker) {
	r := newRig(t, maker, nil)
	r.client.ServerName = "relay.example.com"
	_, err := r.dial(ctx)
	check(t, wantKind("Dial of a relay with another name", err, postern.Unauthenticated))
}

func nobodyThere(t *testing.T, ctx context.Context, maker transport.Maker) {
	r := newRig(t, maker, nil)
	if err := r.stop(t); err != nil {
		t.Errorf("Run: %v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := r.dial(ctx)
	switch postern.KindOf(err) {
	case postern.Refused, postern.Unreachable, postern.Timeout:
	default:
		t.Errorf("Dial of a port where nobody listens: %v, want it refused, unreachable or a timeout", err)
	}
}

func malformedAddress(t *testing.T, ctx context.Context, maker transport.Maker) {
	r := newRig(t, maker, nil)
	for _, addr := range []string{"", "nonsense", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:70000", "127.0.0.1:-1", "[::1:4242"} {
		if c, err := r.dialAt(ctx, addr); err == nil || postern.KindOf(err) == postern.Internal || postern.KindOf(err) == postern.Timeout {
			t.Errorf("Dial(%q) = %v, %v; want a failure of a telling kind", addr, c, err)
		}
	}
}

// cancelledDial: somebody takes the packets and never answers.
func cancelledDial(t *testing.T, ctx context.Context, maker transport.Maker) {
	r := &rig{maker: maker}
	var opts transport.ListenOptions
	r.listen(t, &opts)
	t.Cleanup(func() { check(t, r.socket.Close()) })
	_, r.client = testnet.TLS(t)
	r.client.NextProtos = []string{transport.ALPNAgent}
	dialling, cancel := context.WithCancel(ctx)
	time.AfterFunc(shortly, cancel)
	start := time.Now()
	_, err := r.dial(dialling)
	if err == nil || !errors.Is(err, context.Canceled) {
		t.Errorf("Dial whose ctx is cancelled: %v, want context.Canceled in it", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Dial returned %v after its ctx was cancelled", took)
	}
}

// configUntouched: neither side writes into the TLS config that it was given, and a dialer can be used again.
func configUntouched(t *testing.T, _ context.Context, maker transport.Maker) {
	r := newRig(t, maker, nil)
	for range 2 {
		relay, agent := r.connect(t)
		closeBoth(t, relay, agent)
	}
	if r.server.NextProtos != nil || r.client.ServerName != "localhost" || len(r.client.NextProtos) != 1 {
		t.Errorf("a TLS config was changed: %q, %q, %q", r.server.NextProtos, r.client.ServerName, r.client.NextProtos)
	}
}

// gateBoundsStrangers: the gate has room for two. One more is refused, or the oldest goes for it; who has authenticated stays in
// any case, and who leaves makes room.
func gateBoundsStrangers(t *testing.T, ctx context.Context, maker transport.Maker) {
	r := newRig(t, maker, func(o *transport.ListenOptions) { o.Gate = &gate.Gate{PerSource: 2} })
	known, knownAgent := r.connectAt(t, r.addr)
	known.authenticated()
	known.authenticated() // counts once
	_, second := r.connectAt(t, r.addr)
	_, third := r.connectAt(t, r.addr)
	check(t, r.wantCrowd(ctx, second, third))

	near, far := mustOpen(t, ctx, known, knownAgent)
	check(t, errors.Join(near.Close(), far.Close()))
	check(t, errors.Join(second.CloseWithError(postern.OK, "bye"), third.CloseWithError(postern.OK, "bye")))
	r.awaitRoom(t, ctx)
	for _, c := range []transport.Conn{known, knownAgent} {
		check(t, c.CloseWithError(postern.OK, ""))
	}
}

// runWaitsForHandlers: Run returns after its handlers and not before, and a cancelled ctx is no error.
func runWaitsForHandlers(t *testing.T, ctx context.Context, maker transport.Maker) {
	release := make(chan struct{})
	handling := make(chan struct{})
	var told context.Context
	r := newRig(t, maker, func(o *transport.ListenOptions) {
		o.Accept = map[string]transport.Accept{transport.ALPNAgent: {Handle: func(ctx context.Context, c transport.Conn, _ func()) {
			told = ctx
			close(handling)
			<-release
			_ = c.CloseWithError(postern.Draining, "") // the case looks at the other end
		}}}
	})
	agent, err := r.dial(ctx)
	check(t, err)
	<-handling
	r.cancel()
	select {
	case <-told.Done():
	case <-ctx.Done():
		t.Fatal("the handler's ctx has not ended with that of Run")
	}
	select {
	case err := <-r.ran:
		t.Fatalf("Run returned %v before its handler", err)
	case <-time.After(4 * shortly):
	}
	// The connection works on while the handler drains.
	s, err := agent.OpenStream(ctx)
	check(t, err)
	_, err = s.Write([]byte("still there"))
	check(t, err)
	close(release)
	if err := r.stop(t); err != nil {
		t.Errorf("Run after its ctx was cancelled: %v", err)
	}
	_, err = agent.AcceptStream(ctx)
	check(t, wantKind("AcceptStream at the far end", err, postern.Draining))
	check(t, agent.CloseWithError(postern.OK, ""))
}

// runFreesTheSocket: after Run the port can be taken again.
func runFreesTheSocket(t *testing.T, _ context.Context, maker transport.Maker) {
	r := newRig(t, maker, nil)
	relay, agent := r.connect(t)
	closeBoth(t, relay, agent)
	check(t, r.stop(t))
	if maker.Network == transport.NetworkUDP {
		again, err := net.ListenPacket("udp", r.addr)
		check(t, err)
		check(t, again.Close())
		return
	}
	again, err := net.Listen("tcp", r.addr)
	check(t, err)
	check(t, again.Close())
}

// runFailsWithSocket: a socket that breaks is an error.
func runFailsWithSocket(t *testing.T, ctx context.Context, maker transport.Maker) {
	r := newRig(t, maker, nil)
	relay, agent := r.connect(t)
	closeBoth(t, relay, agent)
	check(t, r.socket.Close())
	select {
	case err := <-r.ran:
		r.ran <- err
		if err == nil {
			t.Error("Run returned no error though its socket was closed")
		}
	case <-ctx.Done():
		t.Error("Run goes on though its socket was closed")
	}
}

// cancelledRunRefuses: while handlers drain nobody new gets in.
func cancelledRunRefuses(t *testing.T, ctx context.Context, maker transport.Maker) {
	release := make(chan struct{})
	handling := make(chan struct{}, 64)
	r := newRig(t, maker, func(o *transport.ListenOptions) {
		o.Accept = map[string]transport.Accept{transport.ALPNAgent: {Handle: func(_ context.Context, c transport.Conn, _ func()) {
			handling <- struct{}{}
			<-release
			_ = c.CloseWithError(postern.Draining, "") // the case looks at the other end
		}}}
	})
	agent, err := r.dial(ctx)
	check(t, err)
	<-handling
	r.cancel()
	dialling, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for { // Run needs a moment to notice
		c, err := r.dial(dialling)
		if err != nil {
			break
		}
		if dialling.Err() != nil {
			t.Error("connections are taken in though the ctx of Run has ended")
		}
		check(t, c.CloseWithError(postern.OK, ""))
	}
	close(release)
	check(t, r.stop(t))
	check(t, agent.CloseWithError(postern.OK, ""))
}

// socket is what maker's listener listens on.
func socket(maker transport.Maker) string {
	if maker.Network == transport.NetworkUDP {
		return "udp"
	}
	return "tcp"
}

// noise: strangers that send rubbish, or nothing, or leave in the middle, are no trouble to others.
func noise(t *testing.T, ctx context.Context, maker transport.Maker) {
	r := newRig(t, maker, nil)
	for i := range 64 {
		stranger, err := (&net.Dialer{}).DialContext(ctx, socket(maker), r.addr)
		check(t, err)
		t.Cleanup(func() { check(t, stranger.Close()) })
		if i%4 != 0 { // the others say nothing
			// The listener may hang up on us while we write.
			_, _ = stranger.Write(payload(1+i*20, uint64(i)))
		}
	}
	relay, agent := r.connect(t)
	near, far := mustOpen(t, ctx, relay, agent)
	check(t, errors.Join(near.Close(), far.Close()))
	closeBoth(t, relay, agent)
}
