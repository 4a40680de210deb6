package allow

import (
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"

	"github.com/postern-dev/postern"
)

const (
	unixPrefix    = "unix:"
	serviceSuffix = ".service"
)

// trouble is what is wrong with a pattern and what to do about it.
type trouble struct{ problem, remedy string }

func wrong(remedy, problem string, args ...any) *trouble {
	return &trouble{fmt.Sprintf(problem, args...), remedy}
}

// remedyForms ends errors where nothing better can be said.
const remedyForms = "write a name, *.zone, an address or ADDRESS/LENGTH, each with :PORT or :LOW-HIGH if wanted, or * for everything"

// parseRule reads one pattern without commas and spaces around it.
func parseRule(s string) (rule, *trouble) {
	switch {
	case s == "":
		return rule{}, wrong("remove it or the comma beside it", "the pattern is empty")
	case strings.Contains(s, "://") && !strings.HasPrefix(s, unixPrefix):
		return rule{}, wrong("write host:port without the scheme and the path", "it is a URL")
	case strings.HasPrefix(s, unixPrefix):
		// unix:///path is the same, as in targets.
		return parseUnix(strings.TrimPrefix(strings.TrimPrefix(s, unixPrefix), "//"))
	case s[0] == '/':
		return parseUnix(s)
	case s[0] == '[':
		return parseBrackets(s)
	case strings.Contains(s, "/"):
		addr, rest, _ := strings.Cut(s, "/")
		length, ports, hasPorts := strings.Cut(rest, ":")
		return parseAddresses(addr, &length, ports, hasPorts)
	case strings.Count(s, ":") > 1:
		return parseAddresses(s, nil, "", false)
	}
	host, ports, hasPorts := strings.Cut(s, ":")
	return parseHost(host, ports, hasPorts)
}

// parseBrackets reads [ADDRESS], [ADDRESS]/LENGTH and [ADDRESS/LENGTH], each with or without ports.
func parseBrackets(s string) (rule, *trouble) {
	inner, rest, closed := strings.Cut(s[1:], "]")
	if !closed {
		return rule{}, wrong("close it with ]", "the bracket is not closed")
	}
	if !strings.Contains(inner, ":") {
		return rule{}, wrong("write "+postern.Clip(inner)+" without them", "only IPv6 addresses stand in brackets")
	}
	addr, length, hasLength := strings.Cut(inner, "/")
	before, ports, hasPorts := strings.Cut(rest, ":")
	if after, ok := strings.CutPrefix(before, "/"); ok && !hasLength {
		length, hasLength = after, true
	} else if before != "" {
		return rule{}, wrong("write [ADDRESS]/LENGTH:PORT", "there is %q after the bracket", postern.Clip(before))
	}
	if !hasLength {
		return parseAddresses(addr, nil, ports, hasPorts)
	}
	return parseAddresses(addr, &length, ports, hasPorts)
}

// parseAddresses reads an address, or a range of them if there is a length.
func parseAddresses(host string, length *string, ports string, hasPorts bool) (rule, *trouble) {
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil && strings.Contains(host, ":"):
		return rule{}, wrong("write it as 2001:db8::1 or, with a port, as [2001:db8::1]:80", "%q is not an IPv6 address", postern.Clip(host))
	case err != nil && length != nil:
		return rule{}, wrong("only an address has a prefix length, as in 10.0.0.0/8; a path begins with /", "%q is not an address", postern.Clip(host))
	case err != nil:
		return rule{}, wrong(remedyForms, "%q is not an address", postern.Clip(host))
	case addr.Zone() != "":
		return rule{}, wrong("write it without the % and what follows", "addresses with a zone are not supported")
	}
	bits := addr.BitLen()
	if length != nil {
		n, err := strconv.ParseUint(*length, 10, 8)
		if err != nil || int(n) > bits || strconv.FormatUint(n, 10) != *length {
			return rule{}, wrong(fmt.Sprintf("write a number from 0 to %d after the slash", bits), "%q is not a prefix length", postern.Clip(*length))
		}
		bits = int(n)
	}
	return addressRule(addr, bits, ports, hasPorts)
}

// addressRule makes a rule of the first bits of addr.
func addressRule(addr netip.Addr, bits int, ports string, hasPorts bool) (rule, *trouble) {
	if addr.Is4In6() && bits >= 96 {
		addr, bits = addr.Unmap(), bits-96
	}
	if addr.Is6() {
		if w := wrapping(addr.As16()); w != notWrapped && bits >= int(w) {
			// Such addresses are unwrapped before they are matched, so the rule would match nothing; and unwrapping the
			// rule would permit IPv4 addresses that its writer may not have meant.
			return rule{}, wrong("write the IPv4 address or range that it stands for",
				"NAT64 and 6to4 addresses are judged as the IPv4 address within them")
		}
	}
	r := rule{kind: addresses, prefix: netip.PrefixFrom(addr, bits).Masked()}
	return withPorts(r, ports, hasPorts)
}

