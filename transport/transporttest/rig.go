package transporttest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/testnet"
	"github.com/postern-dev/postern/transport"
)

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
	if r.maker.Network == transport.NetworkUDP {
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

// wantCrowd dials while the gate is full, and expects the new connection or one of the others to be broken off.
func (r *rig) wantCrowd(ctx context.Context, others ...transport.Conn) error {
	c, err := r.dial(ctx)
	if err != nil {
		if postern.KindOf(err) == postern.Internal {
			return fmt.Errorf("a Dial while the gate is full: kind %q (%w)", postern.Internal, err)
		}
		return nil
	}
	all := append([]transport.Conn{c}, others...)
	broken := make(chan error, len(all))
	watching, stop := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	for _, one := range all {
		watchers.Go(func() {
			_, err := one.AcceptStream(watching)
			broken <- err
		})
	}
	err = <-broken
	if ctx.Err() != nil {
		err = nil
	}
	stop()
	watchers.Wait()
	return errors.Join(wantBroken("one connection too many", err), c.CloseWithError(postern.OK, ""))
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
