package postern

import (
	"net"
	"strconv"
	"strings"
)

// Network is how a target is reached.
type Network string

// The networks. UDP is carried as datagrams; the others are byte streams.
const (
	TCP     Network = "tcp"
	UDP     Network = "udp"
	Unix    Network = "unix"
	Service Network = "service"
)

// serviceZone is the zone under which declared services stand in CONNECT, SOCKS5 and URLs. It is never resolved.
const serviceZone = ".service"

// Target is what a client asks an agent for.
type Target struct {
	Network Network
	Host    string // TCP and UDP: a canonical name or address (see CanonicalHost); Unix: the path; Service: the name
	Port    uint16 // TCP and UDP: never 0
}

// ParseTarget reads a target as people write it:
//
//	host:port  tcp/host:port  tcp://host:port  udp/host:port
//	/run/x.sock  unix:/run/x.sock  service:NAME  NAME.service  NAME.service:22
//
// The error is an *Error of kind BadAddress.
func ParseTarget(s string) (Target, error) {
	switch {
	case strings.HasPrefix(s, "/"):
		return unixTarget(s)
	case strings.HasPrefix(s, "unix:"):
		return unixTarget(strings.TrimPrefix(strings.TrimPrefix(s, "unix:"), "//"))
	case strings.HasPrefix(s, "service:"):
		return ServiceTarget(strings.TrimPrefix(s, "service:"))
	}
	network := TCP
	if rest, ok := cutNetwork(s, UDP); ok {
		network, s = UDP, rest
	} else if rest, ok := cutNetwork(s, TCP); ok {
		s = rest
	}
	if network == TCP && strings.HasSuffix(strings.ToLower(s), serviceZone) {
		return ServiceTarget(s[:len(s)-len(serviceZone)])
	}
	return HostPortTarget(network, s)
}

func cutNetwork(s string, n Network) (string, bool) {
	for _, sep := range []string{"://", "/"} {
		if rest, ok := strings.CutPrefix(s, string(n)+sep); ok {
			return rest, true
		}
	}
	return s, false
}

// HostPortTarget reads host:port. A host below ".service" is a declared service, whatever its port.
func HostPortTarget(network Network, hostport string) (Target, error) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return Target{}, Errorf(BadAddress, HopRelay, "the target %q is not host:port", Clip(hostport))
	}
	p, err := parsePort(port)
	if err != nil {
		return Target{}, err
	}
	return NewTarget(network, host, p)
}

// NewTarget returns the target host:port in canonical form. The error is an *Error of kind BadAddress.
func NewTarget(network Network, host string, port uint16) (Target, error) {
	if port == 0 {
		return Target{}, Errorf(BadAddress, HopRelay, "port 0 cannot be connected to")
	}
	canonical, err := CanonicalHost(host)
	if err != nil {
		return Target{}, err
	}
	if name, ok := strings.CutSuffix(canonical, serviceZone); ok && network == TCP {
		return ServiceTarget(name)
	}
	return Target{Network: network, Host: canonical, Port: port}, nil
}

// ServiceTarget returns the service of that name as a target. Names follow the rules of agent ids.
func ServiceTarget(name string) (Target, error) {
	if _, err := ParseAgentID(name); err != nil {
		return Target{}, Errorf(BadAddress, HopRelay, "%q is not a service name; allowed are letters, digits and . _ -", Clip(name))
	}
	return Target{Network: Service, Host: strings.ToLower(name)}, nil
}

// maxUnixPath is sun_path less its final zero byte, see unix(7).
const maxUnixPath = 107

func unixTarget(path string) (Target, error) {
	if !strings.HasPrefix(path, "/") || len(path) > maxUnixPath || strings.ContainsRune(path, 0) {
		return Target{}, Errorf(BadAddress, HopRelay, "%q is not an absolute path of a unix socket (at most %d bytes)", Clip(path), maxUnixPath)
	}
	return Target{Network: Unix, Host: path}, nil
}

func parsePort(s string) (uint16, error) {
	p, err := strconv.ParseUint(s, 10, 16)
	// ParseUint takes a leading plus or zeros, which no two programs read alike.
	if err != nil || p == 0 || strconv.FormatUint(p, 10) != s {
		return 0, Errorf(BadAddress, HopRelay, "%q is not a port from 1 to 65535", Clip(s))
	}
	return uint16(p), nil
}

// Valid reports whether t is in the form that the functions of this package return; what arrives by wire is checked with it.
func (t Target) Valid() error {
	var same Target
	var err error
	switch t.Network {
	case TCP, UDP:
		same, err = NewTarget(t.Network, t.Host, t.Port)
	case Unix:
		same, err = unixTarget(t.Host)
	case Service:
		same, err = ServiceTarget(t.Host)
	default:
		return Errorf(BadAddressType, HopRelay, "the network %q is not known", Clip(string(t.Network)))
	}
	if err == nil && same != t {
		err = Errorf(BadAddress, HopRelay, "the target %q is not in canonical form", Clip(t.Host))
	}
	return err
}

// Address is host:port, the unix path, or NAME.service.
func (t Target) Address() string {
	switch t.Network {
	case Unix:
		return t.Host
	case Service:
		return t.Host + serviceZone
	}
	return net.JoinHostPort(t.Host, strconv.Itoa(int(t.Port)))
}

// String is the target as in logs: "tcp 10.0.0.7:22", "unix /run/x.sock", "service web".
func (t Target) String() string {
	if t.Network == Service {
		return "service " + t.Host
	}
	return string(t.Network) + " " + t.Address()
}
