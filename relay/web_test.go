package relay

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/postern-dev/postern/config"
)

// fixed is a listener that is only somewhere.
type fixed struct {
	net.Listener
	addr string
}

func (f fixed) Addr() net.Addr {
	addr, err := net.ResolveTCPAddr("tcp", f.addr)
	if err != nil {
		panic(err)
	}
	return addr
}

func TestTheWebThatJoinStringsName(t *testing.T) {
	for _, c := range []struct {
		name        string
		agents, web string
		advertise   []string
		want        string
	}{
		{"everywhere, with a name", ":4242", ":8080", []string{"relay.example.com"}, "https://relay.example.com:8080/"},
		{"a name with the agents' port", ":4242", ":8080", []string{"relay.example.com:443", "192.0.2.1"}, "https://relay.example.com:8080/"},
		{"one address each", "192.0.2.1:4242", "192.0.2.2:443", nil, "https://192.0.2.2:443/"},
		{"IPv6", "[2001:db8::1]:4242", ":8080", nil, "https://[2001:db8::1]:8080/"},
		{"all on loopback", "127.0.0.1:4242", "127.0.0.1:8080", nil, "https://127.0.0.1:8080/"},
		{"behind another web server", ":4242", "127.0.0.1:8080", []string{"relay.example.com"}, ""},
		{"off", ":4242", "", []string{"relay.example.com"}, ""},
		{"no agents listener", "", ":8080", []string{"relay.example.com"}, ""},
	} {
		r := &running{Relay: &Relay{cfg: &config.Relay{Advertise: c.advertise}}, lns: &listeners{}}
		if c.agents != "" {
			r.lns.agentsTCP = fixed{addr: c.agents}
		}
		if c.web != "" {
			r.lns.web = fixed{addr: c.web}
		}
		if got := r.advertisedWeb(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestNothingHere(t *testing.T) {
	w := httptest.NewRecorder()
	nothingHere(w, httptest.NewRequest(http.MethodGet, "/anything", http.NoBody))
	if w.Code != http.StatusNotFound || w.Body.String() == "" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %q %v", w.Code, w.Body, w.Header())
	}
}
