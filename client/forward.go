package client

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/postern-dev/postern"
)

// Mode is what a local listener speaks.
type Mode string

// The modes. Each is the ingress of that name.
const (
	Port  Mode = "port"  // every connection goes to one target
	Socks Mode = "socks" // a SOCKS5 proxy, every connection names its target
	HTTP  Mode = "http"  // an HTTP proxy, every request names its target
)

// Forward is one local listener and where its connections go.
type Forward struct {
	// Mode is what the listener speaks.
	Mode Mode
	// Network and Address are where it listens: "tcp" and host:port (port 0 is a free one), or "unix" and a path.
	Network, Address string
	// Agent is the agent that all connections go through.
	Agent postern.AgentID
	// Target is where they go; zero for the proxies.
	Target postern.Target
}

// String writes the forward as in logs: "127.0.0.1:5432=nas/127.0.0.1:5432", "127.0.0.1:1080=socks nas".
func (f Forward) String() string {
	if f.Mode != Port {
		return f.Address + "=" + string(f.Mode) + " " + string(f.Agent)
	}
	target := f.Target.Address()
	if f.Target.Network == postern.UDP {
		target = string(postern.UDP) + "/" + target
	}
	return f.Address + "=" + string(f.Agent) + "/" + target
}

// ParseForwards reads the arguments of postern forward. Each is a spec for ParseForward; the agent of a proxy may stand in
// the argument behind it, as a shell passes "socks nas". The error names every spec that is wrong.
func ParseForwards(args []string) ([]Forward, error) {
	var all []Forward
	var wrong []error
	for i := 0; i < len(args); i++ {
		spec := args[i]
		if _, what := cutListen(spec); isProxy(what) && i+1 < len(args) {
			i++
			spec += " " + args[i]
		}
		f, err := ParseForward(spec)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		all = append(all, f)
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	return all, nil
}

// ParseForward reads what a person wants to be forwarded:
//
//	[LISTEN=]AGENT/TARGET    5432=nas/127.0.0.1:5432   /run/x.sock=nas/ssh.service   nas//run/docker.sock
//	[LISTEN=]socks AGENT     1080=socks nas
//	[LISTEN=]http AGENT      http nas
//
// LISTEN is a port (of 127.0.0.1), host:port, :port (of every address), or /path or unix:/path of a socket; without it, a free
// port of 127.0.0.1 is taken. TARGET is as in postern.ParseTarget. LISTEN ends at the first "=".
// The error is an *Error of kind BadAddress, or BadCommand for what this version does not do; its text names the spec.
func ParseForward(spec string) (Forward, error) {
	f, err := parseForward(spec)
	if err != nil {
		return Forward{}, postern.Errorf(postern.KindOf(err), postern.HopClient, "forward %q: %w", spec, err)
	}
	return f, nil
}

func parseForward(spec string) (Forward, error) {
	listen, what := cutListen(spec)
	if listen == "" && what != spec {
		return Forward{}, bad("the listen address before the = is empty; leave the = out for a free port")
	}
	var f Forward
	var err error
	if f.Network, f.Address, err = parseListen(listen); err != nil {
		return Forward{}, err
	}
	if proxy, agent, ok := strings.Cut(what, " "); isProxy(proxy) {
		f.Mode = Mode(proxy)
		agent = strings.TrimSpace(agent)
		if !ok || agent == "" {
			return Forward{}, bad("the agent is missing; write %q", proxy+" AGENT")
		}
		if strings.Contains(agent, "=") {
			return Forward{}, bad("the listen address goes in front: LISTEN=%s AGENT", proxy)
		}
		f.Agent, err = postern.ParseAgentID(agent)
		return f, err
	}
	f.Mode = Port
	agent, target, ok := strings.Cut(what, "/")
	if !ok {
		return Forward{}, bad("%q is not AGENT/TARGET", what)
	}
	if f.Agent, err = postern.ParseAgentID(agent); err != nil {
		return Forward{}, err
	}
	if f.Target, err = postern.ParseTarget(target); err != nil {
		return Forward{}, err
	}
	if f.Target.Network == postern.UDP {
		return Forward{}, errUDP
	}
	return f, nil
}

var errUDP = &postern.Error{Kind: postern.BadCommand, Hop: postern.HopClient, Detail: "this version forwards TCP and unix sockets, not UDP"}

func isProxy(word string) bool { return word == string(Socks) || word == string(HTTP) }

// cutListen cuts spec at its first "=" into the listen address and the rest. An "=" within a target, as in nas//run/a=b, is told apart
// by what stands before it: an agent and a slash is no listen address.
func cutListen(spec string) (listen, rest string) {
	listen, rest, ok := strings.Cut(spec, "=")
	if word, _, _ := strings.Cut(listen, " "); !ok || isProxy(word) {
		return "", spec
	}
	first, _, slash := strings.Cut(listen, "/")
	switch {
	case !slash, first == "", first == "unix:", first == "tcp", first == "udp":
		return listen, rest
	}
	return "", spec
}

// defaultHost is where a forward listens if nothing else is said: what it opens is for this machine only.
const defaultHost = "127.0.0.1"

// parseListen reads LISTEN. An empty one is a free port.
func parseListen(s string) (network, address string, err error) {
	switch {
	case s == "":
		return "tcp", net.JoinHostPort(defaultHost, "0"), nil
	case strings.HasPrefix(s, "udp/"):
		return "", "", errUDP
	case strings.HasPrefix(s, "/"), strings.HasPrefix(s, "unix:"):
		target, err := postern.ParseTarget(s)
		return "unix", target.Host, err
	}
	s = strings.TrimPrefix(s, "tcp/")
	if !strings.Contains(s, ":") {
		s = net.JoinHostPort(defaultHost, s)
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", "", bad("the listen address %q is not a port, host:port or /path", s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return "", "", bad("the listen address %q has no port from 0 to 65535", s)
	}
	if err := checkListenHost(host); err != nil {
		return "", "", err
	}
	return "tcp", net.JoinHostPort(host, port), nil
}

// checkListenHost takes names, addresses (with a zone: a local interface), and nothing for every address of the machine.
func checkListenHost(host string) error {
	if host == "" {
		return nil
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	_, err := postern.CanonicalHost(host)
	return err
}

func bad(format string, args ...any) error {
	return postern.Errorf(postern.BadAddress, postern.HopClient, format, args...)
}
