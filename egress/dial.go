package egress

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/postern-dev/postern"
)

// way is from what a client asked for to what is dialled; the two differ for declared services.
type way struct {
	to    postern.Target // TCP or Unix
	asked postern.Target // stands in errors, which clients see
	rules policy         // for the address of to
}

// dialTCP connects to w.to at an address that the rules permit.
func (e *Egress) dialTCP(ctx context.Context, w way) (net.Conn, error) {
	addrs, err := e.candidates(ctx, w)
	if err != nil {
		return nil, err
	}
	conn, err := race(ctx, addrs, func(ctx context.Context, a netip.Addr) (net.Conn, error) {
		conn, err := e.tcpDialer(w).DialContext(ctx, "tcp", netip.AddrPortFrom(a, w.to.Port).String())
		if err != nil {
			return nil, dialError(ctx, w, err)
		}
		return conn, nil
	})
	if err != nil {
		return nil, dialError(ctx, w, err)
	}
	if c, ok := conn.(*net.TCPConn); ok {
		// What gathers small writes is the sender far away, not this hop. Failing means that the connection has ended already.
		_ = c.SetNoDelay(true)
	}
	return conn, nil
}

// tcpDialer checks the address once more, in the form that the kernel is given.
func (e *Egress) tcpDialer(w way) Dialer {
	if e.dialer != nil {
		return e.dialer
	}
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 6},
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			real, err := netip.ParseAddrPort(address)
			if err != nil {
				return postern.Errorf(postern.Internal, postern.HopAgent, "dialling %s without an address", w.asked)
			}
			return w.rules.permits(w.to, real.Addr())
		},
	}
}

// dialUnix connects to a unix socket.
func (e *Egress) dialUnix(ctx context.Context, w way) (net.Conn, error) {
	dialer := e.dialer
	if dialer == nil {
		dialer = &net.Dialer{}
	}
	conn, err := dialer.DialContext(ctx, "unix", w.to.Host)
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, w.failed(postern.Unreachable, "there is no socket for %s", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, w.failed(postern.Refused, "the agent has no permission to use %s", err)
	case isBusy(err):
		return nil, w.failed(postern.Refused, "%s takes no more connections now", err)
	default:
		return nil, dialError(ctx, w, err)
	}
}

// dialError gives a failed connect its kind.
func dialError(ctx context.Context, w way, err error) error {
	if e, ok := errors.AsType[*postern.Error](err); ok {
		return e // from ControlContext
	}
	timeout, isTimeout := errors.AsType[net.Error](err)
	switch {
	case isRefused(err):
		return w.failed(postern.Refused, "%s refused the connection", err)
	case isExhausted(err):
		return exhausted(err)
	case errors.Is(ctx.Err(), context.DeadlineExceeded), isTimeout && timeout.Timeout():
		return w.failed(postern.Timeout, "%s did not answer in time", err)
	default:
		// No route, no such network, a local firewall: what they have in common is that nobody was reached.
		return w.failed(postern.Unreachable, "%s cannot be reached", err)
	}
}

// exhausted is an error of the agent's own machine.
func exhausted(err error) error {
	return &postern.Error{Kind: postern.Overloaded, Hop: postern.HopAgent, Detail: "the agent has no descriptors or memory left", Err: err}
}

// failed is an error at the target. The detail has what was asked for; what it resolves to stays in the cause.
func (w way) failed(k postern.Kind, format string, err error) error {
	return &postern.Error{Kind: k, Hop: postern.HopTarget, Detail: fmt.Sprintf(format, w.asked.Address()), Err: err}
}
