package relay

import (
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
)

// advertised is where agents and programs of clients can reach this relay's agents listener, best first: what the operator says,
// else the address it listens on, else the host's name and addresses.
func (r *running) advertised() []string {
	if r.lns.agentsTCP == nil {
		return nil
	}
	p, err := portOf(r.lns.agentsTCP.Addr())
	if err != nil {
		return nil
	}
	if adv := r.cfg.Advertise; len(adv) > 0 {
		all := make([]string, 0, len(adv))
		for _, a := range adv {
			all = append(all, withPort(a, p))
		}
		return all
	}
	if host, _, err := net.SplitHostPort(r.lns.agentsTCP.Addr().String()); err == nil && !unspecified(host) {
		return []string{r.lns.agentsTCP.Addr().String()}
	}
	return hostAddresses(p)
}

// advertisedWeb is the URL of this relay's web listener for join strings; empty where those who reach the agents listener may not
// reach it, because it listens on loopback behind some other web server: only the operator knows that one's URL.
func (r *running) advertisedWeb() string {
	if r.lns.web == nil {
		return ""
	}
	agents := r.advertised()
	host, port, err := net.SplitHostPort(r.lns.web.Addr().String())
	if err != nil || len(agents) == 0 {
		return ""
	}
	switch {
	case unspecified(host):
		host = hostOf(agents[0])
	case isLoopback(host) && !isLoopback(agents[0]):
		return ""
	}
	// TLS, although clear text would do as well: with our own certificate no more TLS is needed inside.
	return (&url.URL{Scheme: "https", Host: net.JoinHostPort(host, port), Path: "/"}).String()
}

func isLoopback(addr string) bool {
	ip, err := netip.ParseAddr(hostOf(addr))
	return err == nil && ip.IsLoopback() || hostOf(addr) == "localhost"
}

// hostAddresses are the host's name and addresses with port p; loopback last, for those who only try things out.
func hostAddresses(p uint16) []string {
	var all []string
	if name, err := os.Hostname(); err == nil && name != "" && name != "localhost" {
		all = append(all, withPort(name, p))
	}
	// Without interfaces there is still loopback.
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err == nil && prefix.Addr().IsGlobalUnicast() {
			all = append(all, netip.AddrPortFrom(prefix.Addr(), p).String())
		}
	}
	return append(all, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), p).String())
}

// withPort adds port p to a host that has none of its own.
func withPort(host string, p uint16) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(int(p)))
}

// hostOf is the host of an address that may have a port.
func hostOf(addr string) string {
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return addr
}

// unspecified reports whether a listener's host means every address of the machine.
func unspecified(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}
