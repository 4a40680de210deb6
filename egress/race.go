package egress

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/postern-dev/postern"
)

// attemptDelay is how long an attempt is alone before the next address is tried beside it (RFC 8305 §5).
const attemptDelay = 250 * time.Millisecond

// attempt is the outcome of dialling one address.
type attempt struct {
	conn net.Conn
	err  error
}

// race dials addrs in their order, each attemptDelay after the one before or as soon as that has failed, and returns the first
// connection. The other attempts are cancelled and have ended when it returns. If all fail, the most telling error is returned.
func race(ctx context.Context, addrs []netip.Addr, dial func(context.Context, netip.Addr) (net.Conn, error)) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	attempts := make(chan attempt)
	running := 0
	startNext := func() {
		if len(addrs) == 0 || ctx.Err() != nil {
			return
		}
		addr := addrs[0]
		addrs = addrs[1:]
		running++
		go func() {
			conn, err := dial(ctx, addr)
			attempts <- attempt{conn, err}
		}()
	}
	delay := time.NewTimer(attemptDelay)
	defer delay.Stop()
	startNext()
	worst := ctx.Err()
	for running > 0 {
		select {
		case a := <-attempts:
			running--
			if a.err == nil {
				cancel()
				closeLosers(attempts, running)
				return a.conn, nil
			}
			worst = moreTelling(worst, a.err)
		case <-delay.C:
		}
		startNext()
		if len(addrs) > 0 {
			delay.Reset(attemptDelay)
		}
	}
	return nil, worst
}

// closeLosers waits for the attempts that still run; one may have connected before it noticed that it was cancelled.
func closeLosers(attempts <-chan attempt, running int) {
	for range running {
		if a := <-attempts; a.err == nil {
			// Nothing was sent on it; how its end goes is of no interest.
			_ = a.conn.Close()
		}
	}
}

// moreTelling returns the error that says more about the target: one that answered before one that was silent, silence before no way.
// What the agent itself lacks comes first, since it says nothing about the target. The first of equals stays.
func moreTelling(a, b error) error {
	rank := func(err error) int {
		if err == nil {
			return 0
		}
		switch postern.KindOf(err) {
		case postern.Overloaded:
			return 5
		case postern.Refused:
			return 4
		case postern.Timeout:
			return 3
		case postern.Unreachable:
			return 2
		default:
			return 1
		}
	}
	if rank(b) > rank(a) {
		return b
	}
	return a
}
