package transporttest

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/gate"
	"github.com/postern-dev/postern/transport"
)

// grace is how much later than the contract says a silence may be noticed, on a busy machine.
const grace = 3 * time.Second

// tcpCases are for transports over TCP alone.
func tcpCases(network string) []makerCase {
	cases := []makerCase{
		{"RoadReset", func(t *testing.T, ctx context.Context, maker transport.Maker) { roadCut(t, ctx, maker, true) }},
		{"RoadClosed", func(t *testing.T, ctx context.Context, maker transport.Maker) { roadCut(t, ctx, maker, false) }},
		{"GateCountsTheSilent", gateCountsSilent},
	}
	if network == transport.NetworkTCP {
		cases = append(cases, makerCase{"Raw", raw})
	}
	return cases
}

// slowCases wait for liveness and handshake limits.
func slowCases(network string) []makerCase {
	cases := []makerCase{
		{"FrozenWhileIdle", frozenWhileIdle},
		{"FrozenInMidTransfer", frozenInMidTransfer},
		{"IdleStaysAlive", idleStaysAlive},
		{"SilentDial", silentDial},
	}
	if network != transport.NetworkUDP {
		cases = append(cases, makerCase{"SilentStranger", silentStranger})
	}
	return cases
}

// roadCut: the TCP connection is closed beneath a transfer. No stream ends cleanly, and both ends learn it.
func roadCut(t *testing.T, ctx context.Context, maker transport.Maker, reset bool) {
	r := newRig(t, maker, nil)
	way := newRoad(t, maker.Network, r.addr)
	relay, agent := way.connectOver(t, r)
	t.Cleanup(func() { closeBoth(t, relay, agent) })
	near, far := mustOpen(t, ctx, relay, agent)
	idle, idleFar := mustOpen(t, ctx, relay, agent)
	var g errgroup.Group
	flowing := make(chan struct{})
	g.Go(func() error { return wantBroken("Write", writeUntilError(near)) })
	g.Go(func() error {
		if _, err := io.ReadFull(far, make([]byte, 1<<20)); err != nil {
			return err
		}
		close(flowing)
		return wantBroken("Read", readUntilError(far))
	})
	for _, s := range []postern.Stream{idle, idleFar} {
		g.Go(func() error { return wantBroken("Read of an idle stream", readUntilError(s)) })
	}
	for name, c := range map[string]transport.Conn{"relay": relay, "agent": agent} {
		g.Go(func() error {
			_, err := c.AcceptStream(ctx)
			if k := postern.KindOf(err); k != postern.Aborted && k != postern.Timeout {
				return fmt.Errorf("accepting at the %s: kind %q (%w), want %q", name, k, err, postern.Aborted)
			}
			return nil
		})
	}
	<-flowing
	way.cut(reset)
	check(t, g.Wait())
}

// gateCountsSilent: strangers that never say hello count too. Of three, one is hung up on at once.
func gateCountsSilent(t *testing.T, ctx context.Context, maker transport.Maker) {
	r := newRig(t, maker, func(o *transport.ListenOptions) { o.Gate = &gate.Gate{PerSource: 2} })
	var silent []net.Conn
	hungUp := make(chan struct{}, 3)
	var reading errgroup.Group
	for range 3 {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.addr)
		if errors.Is(err, syscall.ECONNRESET) {
			// Hung up on before connect(2) returned.
			hungUp <- struct{}{}
			continue
		}
		check(t, err)
		silent = append(silent, c)
		reading.Go(func() error {
			// How it ends does not matter.
			_, _ = io.Copy(io.Discard, onlyReader{c})
			hungUp <- struct{}{}
			return nil
		})
	}
	select {
	case <-hungUp:
	case <-time.After(transport.HandshakeTimeout / 2):
		t.Error("three strangers are let in where the gate has room for two")
	}
	for _, c := range silent {
		check(t, c.Close())
	}
	check(t, reading.Wait())
	r.awaitRoom(t, ctx)
}

