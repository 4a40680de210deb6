package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"

	"github.com/postern-dev/postern"
)

// maxCandidates bounds how many addresses of one name are tried; more than the dial timeout leaves time for.
const maxCandidates = 32

// candidates returns the addresses of w.to that the rules permit, in the order to try them. Names are resolved here and nowhere else:
// what is permitted is what is dialled.
func (e *Egress) candidates(ctx context.Context, w way) ([]netip.Addr, error) {
	addrs, err := e.resolve(ctx, w)
	if err != nil {
		return nil, err
	}
	var denied error
	permitted := slices.DeleteFunc(addrs, func(a netip.Addr) bool {
		err := w.rules.permits(w.to, a)
		if err != nil {
			denied = err
		}
		return err != nil
	})
	if len(permitted) == 0 {
		return nil, denied
	}
	sorted := interleave(permitted)
	return sorted[:min(len(sorted), maxCandidates)], nil
}

// resolve returns the addresses of w.to, at least one, each once.
func (e *Egress) resolve(ctx context.Context, w way) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(w.to.Host); err == nil {
		return []netip.Addr{addr.Unmap()}, nil
	}
	found, err := e.resolver.LookupNetIP(ctx, "ip", w.to.Host)
	if err != nil {
		return nil, lookupError(ctx, w, err)
	}
	var addrs []netip.Addr
	for _, a := range found {
		// An address with a zone comes from a hosts file. It cannot be permitted, as it cannot be written in a rule.
		if a = a.Unmap(); a.IsValid() && a.Zone() == "" && !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	if len(addrs) == 0 {
		return nil, w.failed(postern.NameNotFound, "the name of %s has no address", nil)
	}
	return addrs, nil
}

// lookupError tells a name that does not exist from name servers that do not answer. The servers' addresses stay in the cause.
func lookupError(ctx context.Context, w way, err error) error {
	dns, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case isDNS && dns.IsNotFound:
		return w.failed(postern.NameNotFound, "the name of %s does not resolve", err)
	case ctx.Err() != nil, isDNS && dns.IsTimeout, errors.Is(err, context.DeadlineExceeded):
		return w.failed(postern.Timeout, "the name of %s was not resolved in time", err)
	case isExhausted(err):
		return exhausted(err)
	default:
		return w.failed(postern.Unreachable, "the name of %s cannot be resolved now: the name servers fail", err)
	}
}

// interleave puts the families in turns, IPv6 first, and leaves the resolver's order within each (RFC 8305 §4).
func interleave(addrs []netip.Addr) []netip.Addr {
	var v6, v4 []netip.Addr
	for _, a := range addrs {
		if a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	sorted := make([]netip.Addr, 0, len(addrs))
	for len(v6) > 0 || len(v4) > 0 {
		if len(v6) > 0 {
			sorted, v6 = append(sorted, v6[0]), v6[1:]
		}
		if len(v4) > 0 {
			sorted, v4 = append(sorted, v4[0]), v4[1:]
		}
	}
	return sorted
}
