// Package allow decides which targets may be reached: an agent's own rules, a relay's, and those in a token.
//
// Rules are a union: a target is permitted if any rule permits it, and order does not matter. They decide about the address that is
// really dialled, so a name's addresses are asked for once and each is shown to Permits.
//
//	set, err := allow.Parse([]string{"10.0.0.0/8:80, *.corp.example", "localhost:5432"})
//	if err != nil {
//		return err // every malformed pattern, each with its remedy
//	}
//	if !set.May(target) {
//		return denied // no address of it could ever be permitted: no need to resolve
//	}
//	for _, addr := range resolve(target.Host) {
//		if set.Permits(target, addr) { ... }
//	}
//
// A pattern is one of these; the port may be left out, PORT or LOW-HIGH, and a comma separates patterns:
//
//	name  name:80              that name, whatever ordinary addresses it has
//	*.zone  *.zone:1000-2000   every name below the zone, and the zone itself
//	10.0.0.1  10.0.0.0/8:80    that address, that range; bits below the prefix length are ignored
//	2001:db8::1  [2001:db8::1]:80  2001:db8::/32:80  [2001:db8::]/32:80  [2001:db8::/32]:80
//	localhost                  the name, 127.0.0.0/8 and ::1
//	*  *:443                   everything but what always needs a rule with its address
//	NAME.service  *.service    services that an agent declares; a port is ignored
//	unix:/run/x.sock  /run/*.sock   unix sockets; a * stands for anything within one folder
//
// Names resolve to what somebody else decides, so a rule with a name or zone never permits loopback, link-local, metadata, multicast,
// broadcast or unspecified addresses. The pattern * permits loopback, but not the others: those always need a rule with an
// address, and a range around it is one (0.0.0.0/0 and ::/0 permit all of their family).
// IPv6 addresses that carry an IPv4 address (mapped, NAT64, 6to4) are judged as that IPv4 address.
// The path of a unix socket is compared as text: symbolic links are not followed before.
package allow

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/postern-dev/postern"
)

// Set is a list of rules. It is never changed after Parse; all methods may be called concurrently. A nil Set is empty.
type Set struct {
	rules []rule
}

// PatternError is what is wrong with one pattern.
type PatternError struct {
	Index   int    // which of the strings given to Parse it stands in, from 0
	Column  int    // the byte of that string at which it begins, from 1
	Pattern string // the pattern as it was written, without the spaces around it
	Problem string // what is wrong
	Remedy  string // what to write instead
}

// Error is one line with all of it; places are counted from 1.
func (e *PatternError) Error() string {
	return fmt.Sprintf("allow pattern %d, column %d: %q: %s; %s", e.Index+1, e.Column, postern.Clip(e.Pattern), e.Problem, e.Remedy)
}

// Parse reads patterns, each of which may be a comma list. Nothing is skipped: the error joins a *PatternError for
// every pattern that is malformed, and then there is no Set. No patterns make an empty Set.
func Parse(patterns []string) (*Set, error) {
	set := &Set{}
	known := make(map[rule]bool)
	var problems []error
	for i, list := range patterns {
		column := 1
		for item := range strings.SplitSeq(list, ",") {
			pattern := strings.Trim(item, " \t")
			r, wrong := parseRule(pattern)
			if wrong != nil {
				begin := column + len(item) - len(strings.TrimLeft(item, " \t"))
				problems = append(problems, &PatternError{i, begin, pattern, wrong.problem, wrong.remedy})
			} else if !known[r] {
				known[r] = true
				set.rules = append(set.rules, r)
			}
			column += len(item) + 1
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return set, nil
}

// Empty reports whether there are no rules. An empty Set permits nothing; what that means is for its owner to say.
func (s *Set) Empty() bool { return s == nil || len(s.rules) == 0 }

// Patterns returns the rules in one form each, without repetitions: Parse makes the same Set of them.
func (s *Set) Patterns() []string {
	if s == nil {
		return nil
	}
	patterns := make([]string, len(s.rules))
	for i, r := range s.rules {
		patterns[i] = r.String()
	}
	return patterns
}

// Permits reports whether t may be reached at addr, the address that is really dialled. For services and unix sockets,
// which have none, addr is ignored. Without an address, or with one that has a zone, nothing else is permitted.
func (s *Set) Permits(t postern.Target, addr netip.Addr) bool { return s.permitting(t, addr) >= 0 }

// permitting is the index of the first rule that permits t at addr; -1 if there is none.
func (s *Set) permitting(t postern.Target, addr netip.Addr) int {
	if s == nil {
		return -1
	}
	switch t.Network {
	case postern.Service:
		return slices.IndexFunc(s.rules, func(r rule) bool { return r.permitsService(t.Host) })
	case postern.Unix:
		return slices.IndexFunc(s.rules, func(r rule) bool { return r.permitsUnix(t.Host) })
	case postern.TCP, postern.UDP:
		plain, ok := unwrap(addr)
		if !ok {
			return -1
		}
		class := classify(plain)
		return slices.IndexFunc(s.rules, func(r rule) bool {
			return r.ports.Contains(t.Port) && r.permitsAddress(t.Host, plain, class)
		})
	default:
		return -1
	}
}

// May reports whether any address of t could be permitted: what can be decided before names are resolved. Only a target
// with a name can still be refused by Permits after May said yes.
func (s *Set) May(t postern.Target) bool {
	if addr, named := lookup(t); !named {
		return s.Permits(t, addr)
	}
	return s != nil && slices.ContainsFunc(s.rules, func(r rule) bool { return r.may(t) })
}

// lookup reports whether t has a name, which is to be resolved before anybody can decide; else its address, if it has one.
func lookup(t postern.Target) (addr netip.Addr, named bool) {
	if t.Network != postern.TCP && t.Network != postern.UDP {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(t.Host)
	return addr, err != nil
}

// For returns the patterns that can decide about t, in one form each: whoever resolves t's name and dials it needs no others. A target
// without a name is decided here, so one pattern that permits it is enough. There are none where May says no.
func (s *Set) For(t postern.Target) []string {
	addr, named := lookup(t)
	if !named {
		if i := s.permitting(t, addr); i >= 0 {
			return []string{s.rules[i].String()}
		}
		return nil
	}
	var patterns []string
	if s != nil {
		for _, r := range s.rules {
			if r.may(t) {
				patterns = append(patterns, r.String())
			}
		}
	}
	return patterns
}

// ForNames returns the patterns that For returns for every name, ports aside: those with addresses, localhost and *.
func (s *Set) ForNames() []string {
	var patterns []string
	if s != nil {
		for _, r := range s.rules {
			if r.mayName("") {
				patterns = append(patterns, r.String())
			}
		}
	}
	return patterns
}
