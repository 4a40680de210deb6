package allow_test

import (
	"net/netip"
	"testing"

	"github.com/postern-dev/postern"
)

func TestServices(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"web.service", "web", true},
		{"WEB.Service.", "web", true},
		{"web.service:80", "web", true},
		{"web.service:80", "db", false},
		{"*.service", "web", true},
		{"*.service:22", "web", true},
		{"*.team.service", "a.team", true},
		{"*.team.service", "team", true},
		{"*.team.service", "ateam", false},
		{"a_b-1.service", "a_b-1", true},
		{"80.service", "80", true},
		{"*", "web", true},
		{"*:80", "web", false},
		{"web", "web", false},
		{"service", "service", false},
		{"*.web.service", "web.x", false},
		{"10.0.0.0/8", "web", false},
	} {
		set := parse(t, c.pattern)
		target := postern.Target{Network: postern.Service, Host: c.name}
		if got := set.Permits(target, netip.Addr{}); got != c.want || set.May(target) != c.want {
			t.Errorf("%s: %v: %v", c.pattern, target, got)
		}
	}
}

func TestRulesForServicesGrantNoNameInTheNetwork(t *testing.T) {
	for _, pattern := range []string{"web.service", "web.service:80", "*.service"} {
		if parse(t, pattern).Permits(tcp("web.service", 80), netip.MustParseAddr("10.1.1.1")) {
			t.Errorf("%s permits an address", pattern)
		}
	}
}

func TestUnixSockets(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"/run/x.sock", "/run/x.sock", true},
		{"unix:/run/x.sock", "/run/x.sock", true},
		{"unix:///run/x.sock", "/run/x.sock", true},
		{"/run/x.sock", "/run/y.sock", false},
		{"/run/X.sock", "/run/x.sock", false},
		{"/run", "/run/x.sock", false},
		{"/run/*.sock", "/run/x.sock", true},
		{"/run/*.sock", "/run/.sock", true},
		{"/run/*.sock", "/run/a/x.sock", false},
		{"/run/*.sock", "/run/x.sockets", false},
		{"/run/*", "/run/x", true},
		{"/run/*", "/run/x/y", false},
		{"/run/*", "/run/..", false},
		{"/run/*/s", "/run/../s", false},
		{"/run/*/s", "/run/./s", false},
		{"/run/*/s", "/run//s", false},
		{"/*/*/s", "/a/b/s", true},
		{"/run/a*b*c", "/run/abc", true},
		{"/run/a*b*c", "/run/axxbyyc", true},
		{"/run/a*b*c", "/run/acb", false},
		{"/run/a*a", "/run/a", false},
		{"/run/*ab*ab", "/run/ab", false},
		{"/run/[x]?", "/run/xy", false},
		{"/run/[x]?", "/run/[x]?", true},
		{"*", "/run/x.sock", true},
		{"*:80", "/run/x.sock", false},
		{"*.sock", "/run/x.sock", false},
	} {
		set := parse(t, c.pattern)
		target := postern.Target{Network: postern.Unix, Host: c.path}
		if got := set.Permits(target, netip.Addr{}); got != c.want || set.May(target) != c.want {
			t.Errorf("%s: %v: %v", c.pattern, target, got)
		}
	}
}
