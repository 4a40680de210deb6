package allow_test

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/egress/allow"
)

func parse(t *testing.T, patterns ...string) *allow.Set {
	t.Helper()
	set, err := allow.Parse(patterns)
	if err != nil {
		t.Fatalf("Parse(%q): %v", patterns, err)
	}
	return set
}

func tcp(host string, port uint16) postern.Target {
	return postern.Target{Network: postern.TCP, Host: host, Port: port}
}

// Every form of patterns: what it becomes, and one target beside the edge on either side.
func TestForms(t *testing.T) {
	type dial struct {
		host string
		port uint16
		addr string
	}
	for _, c := range []struct {
		pattern, canonical string
		yes, no            []dial
	}{
		{"localhost", "localhost", []dial{{"localhost", 1, "127.0.0.1"}, {"127.9.9.9", 65535, "127.9.9.9"}, {"::1", 80, "::1"}, {"x.test", 80, "127.0.0.1"}, {"localhost", 80, "10.1.1.1"}}, []dial{{"10.0.0.1", 80, "10.0.0.1"}, {"a.localhost", 80, "10.0.0.1"}, {"localhost", 80, "169.254.0.1"}}},
		{"LocalHost.:80", "localhost:80", []dial{{"localhost", 80, "127.0.0.1"}}, []dial{{"localhost", 81, "127.0.0.1"}}},
		{"localhost:1000-2000", "localhost:1000-2000", []dial{{"localhost", 1000, "::1"}, {"localhost", 2000, "::1"}}, []dial{{"localhost", 999, "::1"}, {"localhost", 2001, "::1"}}},
		{"db.corp", "db.corp", []dial{{"db.corp", 80, "10.0.0.1"}, {"db.corp", 80, "8.8.8.8"}}, []dial{{"a.db.corp", 80, "10.0.0.1"}, {"db.corp.test", 80, "10.0.0.1"}, {"10.0.0.1", 80, "10.0.0.1"}, {"xdb.corp", 80, "10.0.0.1"}}},
		{"DB.Corp.:22", "db.corp:22", []dial{{"db.corp", 22, "10.0.0.1"}}, []dial{{"db.corp", 23, "10.0.0.1"}}},
		{"bücher.example", "xn--bcher-kva.example", []dial{{"xn--bcher-kva.example", 1, "10.0.0.1"}}, nil},
		{"*.zone", "*.zone", []dial{{"zone", 1, "10.0.0.1"}, {"a.zone", 2, "10.0.0.1"}, {"a.b.zone", 3, "10.0.0.1"}}, []dial{{"azone", 1, "10.0.0.1"}, {"zone.a", 1, "10.0.0.1"}}},
		{"*.corp.test", "*.corp.test", []dial{{"a.corp.test", 1, "10.0.0.1"}}, []dial{{"evilcorp.test", 1, "10.0.0.1"}, {"corp.test.evil", 1, "10.0.0.1"}, {"a.corp.test.evil.com", 1, "10.0.0.1"}, {".corp.test", 1, "10.0.0.1"}}},
		{"*.zone:80", "*.zone:80", []dial{{"a.zone", 80, "10.0.0.1"}}, []dial{{"a.zone", 81, "10.0.0.1"}}},
		{"*.zone:1000-2000", "*.zone:1000-2000", []dial{{"zone", 1500, "10.0.0.1"}}, []dial{{"zone", 2001, "10.0.0.1"}}},
		{"127.0.0.1", "127.0.0.1", []dial{{"127.0.0.1", 7, "127.0.0.1"}, {"name", 7, "127.0.0.1"}, {"::ffff:127.0.0.1", 7, "::ffff:127.0.0.1"}}, []dial{{"127.0.0.2", 7, "127.0.0.2"}, {"::1", 7, "::1"}}},
		{"127.0.0.1:80", "127.0.0.1:80", []dial{{"x", 80, "127.0.0.1"}}, []dial{{"x", 81, "127.0.0.1"}}},
		{"127.0.0.1:1000-2000", "127.0.0.1:1000-2000", []dial{{"x", 1000, "127.0.0.1"}}, []dial{{"x", 999, "127.0.0.1"}}},
		{"10.0.0.1/8", "10.0.0.0/8", []dial{{"x", 1, "10.255.255.255"}, {"10.0.0.0", 1, "10.0.0.0"}}, []dial{{"x", 1, "11.0.0.0"}, {"x", 1, "9.255.255.255"}}},
		{"10.0.0.1/8:80", "10.0.0.0/8:80", []dial{{"x", 80, "10.0.0.1"}}, []dial{{"x", 443, "10.0.0.1"}}},
		{"10.0.0.1/8:1000-2000", "10.0.0.0/8:1000-2000", []dial{{"x", 2000, "10.0.0.1"}}, []dial{{"x", 2001, "10.0.0.1"}}},
		{"10.0.0.1/32:5", "10.0.0.1:5", []dial{{"x", 5, "10.0.0.1"}}, []dial{{"x", 5, "10.0.0.0"}}},
		{"1000::/16", "1000::/16", []dial{{"x", 1, "1000:ffff::1"}}, []dial{{"x", 1, "1001::"}}},
		{"1000::/16:80", "[1000::]/16:80", []dial{{"x", 80, "1000::1"}}, []dial{{"x", 81, "1000::1"}}},
		{"1000::/16:1000-2000", "[1000::]/16:1000-2000", []dial{{"x", 1234, "1000::1"}}, []dial{{"x", 2001, "1000::1"}}},
		{"[2001:db8::1]/64", "2001:db8::/64", []dial{{"x", 1, "2001:db8::ffff"}}, []dial{{"x", 1, "2001:db8:0:1::"}}},
		{"[2001:db8::1]/64:80", "[2001:db8::]/64:80", []dial{{"x", 80, "2001:db8::2"}}, []dial{{"x", 81, "2001:db8::2"}}},
		{"[2001:db8::1]/64:1000-2000", "[2001:db8::]/64:1000-2000", []dial{{"x", 1000, "2001:db8::2"}}, []dial{{"x", 999, "2001:db8::2"}}},
		{"[2001:db8::1/64]:80", "[2001:db8::]/64:80", []dial{{"x", 80, "2001:db8::2"}}, nil},
		{"[2001:db8::1/64]", "2001:db8::/64", []dial{{"x", 80, "2001:db8::2"}}, nil},
		{"2001:db8::1", "2001:db8::1", []dial{{"x", 9, "2001:db8::1"}}, []dial{{"x", 9, "2001:db8::2"}}},
		{"2001:DB8:0::1:80", "2001:db8::1:80", []dial{{"x", 9, "2001:db8::1:80"}}, []dial{{"x", 80, "2001:db8::1"}}},
		{"[2001:db8::1]", "2001:db8::1", []dial{{"x", 9, "2001:db8::1"}}, []dial{{"x", 9, "2001:db8::2"}}},
		{"[2001:db8::1]:80", "[2001:db8::1]:80", []dial{{"x", 80, "2001:db8::1"}}, []dial{{"x", 81, "2001:db8::1"}}},
		{"[2001:db8::1]:1000-2000", "[2001:db8::1]:1000-2000", []dial{{"x", 1000, "2001:db8::1"}}, []dial{{"x", 2001, "2001:db8::1"}}},
		{"::ffff:10.0.0.1", "10.0.0.1", []dial{{"x", 1, "10.0.0.1"}, {"x", 1, "::ffff:10.0.0.1"}}, nil},
		{"[::ffff:10.0.0.0]/104:80", "10.0.0.0/8:80", []dial{{"x", 80, "10.9.9.9"}}, []dial{{"x", 80, "11.0.0.1"}}},
		{"0.0.0.0/0", "0.0.0.0/0", []dial{{"x", 1, "169.254.169.254"}, {"x", 1, "127.0.0.1"}}, []dial{{"x", 1, "::1"}}},
		{"*", "*", []dial{{"x", 1, "127.0.0.1"}, {"x", 1, "8.8.8.8"}, {"::1", 1, "::1"}}, []dial{{"169.254.169.254", 80, "169.254.169.254"}, {"x", 80, "fe80::1"}}},
		{"*:443", "*:443", []dial{{"x", 443, "10.0.0.1"}}, []dial{{"x", 444, "10.0.0.1"}}},
		{"*:1-65535", "*", []dial{{"x", 65535, "10.0.0.1"}}, nil},
	} {
		t.Run(c.pattern, func(t *testing.T) {
			set := parse(t, c.pattern)
			if diff := cmp.Diff([]string{c.canonical}, set.Patterns()); diff != "" {
				t.Errorf("Patterns (-want +got):\n%s", diff)
			}
			check := func(d dial, want bool) {
				t.Helper()
				target := tcp(d.host, d.port)
				if got := set.Permits(target, netip.MustParseAddr(d.addr)); got != want {
					t.Errorf("Permits(%v, %s) = %v", target, d.addr, got)
				}
				if want && !set.May(target) {
					t.Errorf("May(%v) = false, but it is permitted at %s", target, d.addr)
				}
				target.Network = postern.UDP
				if got := set.Permits(target, netip.MustParseAddr(d.addr)); got != want {
					t.Errorf("Permits(%v, %s) = %v", target, d.addr, got)
				}
			}
			for _, d := range c.yes {
				check(d, true)
			}
			for _, d := range c.no {
				check(d, false)
			}
		})
	}
}

