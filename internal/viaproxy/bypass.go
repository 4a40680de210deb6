package viaproxy

import (
	"net"
	"net/netip"
	"strings"
)

// bypass is what NO_PROXY says: who is reached directly. The entries are names, which cover those below them too, with or without a
// dot before them, addresses, CIDRs, each with or without a port, and * for everybody. Unlike in some programs loopback is
// no exception by itself: a proxy on loopback may be a tunnel to another machine's.
type bypass []exception

type exception struct {
	all    bool
	name   string
	prefix netip.Prefix
	port   string // empty: every port
}

// parseBypass reads NO_PROXY. What cannot be read covers nobody, as everywhere: the variable is shared by many programs.
func parseBypass(s string) bypass {
	var b bypass
	for entry := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ',' || r == ' ' }) {
		e := exception{all: entry == "*"}
		host := entry
		if h, port, err := net.SplitHostPort(entry); err == nil {
			host, e.port = h, port
		}
		host = strings.Trim(host, "[]")
		if prefix, err := netip.ParsePrefix(host); err == nil {
			e.prefix = prefix.Masked()
		} else if ip, err := netip.ParseAddr(host); err == nil {
			e.prefix = netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen())
		}
		e.name = canonical(strings.TrimPrefix(strings.TrimPrefix(host, "*"), "."))
		b = append(b, e)
	}
	return b
}

func (b bypass) covers(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	host = canonical(host)
	ip, err := netip.ParseAddr(host)
	isIP := err == nil
	for _, e := range b {
		switch {
		case e.port != "" && e.port != port:
		case e.all:
			return true
		case isIP:
			if e.prefix.IsValid() && e.prefix.Contains(ip.Unmap()) {
				return true
			}
		case e.name != "" && (host == e.name || strings.HasSuffix(host, "."+e.name)):
			return true
		}
	}
	return false
}

func canonical(host string) string { return strings.TrimSuffix(strings.ToLower(host), ".") }
