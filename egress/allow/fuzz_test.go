package allow_test

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/egress/allow"
)

// FuzzParse: no text makes Parse panic; what it takes, it writes in a form that it takes again as the same; what it
// refuses is named with a remedy.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"*", "a.test:80, *.b:1-2", "10.0.0.1/8:80", "[2001:db8::1]/64:80", "1000::/16:1000-2000", "x.service:1", "*.service", "unix:///a/*", "/run/x", "::ffff:1.2.3.4/100", "bücher", "[::1", "2002::/15", ",", "/a b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		set, err := allow.Parse([]string{s})
		if err != nil {
			e, ok := errors.AsType[*allow.PatternError](err)
			if !ok || set != nil || e.Problem == "" || e.Remedy == "" {
				t.Fatalf("%q: set %v, error %#v", s, set, err)
			}
			if at := s[e.Column-1:]; !strings.HasPrefix(at, e.Pattern) {
				t.Fatalf("%q: column %d begins with %q, not %q", s, e.Column, at, e.Pattern)
			}
			return
		}
		again, err := allow.Parse(set.Patterns())
		if err != nil {
			t.Fatalf("%q became %q, which is refused: %v", s, set.Patterns(), err)
		}
		if !slices.Equal(set.Patterns(), again.Patterns()) {
			t.Fatalf("%q became %q and that %q", s, set.Patterns(), again.Patterns())
		}
	})
}

// FuzzVerdict: the verdict is that of the slow and obvious reading of the manual below, for one pattern and for a union of two.
func FuzzVerdict(f *testing.F) {
	seeds := []struct {
		one, two, host, addr string
		port                 uint16
	}{
		{"10.0.0.0/8:80", "*", "x.test", "10.0.0.1", 80},
		{"*.test", "127.0.0.1", "a.test", "127.0.0.1", 1},
		{"localhost:1-5", "::/0", "localhost", "::1", 5},
		{"[64:ff9a::]/20", "0.0.0.0/0:9", "a", "64:ff9b::7f00:1", 9},
		{"2000::/3", "a.b", "a.b", "2002:0a00:0001::", 9},
		{"::ffff:0:0/90", "::ffff:9.9.9.9/97", "q", "::ffff:9.9.9.9", 2},
		{"*:443", "169.254.0.0/16", "m", "169.254.169.254", 443},
		{"64:ff9b:1::/40", "10.0.0.0/8", "m", "64:ff9b:1::a00:1", 443},
	}
	for _, s := range seeds {
		f.Add(s.one, s.two, s.host, netip.MustParseAddr(s.addr).AsSlice(), s.port)
	}
	f.Fuzz(func(t *testing.T, one, two, host string, raw []byte, port uint16) {
		addr, ok := netip.AddrFromSlice(raw)
		host, err := postern.CanonicalHost(host)
		if !ok || err != nil || port == 0 || strings.HasSuffix(host, ".service") || strings.Contains(one+two, ",") {
			return
		}
		compare(t, one, two, host, addr, port)
	})
}

// TestVerdictsOfRandomRules does the same with rules and targets that are well-formed and close to each other.
func TestVerdictsOfRandomRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		addr := drawAddr(t, "addr")
		host := rapid.SampledFrom([]string{"localhost", "a.test", "b.a.test", "test", addr.Unmap().String()}).Draw(t, "host")
		port := rapid.SampledFrom([]uint16{1, 79, 80, 81, 1000, 65535}).Draw(t, "port")
		compare(t, drawPattern(t, "one", addr), drawPattern(t, "two", addr), host, addr, port)
	})
}

