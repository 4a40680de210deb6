package postern

import (
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

// CanonicalHost returns the one form in which a host is compared, resolved and logged: a name in lower case A-labels
// without a final dot, or an IP address as netip writes it, without brackets. Zones, and numbers that some
// resolvers take for addresses (decimal, octal, hex, short forms), are refused.
// The error is an *Error of kind BadAddress.
func CanonicalHost(s string) (string, error) {
	h := s
	if strings.HasPrefix(h, "[") && strings.HasSuffix(h, "]") {
		h = h[1 : len(h)-1]
		if !strings.Contains(h, ":") {
			return "", badHost(s, "only IPv6 addresses stand in brackets")
		}
	}
	if strings.Contains(h, ":") {
		return canonicalIPv6(s, h)
	}
	if addr, err := netip.ParseAddr(h); err == nil {
		return addr.String(), nil
	}
	return canonicalName(s, h)
}

func canonicalIPv6(s, h string) (string, error) {
	addr, err := netip.ParseAddr(h)
	switch {
	case err != nil:
		return "", badHost(s, "it is not an address")
	case addr.Zone() != "":
		return "", badHost(s, "addresses with a zone are not supported")
	}
	return addr.String(), nil
}

// maxName is the longest name in DNS text form, RFC 1035 §2.3.4.
const maxName = 253

func canonicalName(s, h string) (string, error) {
	h = strings.TrimSuffix(h, ".")
	if h == "" {
		return "", badHost(s, "it is empty")
	}
	for i := range len(h) {
		if c := h[i]; c <= ' ' || c == 0x7f || strings.IndexByte(`/\@%?#"'<>|^{}[]`+"`", c) >= 0 {
			return "", badHost(s, "it has a character that names do not have")
		}
	}
	name, err := toASCII(h)
	if err != nil {
		return "", badHost(s, "it is not a name")
	}
	if len(name) > maxName {
		return "", badHost(s, "it is longer than 253 characters")
	}
	labels := strings.Split(name, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 {
			return "", badHost(s, "a label is empty or longer than 63 characters")
		}
	}
	if looksNumeric(labels[len(labels)-1]) {
		// A last label of digits or 0x... makes inet_aton and browsers read the whole as an address.
		return "", badHost(s, "it is a number but not an address")
	}
	return name, nil
}

func toASCII(h string) (string, error) {
	for i := range len(h) {
		if h[i] >= 0x80 {
			name, err := idna.Lookup.ToASCII(h)
			if err != nil {
				return "", err
			}
			// Some names become labels that are not valid themselves; the canonical form of a form must be itself.
			return idna.Lookup.ToASCII(name)
		}
	}
	h = strings.ToLower(h)
	if strings.Contains(h, "xn--") {
		return idna.Lookup.ToASCII(h)
	}
	return h, nil
}

// looksNumeric tells labels that inet_aton(3) would take for a part of an address.
func looksNumeric(label string) bool {
	if rest, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(rest, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

func badHost(host, why string) error {
	return Errorf(BadAddress, HopRelay, "the host %q cannot be used: %s", Clip(host), why)
}
