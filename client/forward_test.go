package client

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-dev/postern"
)

func TestParseForward(t *testing.T) {
	tcp := func(host string, port uint16) postern.Target {
		return postern.Target{Network: postern.TCP, Host: host, Port: port}
	}
	unix := func(path string) postern.Target { return postern.Target{Network: postern.Unix, Host: path} }
	service := func(name string) postern.Target { return postern.Target{Network: postern.Service, Host: name} }
	const free = "127.0.0.1:0"
	for spec, want := range map[string]Forward{
		"nas/127.0.0.1:5432":           {Port, "tcp", free, "nas", tcp("127.0.0.1", 5432)},
		"5432=nas/127.0.0.1:5432":      {Port, "tcp", "127.0.0.1:5432", "nas", tcp("127.0.0.1", 5432)},
		"tcp/5432=nas/tcp/db:5432":     {Port, "tcp", "127.0.0.1:5432", "nas", tcp("db", 5432)},
		"0=nas/db:5432":                {Port, "tcp", free, "nas", tcp("db", 5432)},
		":8080=nas/DB.Example.com.:80": {Port, "tcp", ":8080", "nas", tcp("db.example.com", 80)},
		"0.0.0.0:8080=nas/db:80":       {Port, "tcp", "0.0.0.0:8080", "nas", tcp("db", 80)},
		"localhost:8080=nas/[2001:db8::7]:80": {
			Port, "tcp", "localhost:8080", "nas", tcp("2001:db8::7", 80),
		},
		"[::1]:8080=nas/db:80":          {Port, "tcp", "[::1]:8080", "nas", tcp("db", 80)},
		"[fe80::1%eth0]:8080=nas/db:80": {Port, "tcp", "[fe80::1%eth0]:8080", "nas", tcp("db", 80)},
		"22=nas/ssh.service":            {Port, "tcp", "127.0.0.1:22", "nas", service("ssh")},
		"nas/service:ssh":               {Port, "tcp", free, "nas", service("ssh")},
		"nas/unix:/run/x.sock":          {Port, "tcp", free, "nas", unix("/run/x.sock")},
		"nas//run/x.sock":               {Port, "tcp", free, "nas", unix("/run/x.sock")},
		"nas//run/a=b.sock":             {Port, "tcp", free, "nas", unix("/run/a=b.sock")},
		"nas/unix:/run/a=b.sock":        {Port, "tcp", free, "nas", unix("/run/a=b.sock")},
		"/run/x.sock=nas/ssh.service":   {Port, "unix", "/run/x.sock", "nas", service("ssh")},
		"unix:/run/x.sock=nas//run/a=b": {Port, "unix", "/run/x.sock", "nas", unix("/run/a=b")},
		"socks nas":                     {Mode: Socks, Network: "tcp", Address: free, Agent: "nas"},
		"1080=socks nas":                {Mode: Socks, Network: "tcp", Address: "127.0.0.1:1080", Agent: "nas"},
		"/run/s.sock=http nas":          {Mode: HTTP, Network: "unix", Address: "/run/s.sock", Agent: "nas"},
		"http  nas":                     {Mode: HTTP, Network: "tcp", Address: free, Agent: "nas"},
		"socks/127.0.0.1:80":            {Port, "tcp", free, "socks", tcp("127.0.0.1", 80)},
		"udp/127.0.0.1:53":              {Port, "tcp", free, "udp", tcp("127.0.0.1", 53)},
	} {
		got, err := ParseForward(spec)
		if err != nil {
			t.Errorf("%s: %v", spec, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", spec, diff)
		}
		if got.Address == free {
			continue
		}
		if again, err := ParseForward(got.String()); err != nil || again != got {
			t.Errorf("%s is written %s, which is read as %+v, %v", spec, got, again, err)
		}
	}
}

func TestParseForwardSaysWhatIsWrong(t *testing.T) {
	for spec, want := range map[string]string{
		"":                        "AGENT/TARGET",
		"nas":                     "AGENT/TARGET",
		"5432=nas":                "AGENT/TARGET",
		"nas/":                    "not host:port",
		"nas/db":                  "not host:port",
		"nas/db:0":                "not a port",
		"nas/db:99999":            "not a port",
		"nas/ssh.service:x":       "not a port",
		"/db:80":                  "agent id is empty",
		"n@s/db:80":               "agent id",
		"65536=nas/db:80":         "port from 0 to 65535",
		"+80=nas/db:80":           "port from 0 to 65535",
		"x=nas/db:80":             "port from 0 to 65535",
		"=nas/db:80":              "listen address",
		"a:b:c=nas/db:80":         "not a port, host:port or /path",
		"bad host:80=nas/db:80":   "cannot be used",
		"unix:relative=nas/db:80": "not an absolute path",
		"/" + strings.Repeat("x", 107) + "=n/a:1": "at most 107",
		"udp/127.0.0.1:5353=nas/udp/10.0.0.1:53":  "not UDP",
		"nas/udp/10.0.0.1:53":                     "not UDP",
		"nas/udp://10.0.0.1:53":                   "not UDP",
		"socks":                                   "the agent is missing",
		"1080=http ":                              "the agent is missing",
		"socks n@s":                               "agent id",
		"socks 1080=nas":                          "goes in front",
	} {
		_, err := ParseForward(spec)
		if err == nil {
			t.Errorf("%q was taken", spec)
			continue
		}
		if k := postern.KindOf(err); k != postern.BadAddress && k != postern.BadCommand {
			t.Errorf("%q: kind %v", spec, k)
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q does not say %q", spec, err, want)
		}
	}
}

func TestParseForwardsTakesShellArguments(t *testing.T) {
	got, err := ParseForwards([]string{"5432=nas/db:5432", "socks", "nas", "8118=http", "pi", "1080=socks nas"})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range got {
		lines = append(lines, f.String())
	}
	want := []string{"127.0.0.1:5432=nas/db:5432", "127.0.0.1:0=socks nas", "127.0.0.1:8118=http pi", "127.0.0.1:1080=socks nas"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}

	_, err = ParseForwards([]string{"nas", "nas/db:80", "n@s/db:80", "socks"})
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("want three problems, one a line, got: %v", err)
	}
}

func FuzzParseForward(f *testing.F) {
	for _, spec := range []string{"5432=nas/127.0.0.1:5432", "/run/x.sock=nas/ssh.service", "nas//run/a=b", "1080=socks nas", "udp/1=a/udp/b:1", "=", "[::1]:1=a/[::]:1"} {
		f.Add(spec)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		got, err := ParseForward(spec)
		if err != nil {
			if k := postern.KindOf(err); k != postern.BadAddress && k != postern.BadCommand {
				t.Fatalf("%q: kind %v: %v", spec, k, err)
			}
			return
		}
		if strings.Contains(got.Address, "=") {
			t.Fatalf("%q listens on %q", spec, got.Address)
		}
		if again, err := ParseForward(got.String()); err != nil || again != got {
			t.Fatalf("%q is written %q, which is read as %+v, %v", spec, got, again, err)
		}
	})
}