// drawAddr draws an address of any kind, or one that carries an IPv4 address of any kind.
func drawAddr(t *rapid.T, label string) netip.Addr {
	four := rapid.SampledFrom([]string{"10.0.0.1", "127.0.0.1", "169.254.169.254", "0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "100.100.100.200", "8.8.8.8", "10.1.2.3"})
	v4 := netip.MustParseAddr(four.Draw(t, label)).As4()
	hex := fmt.Sprintf("%02x%02x:%02x%02x", v4[0], v4[1], v4[2], v4[3])
	text := rapid.SampledFrom([]string{
		netip.AddrFrom4(v4).String(), "::ffff:" + hex, "64:ff9b::" + hex, "64:ff9b:1::" + hex, "64:ff9b:1:1::" + hex, "64:ff9b:2::" + hex, "2002:" + hex + "::1", "::" + hex, "2001:db8::" + hex,
		"::1", "fe80::1", "fd00:ec2::254", "ff02::1", "2003::1", "fc00::1",
	})
	return netip.MustParseAddr(text.Draw(t, label))
}

// drawPattern draws a pattern that has some chance to match addr.
func drawPattern(t *rapid.T, label string, addr netip.Addr) string {
	if rapid.Bool().Draw(t, label+" other address") {
		addr = drawAddr(t, label)
	} else if rapid.Bool().Draw(t, label+" unmapped") {
		addr = addr.Unmap()
	}
	ports := rapid.SampledFrom([]string{"", "", ":80", ":80-81", ":1-1000", ":0"}).Draw(t, label+" ports")
	single, brackets, bits := addr.String(), addr.String(), rapid.IntRange(0, addr.BitLen()).Draw(t, label+" bits")
	if addr.Is6() {
		brackets = "[" + single + "]"
	}
	return rapid.SampledFrom([]string{
		single, brackets + ports, fmt.Sprintf("%s/%d%s", single, bits, ports), fmt.Sprintf("%s/%d%s", brackets, bits, ports),
		"*" + ports, "localhost" + ports, "a.test" + ports, "*.test" + ports, "*.a.test" + ports, "x.service" + ports,
	}).Draw(t, label+" pattern")
}

// fataler is a test, or one of rapid's.
type fataler interface {
	Fatalf(format string, args ...any)
}

// compare holds our verdict about a target against the obvious one.
func compare(t fataler, one, two, host string, addr netip.Addr, port uint16) {
	want := false
	for _, p := range []string{one, two} {
		verdict, valid := obvious(p, host, addr, port)
		_, err := allow.Parse([]string{p})
		if valid != (err == nil) {
			t.Fatalf("%q: the reference says valid: %v; Parse says %v", p, valid, err)
		}
		if !valid {
			return
		}
		want = want || verdict
	}
	set, err := allow.Parse([]string{one, two})
	if err != nil {
		t.Fatalf("%q, %q: %v", one, two, err)
	}
	target := postern.Target{Network: postern.TCP, Host: host, Port: port}
	got := set.Permits(target, addr)
	if got != want {
		t.Fatalf("%q, %q: Permits(%v, %v) = %v, the reference says %v", one, two, target, addr, got, want)
	}
	if _, err := netip.ParseAddr(host); err != nil && got && !set.May(target) {
		t.Fatalf("%q, %q: May(%v) is false, but it is permitted at %v", one, two, target, addr)
	}
	if literal, err := netip.ParseAddr(host); err != nil || literal == addr.Unmap() {
		sent, err := allow.Parse(set.For(target))
		if err != nil || sent.Permits(target, addr) != got {
			t.Fatalf("%q, %q: For(%v) is %q (%v), which permits %v: %v; all rules together: %v", one, two, target, set.For(target), err, addr, !got, got)
		}
	}
}

var (
	portsRE  = `(?::(\d+)(?:-(\d+))?)?$`
	rangeRE  = regexp.MustCompile(`^(?:\[([^\]/]+)\]|([^\[\]/]+))/(\d+)` + portsRE)
	insideRE = regexp.MustCompile(`^\[([^\]/]+)/(\d+)\]()` + portsRE)
	singleRE = regexp.MustCompile(`^\[([^\]/]*:[^\]/]*)\]` + portsRE)
	hostRE   = regexp.MustCompile(`^([^:\[\]/]+)` + portsRE)
)

// obvious is the manual, read by somebody with much time: it writes addresses out in binary and compares text.
func obvious(pattern, host string, addr netip.Addr, port uint16) (permitted, valid bool) {
	pattern = strings.Trim(pattern, " \t")
	if p, ok := strings.CutPrefix(pattern, "unix:"); ok || strings.HasPrefix(pattern, "/") {
		if ok {
			p = strings.TrimPrefix(p, "//")
		}
		return false, strings.HasPrefix(p, "/") && path.Clean(p) == p && !strings.Contains(p, "**") && !strings.Contains(p, "\x00") && (ok || !strings.Contains(p, "://"))
	}
	inPorts := func(low, high string) (in, valid bool) {
		if low == "" {
			return true, true
		}
		if high == "" {
			high = low
		}
		l, errL := strconv.Atoi(low)
		h, errH := strconv.Atoi(high)
		valid = errL == nil && errH == nil && 1 <= l && l <= h && h <= 65535 && strconv.Itoa(l) == low && strconv.Itoa(h) == high
		return int(port) >= l && int(port) <= h, valid
	}
	if addr, err := netip.ParseAddr(pattern); err == nil && addr.Is6() {
		pattern = "[" + pattern + "]"
	}
	if m := rangeRE.FindStringSubmatch(pattern); m != nil {
		in, ok := inPorts(m[4], m[5])
		yes, valid := obviousRange(m[1]+m[2], m[3], m[1] != "", addr)
		return yes && in, valid && ok
	}
	if m := insideRE.FindStringSubmatch(pattern); m != nil {
		in, ok := inPorts(m[4], m[5])
		yes, valid := obviousRange(m[1], m[2], true, addr)
		return yes && in, valid && ok
	}
	if m := singleRE.FindStringSubmatch(pattern); m != nil {
		in, ok := inPorts(m[2], m[3])
		yes, valid := obviousRange(m[1], "128", true, addr)
		return yes && in, valid && ok
	}
	m := hostRE.FindStringSubmatch(pattern)
	if m == nil {
		return false, false
	}
	in, ok := inPorts(m[2], m[3])
	yes, valid := obviousHost(m[1], host, addr)
	return yes && in, valid && ok
}

func obviousHost(pattern, host string, addr netip.Addr) (permitted, valid bool) {
	special := obviousSpecial(addr)
	if pattern == "*" {
		return special == "" || special == "loopback", true
	}
	name, isZone := strings.CutPrefix(pattern, "*.")
	if strings.Contains(name, "*") {
		return false, false
	}
	lower := strings.TrimSuffix(strings.ToLower(name), ".")
	if short, ok := strings.CutSuffix(lower, ".service"); ok {
		_, err := postern.ParseAgentID(short)
		return false, err == nil
	}
	if isZone && lower == "service" {
		return false, true
	}
	canonical, err := postern.CanonicalHost(name)
	if err != nil {
		return false, false
	}
	if _, err := netip.ParseAddr(canonical); err == nil {
		if isZone {
			return false, false
		}
		return obviousRange(canonical, "32", false, addr)
	}
	switch {
	case isZone:
		return special == "" && strings.HasSuffix("."+host, "."+canonical), true
	case canonical == "localhost":
		return special == "loopback" || special == "" && host == "localhost", true
	default:
		return special == "" && host == canonical, true
	}
}

// obviousRange compares the first bits of two addresses, digit by digit.
func obviousRange(text, length string, brackets bool, addr netip.Addr) (permitted, valid bool) {
	a, err := netip.ParseAddr(text)
	n, errN := strconv.Atoi(length)
	if err != nil || errN != nil || strconv.Itoa(n) != length || a.Zone() != "" || n > a.BitLen() || brackets && !a.Is6() {
		return false, false
	}
	rule := binary(a)
	if a.Is4In6() && n >= 96 {
		rule, n = rule[96:], n-96
	}
	for _, wrapped := range []string{"64:ff9b::/96", "64:ff9b:1::/48", "2002::/16"} {
		p := netip.MustParsePrefix(wrapped)
		if len(rule) == 128 && n >= p.Bits() && rule[:p.Bits()] == binary(p.Addr())[:p.Bits()] {
			return false, false
		}
	}
	real, ok := obviousUnwrap(addr)
	return ok && len(real) == len(rule) && real[:n] == rule[:n], true
}

func binary(a netip.Addr) string {
	var s strings.Builder
	for _, b := range a.AsSlice() {
		fmt.Fprintf(&s, "%08b", b)
	}
	return s.String()
}

// obviousUnwrap writes the address in binary: 32 digits if there is an IPv4 address in it.
func obviousUnwrap(a netip.Addr) (string, bool) {
	s := binary(a)
	if len(s) == 32 {
		return s, true
	}
	begins := func(prefix string) bool {
		p := netip.MustParsePrefix(prefix)
		return s[:p.Bits()] == binary(p.Addr())[:p.Bits()]
	}
	switch {
	case begins("::ffff:0:0/96"), begins("64:ff9b::/96"), begins("64:ff9b:1::/96"):
		return s[96:], true
	case begins("64:ff9b:1::/48"):
		return "", false
	case begins("2002::/16"):
		return s[16:48], true
	}
	return s, true
}

// obviousSpecial names the kind of a special address, and is empty for the others.
func obviousSpecial(a netip.Addr) string {
	s, ok := obviousUnwrap(a)
	if !ok {
		return "ambiguous"
	}
	in := func(prefixes ...string) bool {
		for _, text := range prefixes {
			p := netip.MustParsePrefix(text)
			if b := binary(p.Addr()); len(b) == len(s) && b[:p.Bits()] == s[:p.Bits()] {
				return true
			}
		}
		return false
	}
	switch {
	case in("127.0.0.0/8", "::1/128"):
		return "loopback"
	case in("169.254.0.0/16", "fe80::/10"):
		return "link-local"
	case in("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fd00:ec2::254/128", "fd00:ec2::23/128", "fd20:ce::254/128"):
		return "metadata"
	case in("224.0.0.0/4", "ff00::/8"):
		return "multicast"
	case in("255.255.255.255/32"):
		return "broadcast"
	case in("0.0.0.0/8", "::/96"):
		return "unspecified"
	}
	return ""
}