func TestEveryPatternOfReverseHTTPIsRead(t *testing.T) {
	doc, err := os.ReadFile("testdata/reverse-http.txt")
	if err != nil {
		t.Fatal(err)
	}
	patterns := strings.Fields(string(doc))
	if len(patterns) != 22 {
		t.Fatalf("the list has %d patterns, want all 22", len(patterns))
	}
	separate := parse(t, patterns...)
	inOneList := parse(t, strings.Join(patterns, ","))
	spaced := parse(t, strings.Join(patterns, " , "))
	if !slices.Equal(separate.Patterns(), inOneList.Patterns()) || !slices.Equal(separate.Patterns(), spaced.Patterns()) {
		t.Error("a comma list differs from its parts")
	}
}

func TestMalformedPatternsAreAllReportedWithARemedy(t *testing.T) {
	for _, pattern := range []string{
		"", " ", "host:", "host:0", "host:65536", "host:080", "host:+80", "host:80-", "host:-80", "host:90-80", "host:1-2-3", "host:http", "host:*",
		":80", "host name", "a..b", "*.", "*x.test", "a.*.b", "**", "*.*", "*.10.0.0.1", "*.10", "foo*",
		"10.0.0", "010.0.0.1", "0x7f000001", "2130706433", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08", "10.0.0.0/", "10.0.0.0/255.0.0.0", "name/8", "10.0/8",
		"10.0.0.0/8:", "10.0.0.0/8:0", "2001:db8::/129", "2001:db8::1::2", "[2001:db8::1", "[2001:db8::1]80", "[2001:db8::1]x:80", "[2001:db8::1/64]/64",
		"[10.0.0.1]", "[10.0.0.1]:80", "[]", "[]:80", "[name]:80", "[*]:80", "fe80::1%eth0", "[fe80::1%eth0]:80", "2001:db8::1:1000-2000",
		"64:ff9b::a00:1", "64:ff9b::/96", "64:ff9b:1::/48", "64:ff9b:1::a00:1", "2002:a00:1::", "2002::/16:80",
		"http://host:80", "tcp://host:80", "service:web", ".service", "a b.service", "web.service:0", "unix:x", "unix:", "unix:/a/../b", "/a//b", "/a/", "/a/**", "/a\x00b",
		"host\x00", "host\n", "\xff", "a@b", strings.Repeat("a", 64) + ".test",
	} {
		t.Run(pattern, func(t *testing.T) {
			set, err := allow.Parse([]string{"ok.test", pattern})
			if err == nil {
				t.Fatalf("it was read as %q", set.Patterns())
			}
			e, ok := errors.AsType[*allow.PatternError](err)
			if !ok || set != nil {
				t.Fatalf("got set %v and error %#v", set, err)
			}
			if e.Index != 1 || e.Pattern != strings.Trim(pattern, " ") || e.Problem == "" || e.Remedy == "" {
				t.Errorf("got %+v", e)
			}
		})
	}
}

