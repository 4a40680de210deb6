package transporttest

import (
	"context"
	"crypto/tls"
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
	if maker.Network == "tcp" {
		cases = append(cases, tcpCases()...)
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

// rig is a listener that runs, and what is needed to dial it. It offers transport.ALPNAgent.
type rig struct {
	maker    transport.Maker
	addr     string // where the listener is
	socket   interface{ Close() error }
	server   *tls.Config
	client   *tls.Config
	accepted chan accepted
	cancel   context.CancelFunc
	ran      chan error // what Run returned
}

// accepted is a conn at the relay, whose handler returns when release is closed or ctx ends.
type accepted struct {
	transport.Conn
	authenticated func()
	ctx           context.Context
	release       chan struct{}
}

// newRig starts a listener; change, if not nil, is applied to its options. Everything ends with t.
func newRig(t *testing.T, maker transport.Maker, change func(*transport.ListenOptions)) *rig {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r := &rig{maker: maker, accepted: make(chan accepted, 64), cancel: cancel, ran: make(chan error, 1)}
	r.server, r.client = testnet.TLS(t)
	r.client.NextProtos = []string{transport.ALPNAgent}
	opts := transport.ListenOptions{TLS: r.server, Accept: map[string]transport.Accept{transport.ALPNAgent: {Handle: r.handle}}}
	r.listen(t, &opts)
	if change != nil {
		change(&opts)
	}
	listener := maker.Listen(opts)
	go func() { r.ran <- listener.Run(ctx) }()
	t.Cleanup(func() { r.stop(t) })
	return r
}

// listen opens the socket that the transport uses.
func (r *rig) listen(t *testing.T, opts *transport.ListenOptions) {
	t.Helper()
	var err error
	if r.maker.Network == "udp" {
		if opts.UDP, err = net.ListenPacket("udp", "127.0.0.1:0"); err == nil {
			r.addr, r.socket = opts.UDP.LocalAddr().String(), opts.UDP
		}
	} else if opts.TCP, err = net.Listen("tcp", "127.0.0.1:0"); err == nil {
		r.addr, r.socket = opts.TCP.Addr().String(), opts.TCP
	}
	check(t, err)
}

// handle hands c to the test and stays until it is released or the listener ends.
func (r *rig) handle(ctx context.Context, c transport.Conn, authenticated func()) {
	a := accepted{Conn: c, authenticated: authenticated, ctx: ctx, release: make(chan struct{})}
	r.accepted <- a
	select {
	case <-ctx.Done():
	case <-a.release:
	}
	// The test has its own opinion on how the conn ended; the first call counts.
	_ = c.CloseWithError(postern.Draining, "the relay ends")
}

// dial connects to the listener.
func (r *rig) dial(ctx context.Context) (transport.Conn, error) { return r.dialAt(ctx, r.addr) }

func (r *rig) dialAt(ctx context.Context, addr string) (transport.Conn, error) {
	dialer := r.maker.Dial(transport.DialOptions{TLS: r.client, MaxStreams: transport.DefaultMaxStreams})
	return dialer.Dial(ctx, addr)
}

// connect returns both ends of a new connection.
func (r *rig) connect(t *testing.T) (relay, agent transport.Conn) {
	t.Helper()
	a, agent := r.connectAt(t, r.addr)
	return a.Conn, agent
}

func (r *rig) connectAt(t *testing.T, addr string) (relay accepted, agent transport.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	agent, err := r.dialAt(ctx, addr)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	select {
	case relay = <-r.accepted:
	case <-ctx.Done():
		t.Fatalf("the listener has not accepted the connection after %v", patience)
	}
	return relay, agent
}

// stop ends the listener and returns what Run did.
func (r *rig) stop(t *testing.T) error {
	t.Helper()
	r.cancel()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case err := <-r.ran:
		r.ran <- err // for the next who asks
		return err
	case <-late.C:
		t.Errorf("Run has not returned %v after its ctx ended", patience)
		return errors.New("Run has not returned")
	}
}

// wantRefusal checks that a dial failed with a telling kind, not because time ran out.
func wantRefusal(c transport.Conn, err error) error {
	if err == nil {
		return errors.Join(errors.New("Dial succeeded"), c.CloseWithError(postern.OK, ""))
	}
	if _, ok := errors.AsType[*postern.Error](err); !ok {
		return fmt.Errorf("Dial: %w is not an *Error", err)
	}
	switch k := postern.KindOf(err); k {
	case postern.OK, postern.Internal, postern.Timeout:
		return fmt.Errorf("Dial: kind %q (%w) does not tell of a refusal", k, err)
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

// gateBoundsStrangers: two strangers fill the gate. Who authenticates, or leaves, makes room.
func gateBoundsStrangers(t *testing.T, ctx context.Context, maker transport.Maker) {
	r := newRig(t, maker, func(o *transport.ListenOptions) { o.Gate = &gate.Gate{PerSource: 2} })
	first, firstAgent := r.connectAt(t, r.addr)
	second, secondAgent := r.connectAt(t, r.addr)
	check(t, r.wantClosed(ctx))

	first.authenticated()
	first.authenticated() // counts once
	third, thirdAgent := r.connectAt(t, r.addr)
	check(t, r.wantClosed(ctx))

	check(t, secondAgent.CloseWithError(postern.OK, "bye"))
	close(second.release)
	r.awaitRoom(t, ctx)
	for _, c := range []transport.Conn{first, firstAgent, third, thirdAgent} {
		check(t, c.CloseWithError(postern.OK, ""))
	}
}

// wantClosed dials, and expects to be refused, or hung up on before anybody handles the connection.
func (r *rig) wantClosed(ctx context.Context) error {
	c, err := r.dial(ctx)
	if err != nil {
		if postern.KindOf(err) == postern.Internal {
			return fmt.Errorf("Dial while the gate is full: kind %q (%w)", postern.Internal, err)
		}
		return nil
	}
	_, err = c.AcceptStream(ctx)
	if ctx.Err() != nil {
		err = nil
	}
	return errors.Join(wantBroken("a connection beyond the gate", err), c.CloseWithError(postern.OK, ""))
}

// awaitRoom dials until the gate lets it in: the listener notices a little later that a connection has ended.
func (r *rig) awaitRoom(t *testing.T, ctx context.Context) {
	t.Helper()
	for {
		c, err := r.dial(ctx)
		if err != nil {
			if ctx.Err() != nil {
				t.Fatalf("the gate has no room though a stranger has left: %v", err)
			}
			continue
		}
		over := make(chan struct{})
		stop := context.AfterFunc(ctx, func() { close(over) })
		defer stop()
		hungUp := make(chan struct{})
		go func() {
			defer close(hungUp)
			// Returns when the conn is over, which is all that matters.
			_, _ = c.AcceptStream(ctx)
		}()
		select {
		case a := <-r.accepted:
			check(t, errors.Join(a.CloseWithError(postern.OK, ""), c.CloseWithError(postern.OK, "")))
			<-hungUp
			return
		case <-hungUp:
			check(t, c.CloseWithError(postern.OK, ""))
		case <-over:
			t.Fatal("the gate has no room though a stranger has left")
		}
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
	if maker.Network == "udp" {
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

// noise: strangers that send rubbish, or nothing, or leave in the middle, are no trouble to others.
func noise(t *testing.T, ctx context.Context, maker transport.Maker) {
	r := newRig(t, maker, nil)
	for i := range 64 {
		stranger, err := (&net.Dialer{}).DialContext(ctx, maker.Network, r.addr)
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
