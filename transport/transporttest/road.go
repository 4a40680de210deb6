package transporttest

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/postern-dev/postern/transport"
)

// road stands between dialer and listener and can be broken. It carries TCP connections or UDP packets.
type road struct {
	addr   string // where to dial
	target string

	running sync.WaitGroup
	frozen  chan struct{} // closed: nothing is carried any more, and nobody is told
	freeze  func()

	mu     sync.Mutex
	closed bool       // guarded by mu, like conns
	conns  []net.Conn // everything to close
}

// newRoad returns a road to target. It ends with t.
func newRoad(t *testing.T, network, target string) *road {
	t.Helper()
	r := &road{target: target, frozen: make(chan struct{})}
	r.freeze = sync.OnceFunc(func() { close(r.frozen) })
	var entry interface{ Close() error }
	if network == transport.NetworkUDP {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		check(t, err)
		r.addr, entry = pc.LocalAddr().String(), pc
		r.running.Go(func() { r.carryPackets(t.Context(), pc) })
	} else {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		r.addr, entry = ln.Addr().String(), ln
		r.running.Go(func() { r.carryConns(t.Context(), ln) })
	}
	t.Cleanup(func() {
		r.freeze()
		r.closeAll(func(c net.Conn) { _ = c.Close() }) // what is closed already is fine
		check(t, entry.Close())
		r.running.Wait()
	})
	return r
}

// cut breaks every TCP connection, by RST or by a FIN that looks like a clean end.
func (r *road) cut(reset bool) {
	r.closeAll(func(c net.Conn) {
		if tcp, ok := c.(*net.TCPConn); ok && reset {
			_ = tcp.SetLinger(0) // fails on closed sockets only
		}
		_ = c.Close()
	})
}

func (r *road) closeAll(end func(net.Conn)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, c := range r.conns {
		end(c)
	}
	r.conns = nil
}

// keep notes c for closeAll; false if that has been.
func (r *road) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		_ = c.Close() // nobody has used it
		return false
	}
	r.conns = append(r.conns, c)
	return true
}

func (r *road) carryConns(ctx context.Context, ln net.Listener) {
	for {
		in, err := ln.Accept()
		if err != nil {
			return
		}
		out, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.target)
		if err != nil {
			_ = in.Close() // the dialer learns it
			continue
		}
		if r.keep(in) && r.keep(out) {
			r.running.Go(func() { r.copy(out, in) })
			r.running.Go(func() { r.copy(in, out) })
		}
	}
}

// copy carries bytes until the road is frozen or one end is closed, which closes the other.
func (r *road) copy(to, from net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		select {
		case <-r.frozen:
			return
		default:
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			_ = to.Close() // may be closed already
			return
		}
	}
}

// carryPackets gives each dialer a socket of its own towards the target, so that the way back is known.
func (r *road) carryPackets(ctx context.Context, entry net.PacketConn) {
	exits := make(map[string]net.Conn)
	buf := make([]byte, 64<<10)
	for {
		n, from, err := entry.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || r.isFrozen() {
			continue
		}
		exit, ok := exits[from.String()]
		if !ok {
			if exit, err = (&net.Dialer{}).DialContext(ctx, "udp", r.target); err != nil || !r.keep(exit) {
				continue
			}
			exits[from.String()] = exit
			r.running.Go(func() { r.carryBack(entry, from, exit) })
		}
		_, _ = exit.Write(buf[:n]) // packets may be lost
	}
}

func (r *road) carryBack(entry net.PacketConn, to net.Addr, exit net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := exit.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && !r.isFrozen() {
			_, _ = entry.WriteTo(buf[:n], to) // packets may be lost
		}
	}
}

func (r *road) isFrozen() bool {
	select {
	case <-r.frozen:
		return true
	default:
		return false
	}
}

// connectOver connects by the road.
func (r *road) connectOver(t *testing.T, rig *rig) (relay, agent transport.Conn) {
	t.Helper()
	a, agent := rig.connectAt(t, r.addr)
	return a.Conn, agent
}
