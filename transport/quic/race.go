package quic

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/postern-dev/postern"
)

// headStart is how long an address is tried before the next one starts too (RFC 8305 §5, Connection Attempt Delay).
const headStart = 250 * time.Millisecond

// resolve returns the host of addr, host:port, and its addresses in the order in which to try them. The error is an *Error.
func resolve(ctx context.Context, addr string) (host string, addrs []netip.AddrPort, err error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", nil, postern.Errorf(postern.BadAddress, postern.HopRelay, "the relay's address %q is not host:port", addr)
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || p == 0 {
		return "", nil, postern.Errorf(postern.BadAddress, postern.HopRelay, "the relay's address %q has no port from 1 to 65535", addr)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return "", nil, resolveError(err, host)
	}
	for _, ip := range interleave(ips) {
		addrs = append(addrs, netip.AddrPortFrom(ip, uint16(p)))
	}
	return host, addrs, nil
}

func resolveError(err error, host string) *postern.Error {
	if errors.Is(err, context.Canceled) {
		return givenUp(err, "resolving "+host+" was given up")
	}
	failed := &postern.Error{Kind: postern.NameNotFound, Hop: postern.HopRelay, Detail: "the relay's name " + strconv.Quote(host) + " does not resolve", Err: err}
	if isTimeout(err) {
		failed.Kind = postern.Timeout
	}
	return failed
}

// interleave lets the families take turns (RFC 8305 §4), beginning with that of the first address.
func interleave(ips []netip.Addr) []netip.Addr {
	var same, other, mixed []netip.Addr
	for _, ip := range ips {
		if ip = ip.Unmap(); ip.Is4() == ips[0].Unmap().Is4() {
			same = append(same, ip)
		} else {
			other = append(other, ip)
		}
	}
	for i := range max(len(same), len(other)) {
		mixed = append(mixed, same[min(i, len(same)):min(i+1, len(same))]...)
		mixed = append(mixed, other[min(i, len(other)):min(i+1, len(other))]...)
	}
	return mixed
}

// outcome is how one attempt of a race ended.
type outcome struct {
	conn *conn
	err  error
}

// race dials addrs in order, each a head start after the one before or as soon as that has failed. The first connection wins;
// the other attempts are cancelled. It returns when all attempts have ended, with the most telling error if none has won.
func race(ctx context.Context, addrs []netip.AddrPort, dial func(context.Context, netip.AddrPort) (*conn, error)) (*conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	outcomes := make(chan outcome, len(addrs))
	running := 0
	start := func() {
		to := addrs[0]
		addrs = addrs[1:]
		running++
		go func() {
			c, err := dial(ctx, to)
			outcomes <- outcome{c, err}
		}()
	}
	var failures []error
	timer := time.NewTimer(headStart)
	defer timer.Stop()
	for start(); running > 0; {
		select {
		case o := <-outcomes:
			running--
			if o.err == nil {
				cancel()
				closeLosers(outcomes, running)
				return o.conn, nil
			}
			failures = append(failures, o.err)
		case <-timer.C:
		}
		if len(addrs) > 0 && ctx.Err() == nil {
			start()
			timer.Reset(headStart)
		}
	}
	return nil, mostTelling(failures)
}

// closeLosers waits for the attempts that still run, and closes what they brought.
func closeLosers(outcomes <-chan outcome, running int) {
	for range running {
		if o := <-outcomes; o.err == nil {
			// The winner is what counts, whatever goes wrong here.
			_ = o.conn.CloseWithError(postern.OK, "another address was faster")
		}
	}
}

// mostTelling picks the error of a relay that answered over that of silence, and silence over having no route.
func mostTelling(errs []error) error {
	rank := func(err error) int {
		switch postern.KindOf(err) {
		case postern.Unauthenticated, postern.BadCommand:
			return 3
		case postern.Unreachable:
			return 0
		case postern.Timeout, postern.Aborted:
			return 1
		}
		return 2
	}
	best := errs[0]
	for _, err := range errs[1:] {
		if rank(err) > rank(best) {
			best = err
		}
	}
	return best
}