// raw: connections of an ALPN in Raw, and those without any, are handed over as they are.
func raw(t *testing.T, ctx context.Context, maker transport.Maker) {
	r := newRig(t, maker, func(o *transport.ListenOptions) {
		o.Raw = map[string]func(context.Context, net.Conn, func()){
			transport.ALPNHTTP: func(_ context.Context, c net.Conn, authenticated func()) {
				authenticated()
				line, _ := bufio.NewReader(c).ReadString('\n') // a wrong line shows in the answer
				_, _ = c.Write([]byte("you said " + line))     // the client looks at what arrives
				_ = c.Close()
			},
		}
	})
	for _, protos := range [][]string{nil, {transport.ALPNHTTP}, {"h2", transport.ALPNHTTP}} {
		cfg := r.client.Clone()
		cfg.NextProtos = protos
		c, err := (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", r.addr)
		if err != nil {
			t.Fatalf("ALPN %q: %v", protos, err)
		}
		_, err = c.Write([]byte("hello\n"))
		check(t, err)
		got, err := io.ReadAll(c)
		if string(got) != "you said hello\n" || err != nil {
			t.Errorf("ALPN %q: %q, %v", protos, got, err)
		}
		check(t, c.Close())
	}
	relay, agent := r.connect(t) // the others are served beside them
	closeBoth(t, relay, agent)
}

// frozenWhileIdle: packets vanish while nobody sends anything. Both ends notice.
func frozenWhileIdle(t *testing.T, ctx context.Context, maker transport.Maker) {
	r := newRig(t, maker, nil)
	way := newRoad(t, maker.Network, r.addr)
	relay, agent := way.connectOver(t, r)
	t.Cleanup(func() { closeBoth(t, relay, agent) })
	near, far := mustOpen(t, ctx, relay, agent)
	way.freeze()
	var g errgroup.Group
	awaitTimeout(&g, ctx, relay, agent)
	for _, s := range []postern.Stream{near, far} {
		g.Go(func() error { return wantKind("Read", readUntilError(s), postern.Timeout) })
	}
	check(t, g.Wait())
}

// frozenInMidTransfer: the same while bytes flow.
func frozenInMidTransfer(t *testing.T, ctx context.Context, maker transport.Maker) {
	r := newRig(t, maker, nil)
	way := newRoad(t, maker.Network, r.addr)
	relay, agent := way.connectOver(t, r)
	t.Cleanup(func() { closeBoth(t, relay, agent) })
	near, far := mustOpen(t, ctx, relay, agent)
	var g errgroup.Group
	flowing := make(chan struct{})
	g.Go(func() error { return wantKind("Write", writeUntilError(near), postern.Timeout) })
	g.Go(func() error {
		if _, err := io.ReadFull(far, make([]byte, 1<<20)); err != nil {
			return err
		}
		close(flowing)
		return wantKind("Read", readUntilError(far), postern.Timeout)
	})
	<-flowing
	way.freeze()
	awaitTimeout(&g, ctx, relay, agent)
	check(t, g.Wait())
}

// awaitTimeout checks that both ends fail with a Timeout, when the contract says.
func awaitTimeout(g *errgroup.Group, ctx context.Context, relay, agent transport.Conn) {
	start := time.Now()
	for name, c := range map[string]transport.Conn{"relay": relay, "agent": agent} {
		g.Go(func() error {
			_, err := c.AcceptStream(ctx)
			if took := time.Since(start); took < transport.ProbeAfter || took > transport.DeadAfter+grace {
				return fmt.Errorf("the %s noticed the silence after %v, want %v", name, took, transport.DeadAfter)
			}
			return wantKind("AcceptStream of the "+name, err, postern.Timeout)
		})
	}
}

// idleStaysAlive: a connection on which nobody sends anything outlives DeadAfter.
func idleStaysAlive(t *testing.T, ctx context.Context, maker transport.Maker) {
	r := newRig(t, maker, nil)
	relay, agent := r.connect(t)
	t.Cleanup(func() { closeBoth(t, relay, agent) })
	near, far := mustOpen(t, ctx, relay, agent)
	waiting, cancel := context.WithTimeout(ctx, transport.DeadAfter+grace)
	defer cancel()
	if _, err := relay.AcceptStream(waiting); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the idle connection ended: %v", err)
	}
	want := []byte("still there")
	check(t, sendAll(near, want))
	check(t, receiveAll(far, want))
	check(t, errors.Join(near.Close(), far.Close()))
}

// silentDial: a relay that never answers costs a dialer no more than HandshakeTimeout.
func silentDial(t *testing.T, ctx context.Context, maker transport.Maker) {
	r := newRig(t, maker, nil)
	way := newRoad(t, maker.Network, r.addr)
	way.freeze()
	start := time.Now()
	_, err := r.dialAt(ctx, way.addr)
	check(t, wantKind("Dial", err, postern.Timeout))
	if took := time.Since(start); took > transport.HandshakeTimeout+grace {
		t.Errorf("Dial gave up after %v, want %v", took, transport.HandshakeTimeout)
	}
}

// silentStranger: who does not say hello is gone before HandshakeTimeout.
func silentStranger(t *testing.T, ctx context.Context, maker transport.Maker) {
	r := newRig(t, maker, nil)
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.addr)
	check(t, err)
	defer func() { check(t, c.Close()) }()
	start := time.Now()
	check(t, c.SetReadDeadline(start.Add(transport.HandshakeTimeout)))
	_, err = io.Copy(io.Discard, c)
	if errors.Is(err, context.DeadlineExceeded) || time.Since(start) >= transport.HandshakeTimeout {
		t.Errorf("a stranger that says nothing is kept for more than %v", transport.HandshakeTimeout)
	}
}
