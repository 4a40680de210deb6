package transport

import (
	"strings"
	"testing"

	"github.com/postern-dev/postern"
)

func TestWhereTheListenersOfARelayAre(t *testing.T) {
	for _, c := range []struct {
		addr, agents, web, host string
		told                    bool // the web listener
	}{
		{"relay.example.com:4242", "relay.example.com:4242", "https://relay.example.com/", "relay.example.com", false},
		{"[2001:db8::7]:4242", "[2001:db8::7]:4242", "https://[2001:db8::7]/", "2001:db8::7", false},
		{"https://relay.example.com:8443/x", "", "https://relay.example.com:8443/x", "relay.example.com", true},
		{"http://[2001:db8::7]", "", "http://[2001:db8::7]", "2001:db8::7", true},
	} {
		if err := CheckAddress(c.addr); err != nil {
			t.Errorf("%s: %v", c.addr, err)
		}
		if at, told := AgentsAt(c.addr); at != c.agents || told != (at != "") {
			t.Errorf("%s: agents at %q, %v", c.addr, at, told)
		}
		if at, told := WebAt(c.addr); at != c.web || told != c.told {
			t.Errorf("%s: web at %q, %v", c.addr, at, told)
		}
		if host := HostOf(c.addr); host != c.host {
			t.Errorf("%s: host %q", c.addr, host)
		}
	}
}

func TestParseWeb(t *testing.T) {
	for s, want := range map[string][2]string{
		"relay.example.com:8443":         {"https://relay.example.com:8443/", "relay.example.com:8443"},
		"https://relay.example.com":      {"https://relay.example.com/", "relay.example.com:443"},
		"https://relay.example.com:/":    {"https://relay.example.com/", "relay.example.com:443"},
		"http://192.0.2.1/a/b":           {"http://192.0.2.1/a/b/", "192.0.2.1:80"},
		"https://[2001:db8::7]:8443/x/":  {"https://[2001:db8::7]:8443/x/", "[2001:db8::7]:8443"},
		"HTTPS://relay.example.com:8443": {"https://relay.example.com:8443/", "relay.example.com:8443"},
	} {
		u, err := ParseWeb(s)
		if err != nil || u.String() != want[0] || HostPort(u) != want[1] {
			t.Errorf("%s: %v, %v", s, u, err)
		}
	}
}

func TestWhatIsNoAddress(t *testing.T) {
	for _, s := range []string{
		"", "relay", "relay:", ":4242", "relay:0", "relay:70000", "relay:-1", "[::1:4242",
		"ftp://relay/", "https://", "https:///x", "https://relay:0/", "https://relay:70000/", "https://me:secret@relay/",
		"https://relay/?q", "https://relay/#f", "https://rel\x00ay/", "ws://relay/",
	} {
		err := CheckAddress(s)
		if err == nil || postern.KindOf(err) != postern.BadAddress || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", s, err)
		}
		if HostOf(s) != "" {
			t.Errorf("%q has the host %q", s, HostOf(s))
		}
	}
}