// parseHost reads a host without colons: *, a name, a zone, an IPv4 address or a service.
func parseHost(host, ports string, hasPorts bool) (rule, *trouble) {
	if host == "*" {
		return withPorts(rule{kind: everything}, ports, hasPorts)
	}
	name, isZone := strings.CutPrefix(host, "*.")
	if strings.Contains(name, "*") {
		return rule{}, wrong("write *.zone for all names below a zone, or * for everything", "a * may only be the whole first label")
	}
	if r, isService, w := parseService(name, isZone); isService {
		if w != nil {
			return rule{}, w
		}
		r, w = withPorts(r, ports, hasPorts)
		r.ports = everyPort()
		return r, w
	}
	canonical, err := postern.CanonicalHost(name)
	if err != nil {
		return rule{}, wrong(remedyForms, "%v", err)
	}
	addr, err := netip.ParseAddr(canonical)
	switch {
	case err == nil && isZone:
		return rule{}, wrong("write a range of addresses as 10.0.0.0/8", "an address has no names below it")
	case err == nil:
		return addressRule(addr, addr.BitLen(), ports, hasPorts)
	case isZone:
		return withPorts(rule{kind: zone, name: canonical}, ports, hasPorts)
	case canonical == "localhost":
		return withPorts(rule{kind: localhost, name: canonical}, ports, hasPorts)
	case canonical == "service" && hasPorts && strings.Trim(ports, "0123456789-") != "":
		return rule{}, wrong("write "+postern.Clip(ports)+".service", "service: is not a form of patterns")
	default:
		return withPorts(rule{kind: exactName, name: canonical}, ports, hasPorts)
	}
}

// parseService reads the names below ".service", which are never resolved.
func parseService(name string, isZone bool) (_ rule, isService bool, _ *trouble) {
	lower := strings.TrimSuffix(strings.ToLower(name), ".")
	if isZone && lower == serviceSuffix[1:] {
		return rule{kind: serviceZone}, true, nil
	}
	short, ok := strings.CutSuffix(lower, serviceSuffix)
	if !ok {
		return rule{}, false, nil
	}
	t, err := postern.ServiceTarget(short)
	if err != nil {
		return rule{}, true, wrong("write NAME.service with the service's name", "%v", err)
	}
	if isZone {
		return rule{kind: serviceZone, name: t.Host}, true, nil
	}
	return rule{kind: service, name: t.Host}, true, nil
}

// parseUnix reads the path of a unix socket.
func parseUnix(p string) (rule, *trouble) {
	switch {
	case !strings.HasPrefix(p, "/"):
		return rule{}, wrong("write unix:/path/of.sock", "%q is not an absolute path", postern.Clip(p))
	case strings.Contains(p, "**"):
		return rule{}, wrong("a * stands for anything within one folder: write one for each", "** is not supported")
	case strings.ContainsRune(p, 0):
		return rule{}, wrong("remove it", "the path has a zero byte")
	case path.Clean(p) != p:
		return rule{}, wrong("write "+postern.Clip(path.Clean(p)), "the path has . or .. or a slash too many")
	}
	return rule{kind: unixPath, name: p, ports: everyPort()}, nil
}

// withPorts adds PORT or LOW-HIGH to a rule.
func withPorts(r rule, s string, has bool) (rule, *trouble) {
	if !has {
		r.ports = everyPort()
		return r, nil
	}
	low, high, isRange := strings.Cut(s, "-")
	if !isRange {
		high = low
	}
	for _, p := range []struct {
		text string
		to   *uint16
	}{{low, &r.ports.Low}, {high, &r.ports.High}} {
		n, err := strconv.ParseUint(p.text, 10, 16)
		// ParseUint takes leading zeros, which some programs read as octal.
		if err != nil || n == 0 || strconv.FormatUint(n, 10) != p.text {
			return rule{}, wrong("write :PORT or :LOW-HIGH, or nothing for every port", "%q is not a port from 1 to 65535", postern.Clip(p.text))
		}
		*p.to = uint16(n)
	}
	if r.ports.Low > r.ports.High {
		return rule{}, wrong(fmt.Sprintf("write %d-%d", r.ports.High, r.ports.Low), "the range of ports ends before it begins")
	}
	return r, nil
}
