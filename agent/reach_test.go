package agent

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"

	"github.com/postern-dev/postern/internal/join"
	"github.com/postern-dev/postern/internal/viaproxy"
	"github.com/postern-dev/postern/transport"
)

func TestRelays(t *testing.T) {
	type place struct {
		addr, web string
		told      bool
	}
	guessed := func(host string) place { return place{host + ":4242", "https://" + host + "/", false} }
	for _, c := range []struct {
		name  string
		given []string
		join  join.Join
		want  []place
	}{
		{name: "nothing"},
		{name: "given", given: []string{"a:4242", "https://b:8080"}, want: []place{guessed("a"), {"https://b:8080", "https://b:8080", true}}},
		{name: "given is stronger", given: []string{"a:4242"}, join: join.Join{Addresses: []string{"j:4242"}, Web: "https://w/"}, want: []place{guessed("a")}},
		{name: "a join string without a web", join: join.Join{Addresses: []string{"a:4242", "b:4242"}}, want: []place{guessed("a"), guessed("b")}},
		{
			name: "a join string says where", join: join.Join{Addresses: []string{"a:4242", "b:4242"}, Web: "https://w:8080"},
			want: []place{{"a:4242", "https://w:8080", true}, {"b:4242", "", false}},
		},
		{name: "a join string with a web alone", join: join.Join{Web: "http://w/x"}, want: []place{{"http://w/x", "http://w/x", true}}},
	} {
		addrs, webs, err := Relays(c.given, c.join)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []place
		for _, addr := range addrs {
			at, told := webs(addr)
			got = append(got, place{addr, at, told})
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %+v; want %+v", c.name, got, c.want)
		}
	}
	for _, bad := range []string{"a", "ftp://a/", "a:0"} {
		if got, _, err := Relays([]string{bad}, join.Join{}); err == nil {
			t.Errorf("%s: %+v", bad, got)
		}
	}
}

func TestLadder(t *testing.T) {
	proxy := func(said, environ string) *viaproxy.Proxies {
		p, err := viaproxy.New(said, func(name string) string {
			if name == "ALL_PROXY" {
				return environ
			}
			return ""
		})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, c := range []struct {
		names   []string
		proxies *viaproxy.Proxies
		want    string
	}{
		{[]string{"auto"}, nil, "tls quic websocket"},
		{[]string{"auto"}, proxy("", "http://p:1"), "tls quic websocket"},
		{[]string{"auto"}, proxy("off", "http://p:1"), "tls quic websocket"},
		// Nothing is to go around a proxy that was named on purpose, but for what was named on purpose too.
		{[]string{"auto"}, proxy("http://p:1", ""), "tls websocket"},
		{[]string{"quic", "tls"}, proxy("http://p:1", ""), "quic tls"},
		{[]string{"websocket"}, nil, "websocket"},
	} {
		config := &tls.Config{}
		ladder, err := Ladder(c.names, transport.ALPNAgent, transport.WebAt, transport.DialOptions{TLS: config, Proxies: c.proxies})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range ladder {
			got = append(got, r.Name)
			if at, _ := r.At("r:4242"); (at != "r:4242") != (r.Name == "websocket") {
				t.Errorf("%s goes to %s", r.Name, at)
			}
		}
		if strings.Join(got, " ") != c.want || config.NextProtos != nil {
			t.Errorf("%v: %v, want %s", c.names, got, c.want)
		}
	}
	for _, names := range [][]string{nil, {"carrier-pigeon"}} {
		if _, err := Ladder(names, transport.ALPNAgent, transport.WebAt, transport.DialOptions{TLS: &tls.Config{}}); err == nil {
			t.Errorf("%v is a ladder", names)
		}
	}
}