func TestErrorsSayWhere(t *testing.T) {
	_, err := allow.Parse([]string{"good.test", "a.test:0, b.test,  10.0.0.0/99", "c.test", "http://d"})
	want := strings.Join([]string{
		`allow pattern 2, column 1: "a.test:0": "0" is not a port from 1 to 65535; write :PORT or :LOW-HIGH, or nothing for every port`,
		`allow pattern 2, column 20: "10.0.0.0/99": "99" is not a prefix length; write a number from 0 to 32 after the slash`,
		`allow pattern 4, column 1: "http://d": it is a URL; write host:port without the scheme and the path`,
	}, "\n")
	if err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Names and zones never lead to special addresses; * leads to loopback only; a rule with the address leads to each.
func TestSpecialAddresses(t *testing.T) {
	const host = "rebind.test"
	names := parse(t, host, "*.test", "*.rebind.test")
	everything := parse(t, "*")
	for _, c := range []struct {
		addr     string
		loopback bool
		rule     string // a rule that leads there; empty: none can
	}{
		{"127.0.0.1", true, "127.0.0.1"},
		{"127.255.255.254", true, "127.0.0.0/8"},
		{"::1", true, "::1"},
		{"::ffff:127.0.0.1", true, "localhost"},
		{"64:ff9b::7f00:1", true, "localhost"},
		{"64:ff9b:1::7f00:1", true, "localhost"},
		{"2002:7f00:1::5", true, "localhost"},
		{"169.254.169.254", false, "169.254.169.254"},
		{"169.254.0.1", false, "169.254.0.0/16"},
		{"fe80::1", false, "fe80::/10"},
		{"febf::1", false, "fe80::1/10"},
		{"::ffff:169.254.169.254", false, "169.254.169.254"},
		{"64:ff9b::a9fe:a9fe", false, "169.254.169.254"},
		{"2002:a9fe:a9fe::", false, "169.254.169.254"},
		{"fd00:ec2::254", false, "fd00:ec2::254"},
		{"fd00:ec2::23", false, "fd00::/8"},
		{"fd20:ce::254", false, "fd20:ce::254"},
		{"100.100.100.200", false, "100.100.100.200"},
		{"::ffff:100.100.100.200", false, "100.64.0.0/10"},
		{"168.63.129.16", false, "168.63.129.16"},
		{"192.0.0.192", false, "192.0.0.192"},
		{"0.0.0.0", false, "0.0.0.0"},
		{"0.1.2.3", false, "0.0.0.0/8"},
		{"::", false, "::"},
		{"::ffff:0.0.0.0", false, "0.0.0.0"},
		{"::7f00:1", false, "::/96"},
		{"224.0.0.1", false, "224.0.0.0/4"},
		{"239.255.255.255", false, "0.0.0.0/0"},
		{"ff02::1", false, "ff00::/8"},
		{"255.255.255.255", false, "255.255.255.255"},
		{"64:ff9b:1:7f00:0:100:a00:1", false, ""},
		{"64:ff9b:1:ffff::a00:1", false, ""},
		{"fe80::1%eth0", false, ""},
		{"::1%lo", false, ""},
		{"8.8.8.8", true, "8.8.8.8"},
	} {
		t.Run(c.addr, func(t *testing.T) {
			addr := netip.MustParseAddr(c.addr)
			ordinary := c.addr == "8.8.8.8"
			if got := names.Permits(tcp(host, 80), addr); got != ordinary {
				t.Errorf("a name rule: %v", got)
			}
			for _, h := range []string{host, "other.name"} {
				if got := everything.Permits(tcp(h, 80), addr); got != c.loopback {
					t.Errorf("*: %v", got)
				}
				if c.rule != "" && !parse(t, c.rule).Permits(tcp(h, 80), addr) {
					t.Errorf("%s does not permit it", c.rule)
				}
				if c.rule == "" && parse(t, "*", "0.0.0.0/0", "::/0", "localhost").Permits(tcp(h, 80), addr) {
					t.Error("it is permitted, but means two addresses or none")
				}
			}
			if addr.Zone() == "" && everything.May(tcp(addr.String(), 80)) != c.loopback {
				t.Error("May differs from Permits for the address itself")
			}
		})
	}
}

func TestNothingIsPermittedWithoutAnAddress(t *testing.T) {
	set := parse(t, "*", "0.0.0.0/0", "::/0", "db.test")
	if set.Permits(tcp("db.test", 1), netip.Addr{}) {
		t.Error("a name without an address is permitted")
	}
	if set.Permits(postern.Target{Network: "ipx", Host: "db.test", Port: 1}, netip.MustParseAddr("10.0.0.1")) {
		t.Error("an unknown network is permitted")
	}
}

func TestRulesAreAUnionInAnyOrder(t *testing.T) {
	addr := netip.MustParseAddr("10.0.0.1")
	for _, patterns := range [][]string{{"10.0.0.0/8:80", "10.0.0.1:443"}, {"10.0.0.1:443", "10.0.0.0/8:80"}, {"10.0.0.1:443,10.0.0.0/8:80"}} {
		set := parse(t, patterns...)
		for port, want := range map[uint16]bool{443: true, 80: true, 22: false} {
			if got := set.Permits(tcp("10.0.0.1", port), addr); got != want {
				t.Errorf("%q: port %d: %v", patterns, port, got)
			}
		}
	}
}

func TestMayNeedsNoAddress(t *testing.T) {
	for _, c := range []struct {
		pattern string
		target  postern.Target
		want    bool
	}{
		{"10.0.0.0/8:80", tcp("any.test", 80), true},
		{"10.0.0.0/8:80", tcp("any.test", 81), false},
		{"10.0.0.0/8:80", tcp("10.0.0.9", 80), true},
		{"10.0.0.0/8:80", tcp("11.0.0.9", 80), false},
		{"*.zone:80", tcp("a.zone", 80), true},
		{"*.zone:80", tcp("b.test", 80), false},
		{"*.zone", tcp("10.0.0.1", 80), false},
		{"a.zone", tcp("a.zone", 80), true},
		{"localhost", tcp("any.test", 80), true},
		{"*", tcp("any.test", 80), true},
		{"web.service", tcp("any.test", 80), false},
		{"/run/x", tcp("any.test", 80), false},
	} {
		if got := parse(t, c.pattern).May(c.target); got != c.want {
			t.Errorf("%s: May(%v) = %v", c.pattern, c.target, got)
		}
	}
}

// What travels to an agent with a request must not grow with the list.
func TestForHasOnlyWhatCanDecide(t *testing.T) {
	set := parse(t, "10.0.0.0/8:80", "10.1.0.0/16", "*.corp.test:80-90", "db.test", "localhost", "*:443", "web.service", "/run/a.sock")
	for target, want := range map[postern.Target][]string{
		tcp("10.1.2.3", 80):                          {"10.0.0.0/8:80"},
		tcp("10.1.2.3", 22):                          {"10.1.0.0/16"},
		tcp("192.0.2.1", 22):                         nil,
		tcp("a.corp.test", 80):                       {"10.0.0.0/8:80", "10.1.0.0/16", "*.corp.test:80-90", "localhost"},
		tcp("db.test", 443):                          {"10.1.0.0/16", "db.test", "localhost", "*:443"},
		tcp("other.test", 22):                        {"10.1.0.0/16", "localhost"},
		{Network: postern.Service, Host: "web"}:      {"web.service"},
		{Network: postern.Service, Host: "ssh"}:      nil,
		{Network: postern.Unix, Host: "/run/a.sock"}: {"unix:/run/a.sock"},
		{Network: postern.Unix, Host: "/run/b.sock"}: nil,
	} {
		if diff := cmp.Diff(want, set.For(target)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", target, diff)
		}
	}
	if diff := cmp.Diff([]string{"10.0.0.0/8:80", "10.1.0.0/16", "localhost", "*:443"}, set.ForNames()); diff != "" {
		t.Errorf("for names (-want +got):\n%s", diff)
	}
	if got := (*allow.Set)(nil).For(tcp("a", 1)); got != nil {
		t.Errorf("no rules, yet %q", got)
	}
}

func TestEmptySetPermitsNothing(t *testing.T) {
	empty := parse(t)
	for _, set := range []*allow.Set{nil, empty} {
		if !set.Empty() || len(set.Patterns()) != 0 {
			t.Error("it is not empty")
		}
		for _, target := range []postern.Target{tcp("a.test", 1), tcp("10.0.0.1", 1), {Network: postern.Service, Host: "a"}, {Network: postern.Unix, Host: "/a"}} {
			if set.May(target) || set.Permits(target, netip.MustParseAddr("10.0.0.1")) {
				t.Errorf("%v is permitted", target)
			}
		}
	}
	if parse(t, "*").Empty() {
		t.Error("a set with a rule is empty")
	}
}

func TestRepetitionsAreKeptOnce(t *testing.T) {
	got := parse(t, "10.0.0.1/8, 10.0.0.0/8", "A.test,a.test.").Patterns()
	if diff := cmp.Diff([]string{"10.0.0.0/8", "a.test"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
