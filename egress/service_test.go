package egress

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-dev/postern"
)

func TestDeclaredServicesNeedNoRule(t *testing.T) {
	name := func(name string) func(net.Conn) {
		return func(c net.Conn) { _, _ = io.WriteString(c, name) }
	}
	v4 := server(t, "tcp4", "127.0.0.1:0", name("four"))
	v6 := server(t, "tcp6", "[::1]:0", name("six"))
	path := filepath.Join(t.TempDir(), "x.sock")
	server(t, "unix", path, name("unix"))
	e := newEgress(t, Options{
		Services: map[string]string{"Four": "tcp://" + v4.String(), "six": "http://" + v6.String() + "/", "sock": "unix://" + path, "named": "tcp://inner.test:" + portString(v4)},
		Resolver: &names{addrs: map[string][]string{"inner.test": {"127.0.0.1"}}},
	})
	for service, want := range map[string]string{"four": "four", "six": "six", "sock": "unix", "named": "four"} {
		for _, c := range []struct {
			allow [][]string
			want  bool
		}{
			{nil, true},
			{[][]string{{"*"}, {service + ".service"}}, true},
			{[][]string{{"*.service:80"}}, true},
			{[][]string{{"*"}, {"other.service"}}, false},
			{[][]string{{"127.0.0.1", "::1", path, "inner.test"}}, false},
		} {
			target, err := postern.ParseTarget(service + ".service:99")
			if err != nil {
				t.Fatal(err)
			}
			stream, err := e.Open(t.Context(), &postern.Request{Target: target, Allow: c.allow})
			if !c.want {
				if postern.KindOf(err) != postern.Denied {
					t.Errorf("%s with %q: got %v", service, c.allow, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s with %q: %v", service, c.allow, err)
				continue
			}
			if got, err := io.ReadAll(stream); err != nil || string(got) != want {
				t.Errorf("%s: got %q and %v", service, got, err)
			}
			_ = stream.Close()
		}
	}
	if _, err := e.Open(t.Context(), tcp("127.0.0.1", portOf(t, v4))); postern.KindOf(err) != postern.Denied {
		t.Errorf("the service's raw address: %v", err)
	}
}

func portString(a net.Addr) string {
	_, port, _ := strings.Cut(a.String(), ":")
	return port
}

func TestHTTPServicesHavePort80(t *testing.T) {
	for url, want := range map[string]string{
		"http://a.test": "tcp a.test:80", "http://a.test/": "tcp a.test:80", "http://[::1]": "tcp [::1]:80", "http://a.test:": "tcp a.test:80", "http://A.test.:8080": "tcp a.test:8080",
		"tcp://10.0.0.1:22": "tcp 10.0.0.1:22", "TCP://[2001:db8::1]:22": "tcp [2001:db8::1]:22", "unix:///run/x": "unix /run/x", "unix:/run/x": "unix /run/x",
	} {
		got, err := parseService(url)
		if err != nil || got.String() != want {
			t.Errorf("%s: got %v and %v, want %s", url, got, err, want)
		}
	}
}

func TestBadServicesAreAllRefusedAtStart(t *testing.T) {
	services := map[string]string{
		"files": "file:///srv", "dns": "udp://10.0.0.1:53", "tls": "https://a.test", "what": "gopher://a.test:70", "bare": "10.0.0.1:22", "word": "22",
		"noport": "tcp://a.test", "port0": "tcp://a.test:0", "path": "http://a.test/app", "tcppath": "tcp://a.test:1/x", "user": "tcp://u:hunter2@a.test:1", "query": "http://a.test?x=1",
		"relative": "unix://run/x", "nopath": "unix://", "itself": "tcp://web.service:80", "number": "tcp://2130706433:80", "empty": "", "broken": "tcp://u:hunter2@[::1", "bad name": "tcp://a.test:1", "opaque": "tcp:a.test:1",
		"Twice": "tcp://a.test:1", "twice": "tcp://a.test:1", "selftest": "tcp://a.test:1",
	}
	_, err := New(Options{Services: services, Selftest: true})
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	for name := range services {
		if name == "Twice" {
			continue // the error is about the other one
		}
		found := ""
		for _, line := range lines {
			if strings.HasPrefix(line, "service "+name+": ") || strings.HasPrefix(line, `service "`+name+`": `) {
				found = line
			}
		}
		if found == "" {
			t.Errorf("service %s is not in the error", name)
		}
	}
	if len(lines) != len(services)-1 {
		t.Errorf("%d lines for %d bad services", len(lines), len(services)-1)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("a password is in the error")
	}
	for _, want := range []string{"file services are not supported by this version", "udp services are not supported by this version", "write tcp://host:443", "unix:///path"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}
