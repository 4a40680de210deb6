package pki

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-dev/postern"
)

// maxNames bounds a certificate on a machine with hundreds of interfaces: it crosses the wire at each handshake.
const maxNames = 100

// Names returns what a relay's certificate is to be good for: localhost and the loopback addresses, extra, the host's
// names and the addresses of its interfaces. An entry of extra is a name, an address, or either with a port; one that is none of those is
// an error.
func Names(extra []string) ([]string, error) {
	names := []string{"localhost", "127.0.0.1", "::1"}
	add := func(name string) {
		if !slices.Contains(names, name) && len(names) < maxNames {
			names = append(names, name)
		}
	}
	for _, e := range extra {
		host, err := hostOf(e)
		if err != nil {
			return nil, err
		}
		add(host)
	}
	for _, name := range hostNames() {
		// A host may call itself what no certificate can say; it is then reached by other names.
		if canonical, err := postern.CanonicalHost(name); err == nil {
			add(canonical)
		}
	}
	for _, addr := range interfaceAddrs() {
		add(addr)
	}
	return names, nil
}

// hostOf returns the host of a name, an address, or either with a port.
func hostOf(s string) (string, error) {
	host := s
	if h, port, err := net.SplitHostPort(s); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return "", fmt.Errorf("%q cannot stand in a certificate: %q is not a port", s, port)
		}
		host = h
	}
	canonical, err := postern.CanonicalHost(host)
	if err != nil {
		return "", fmt.Errorf("%q cannot stand in a certificate: %w", s, err)
	}
	return canonical, nil
}

// hostNames returns the host's name, and what /etc/hosts says it is called in full, as hostname -f does. DNS is not asked:
// a start must not wait for it.
func hostNames() []string {
	host, err := os.Hostname()
	if err != nil {
		return nil // a host without a name has addresses
	}
	names := []string{host}
	if short, _, ok := strings.Cut(host, "."); ok {
		names = append(names, short)
	}
	table, err := os.ReadFile("/etc/hosts")
	if err != nil {
		return names // not every system has it
	}
	return append(names, aliases(string(table), host)...)
}

// aliases returns the names that stand in a line of /etc/hosts together with host.
func aliases(table, host string) []string {
	var names []string
	for line := range strings.Lines(table) {
		line, _, _ = strings.Cut(line, "#")
		if fields := strings.Fields(line); len(fields) > 1 && slices.Contains(fields[1:], host) {
			names = append(names, fields[1:]...)
		}
	}
	return names
}

// interfaceAddrs returns the addresses of the machine's interfaces that others can use: those that need a zone are left out.
func interfaceAddrs() []string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil // the names and --advertise remain
	}
	var names []string
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		if ip := prefix.Addr().Unmap(); !ip.IsLinkLocalUnicast() {
			names = append(names, ip.String())
		}
	}
	return names
}
