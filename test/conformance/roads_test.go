//go:build linux

package conformance

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-dev/postern/test/rig"
)

// TestBehindNginx has a web server before the relay's web listener that knows nothing of Postern but the lines for an Upgrade.
func TestBehindNginx(t *testing.T) {
	relay := rig.StartRelay(t, rig.RelayOptions{})
	siteCert, siteKey := rig.Certificate(t)
	ownCert, ownKey := filepath.Join(relay.Data, "relay.pem"), filepath.Join(relay.Data, "relay.key")
	for _, c := range []struct{ name, url string }{
		{"clear", rig.ReverseProxy(t, "http://"+relay.Web+"/", "", "")},
		{"clear, and TLS behind it", rig.ReverseProxy(t, "https://"+relay.Web+"/", "", "")},
		{"TLS of its own", rig.ReverseProxy(t, "http://"+relay.Web+"/", siteCert, siteKey)},
		{"TLS with the relay's certificate", rig.ReverseProxy(t, "http://"+relay.Web+"/", ownCert, ownKey)},
	} {
		t.Run(c.name, func(t *testing.T) {
			agent := rig.StartAgent(t, relay, rig.AgentOptions{ID: agentID, Transport: "websocket", Relay: c.url + "/relay/"})
			defer agent.Kill() // the next one has its name
			b := &bed{transport: "websocket", relay: relay, agent: agent, client: relay.Client(t, agentID)}
			carries(t, b)
		})
	}
}

// carries checks that bytes go both ways, and that each end sees what the other does.
func carries(t *testing.T, b *bed) {
	t.Helper()
	web := rig.Web(t)
	size := rig.Size(20<<20, 500<<20)
	hash := rig.DataHash(t, size)
	t.Run("download", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "download")
		b.curl(t, b.client, "-p", "-o", file, fmt.Sprintf("%s/data?n=%d", web.URL, size)).MustSucceed(t, "curl")
		if got := rig.FileHash(t, file); got != hash {
			t.Errorf("the hash is %s, want %s", got, hash)
		}
	})
	t.Run("upload", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "upload")
		writeData(t, file, size)
		r := b.curl(t, b.client, "-p", "-T", file, web.URL+"/upload")
		r.MustSucceed(t, "curl")
		if want := fmt.Sprintf("%s %d %d\n", hash, size, size); r.Stdout != want {
			t.Errorf("%q, want %q", r.Stdout, want)
		}
	})
	t.Run("half-close", func(t *testing.T) {
		conn := tunnel(t, b.client, rig.Counter(t))
		if _, err := io.Copy(conn, rig.DataReader(300_000)); err != nil {
			t.Fatal(err)
		}
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(conn); err != nil || string(got) != "GOT 300000\n" {
			t.Errorf("%q, %v", got, err)
		}
	})
	t.Run("reset", func(t *testing.T) {
		conn := tunnel(t, b.client, rig.Serve(t, abortAfterHello))
		if _, err := io.WriteString(conn, "x"); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(conn); err == nil {
			t.Errorf("a clean end after %q", got)
		}
	})
	t.Run("many", func(t *testing.T) {
		target := rig.Echo(t)
		conns := openMany(t, b.client, target, 100)
		for i, conn := range conns {
			ping(t, conn, fmt.Sprintf("stream %d", i))
		}
	})
}

// TestNginxThatDoesNotPassUpgradeOn: the agent says what is missing.
func TestNginxThatDoesNotPassUpgradeOn(t *testing.T) {
	relay := rig.StartRelay(t, rig.RelayOptions{})
	url := rig.ReverseProxy(t, "http://"+relay.Web+"/", "", "")
	for path, want := range map[string]string{
		"/plain/":   "proxy_http_version 1.1",
		"/nowhere/": "404 Not Found",
	} {
		agent := rig.LaunchAgent(t, relay, rig.AgentOptions{ID: agentID, Transport: "websocket", Relay: url + path})
		rig.Eventually(t, short, "the agent says "+want, func() bool { return strings.Contains(agent.Output(), want) })
	}
}

// TestThroughSquid has agents whose only way out is an HTTP proxy, with a password and without.
func TestThroughSquid(t *testing.T) {
	relay := rig.StartRelay(t, rig.RelayOptions{})
	open, closed := rig.Squid(t, ""), rig.Squid(t, "s3cr3t")
	for _, c := range []struct {
		name      string
		transport string
		url       string // the relay's; empty: the one for the transport
		squid     *rig.ForwardProxy
		args, env []string
	}{
		{name: "tls", transport: "tls", squid: open, args: []string{"--proxy", "http://" + open.Addr}},
		{name: "tls with a password", transport: "tls", squid: closed, args: []string{"--proxy", "http://me:s3cr3t@" + closed.Addr}},
		{name: "websocket", transport: "websocket", squid: open, args: []string{"--proxy", open.Addr}},
		{name: "websocket in clear", transport: "websocket", url: "http://" + relay.Web, squid: open, args: []string{"--proxy", open.Addr}},
		{name: "websocket with a password", transport: "websocket", squid: closed, args: []string{"--proxy", "http://me:s3cr3t@" + closed.Addr}},
		{name: "HTTPS_PROXY", transport: "websocket", squid: closed, env: []string{"HTTPS_PROXY=http://me:s3cr3t@" + closed.Addr}},
		{name: "https_proxy", transport: "tls", squid: closed, env: []string{"https_proxy=http://me:s3cr3t@" + closed.Addr, "HTTPS_PROXY=http://127.0.0.1:1"}},
		{name: "HTTP_PROXY", transport: "websocket", url: "http://" + relay.Web, squid: open, env: []string{"HTTP_PROXY=http://" + open.Addr}},
		{name: "ALL_PROXY", transport: "tls", squid: open, env: []string{"ALL_PROXY=http://" + open.Addr}},
		{name: "POSTERN_PROXY", transport: "tls", squid: open, env: []string{"POSTERN_PROXY=http://" + open.Addr, "HTTPS_PROXY=http://127.0.0.1:1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(c.squid.Log(t))
			agent := rig.StartAgent(t, relay, rig.AgentOptions{ID: agentID, Transport: c.transport, Relay: c.url, Args: c.args, Env: c.env})
			ping(t, tunnel(t, relay.Client(t, agentID), rig.Echo(t)), "through squid")
			if strings.Contains(agent.Output(), "s3cr3t") {
				t.Error("the log has the proxy's password")
			}
			agent.Kill()
			// It writes of a tunnel when that is over.
			rig.Eventually(t, short, "squid has carried it", func() bool {
				return strings.Contains(c.squid.Log(t)[before:], "CONNECT 127.0.0.1:")
			})
		})
	}
	t.Run("all of it", func(t *testing.T) {
		agent := rig.StartAgent(t, relay, rig.AgentOptions{ID: agentID, Transport: "websocket", Args: []string{"--proxy", open.Addr}})
		carries(t, &bed{transport: "websocket", relay: relay, agent: agent, client: relay.Client(t, agentID)})
	})
}

// TestAroundAProxy has a proxy named in the environment that must not be asked.
func TestAroundAProxy(t *testing.T) {
	relay := rig.StartRelay(t, rig.RelayOptions{})
	dead := "ALL_PROXY=http://127.0.0.1:1"
	for name, o := range map[string]rig.AgentOptions{
		"quic":             {Transport: "quic", Env: []string{dead}},
		"NO_PROXY":         {Transport: "tls", Env: []string{dead, "NO_PROXY=example.com,127.0.0.0/8"}},
		"off":              {Transport: "websocket", Env: []string{dead}, Args: []string{"--proxy", "off"}},
		"the other scheme": {Transport: "websocket", Env: []string{"HTTP_PROXY=http://127.0.0.1:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			o.ID = agentID
			agent := rig.StartAgent(t, relay, o)
			ping(t, tunnel(t, relay.Client(t, agentID), rig.Echo(t)), name)
			agent.Kill() // the next one has its name
		})
	}
}

// TestProxiesThatRefuse: which proxy, and why, is said, and nothing secret.
func TestProxiesThatRefuse(t *testing.T) {
	relay := rig.StartRelay(t, rig.RelayOptions{})
	closed := rig.Squid(t, "s3cr3t")
	strict := rig.Squid(t, "", "acl SSL_ports port 443", "acl CONNECT method CONNECT", "http_access deny CONNECT !SSL_ports") // Debian's defaults
	token := relay.Token(t, "client", agentID)
	for _, c := range []struct{ name, proxy, says string }{
		{"no password", "http://" + closed.Addr, "407 Proxy Authentication Required"},
		{"a wrong one", "http://me:s3cr4t@" + closed.Addr, "not the right ones"},
		{"a port that it does not allow", "http://" + strict.Addr, "403 Forbidden"},
		{"nobody there", "http://127.0.0.1:1", "the proxy itself cannot be reached"},
		{"not SOCKS", "socks5://" + relay.Proxy, "is it an HTTP proxy?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, transport := range []string{"tls", "websocket"} {
				args := append([]string{"connect", agentID, "127.0.0.1:9", "--proxy", c.proxy}, relay.AccessBy(t, transport, token)...)
				r := rig.Run(t, short, rig.Binary(t), args...)
				if r.Code != 5 || !strings.Contains(r.Stderr, c.says) || strings.Contains(r.Stderr, "s3cr") {
					t.Errorf("%s: exit code %d, want 5 with %q:\n%s", transport, r.Code, c.says, r.Stderr)
				}
				_, addr, _ := strings.Cut(c.proxy, "://")
				if addr = addr[strings.LastIndex(addr, "@")+1:]; !strings.Contains(r.Stderr, addr) {
					t.Errorf("%s: the proxy is not named:\n%s", transport, r.Stderr)
				}
			}
		})
	}
}

// TestThroughPosternItself has a SOCKS5 and a CONNECT proxy as the way out: those of another relay, whose agent stands where the
// first relay can be reached.
func TestThroughPosternItself(t *testing.T) {
	gate := rig.StartRelay(t, rig.RelayOptions{Socks: "127.0.0.1:0"})
	rig.StartAgent(t, gate, rig.AgentOptions{ID: "gate"})
	token := gate.Token(t, "client", "gate")
	relay := rig.StartRelay(t, rig.RelayOptions{})
	for name, proxy := range map[string]string{
		"SOCKS5":  "socks5://gate:" + token + "@" + gate.Socks,
		"CONNECT": "http://gate:" + token + "@" + gate.Proxy,
	} {
		for _, transport := range []string{"tls", "websocket"} {
			t.Run(name+" "+transport, func(t *testing.T) {
				agent := rig.StartAgent(t, relay, rig.AgentOptions{ID: agentID, Transport: transport, Args: []string{"--proxy", proxy}})
				ping(t, tunnel(t, relay.Client(t, agentID), rig.Echo(t)), "through Postern")
				connect := append([]string{"connect", agentID, rig.Banner(t, "hello\n"), "--proxy", proxy}, relay.Access(t, relay.Token(t, "client", agentID))...)
				if got := rig.MustRun(t, short, rig.Binary(t), connect...); got != "hello\n" {
					t.Errorf("postern connect through a proxy: %q", got)
				}
				agent.Kill() // the next one has its name
			})
		}
	}
}

// TestProxyPasswordIsWiped looks at the arguments that every user of the machine can read.
func TestProxyPasswordIsWiped(t *testing.T) {
	relay := rig.StartRelay(t, rig.RelayOptions{})
	squid := rig.Squid(t, "s3cr3t")
	agent := rig.StartAgent(t, relay, rig.AgentOptions{ID: agentID, Transport: "tls", Args: []string{"--proxy", "http://me:s3cr3t@" + squid.Addr}})
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", agent.Pid()))
	if err != nil || strings.Contains(string(line), "s3cr3t") || !strings.Contains(string(line), "--proxy") {
		t.Errorf("%q, %v", line, err)
	}
}

// TestFallsBackToTheWeb has a relay whose agents listener cannot be reached: the join string says where its web listener is.
func TestFallsBackToTheWeb(t *testing.T) {
	relay := rig.StartRelay(t, rig.RelayOptions{})
	join := relay.Join(t, agentID, "--relay", rig.Refusing(t), "--relay", "https://"+relay.Web)
	agent := rig.Start(t, rig.Binary(t), "agent", "--join", join, "--data", filepath.Join(t.TempDir(), "agent"), "--allow", "*", "--log-level", "debug")
	agent.Name = "postern agent"
	client := relay.Client(t, agentID)
	target := rig.Echo(t)
	rig.Eventually(t, short, "the agent is there", func() bool {
		conn, _, err := client.Connect(target, nil)
		if conn != nil {
			_ = conn.Close() // that it opened is the answer
		}
		return err == nil && conn != nil
	})
	if list := rig.MustRun(t, short, rig.Binary(t), "agents", "list", "--data", relay.Data); !strings.Contains(list, "websocket") {
		t.Errorf("it came by:\n%s", list)
	}
	t.Run("the relay's own", func(t *testing.T) {
		shown := rig.MustRun(t, short, rig.Binary(t), "join", "create", "--data", relay.Data, "--agent-id", agentID, "--json")
		if !strings.Contains(shown, `"https://`+relay.Web+`/"`) {
			t.Errorf("the join string does not lead to the web listener %s:\n%s", relay.Web, shown)
		}
	})
}

// TestTheRestOfTheWeb is one helpful line.
func TestTheRestOfTheWeb(t *testing.T) {
	relay := rig.StartRelay(t, rig.RelayOptions{})
	curl := rig.Program(t, "curl")
	for _, url := range []string{"http://" + relay.Web + "/", "https://" + relay.Web + "/ui/x"} {
		got := rig.MustRun(t, short, curl, "-sS", "--cacert", relay.CA(), "-w", " %{http_code}", url)
		if !strings.HasSuffix(got, "\n 404") || !strings.Contains(got, "postern agent --relay") || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: %q", url, got)
		}
	}
	got := rig.MustRun(t, short, curl, "-sS", "-w", " %{http_code}", "-H", "Origin: https://evil.example", "-H", "Connection: Upgrade", "-H", "Upgrade: websocket",
		"--max-time", "10", "http://"+relay.Web+"/agent/v1")
	if !strings.HasSuffix(got, " 403") {
		t.Errorf("a page's request: %q", got)
	}
	// Noise of any kind is hung up on, and nobody else notices.
	for _, noise := range []string{"", "SSH-2.0-x\r\n", strings.Repeat("\xff", 1<<20)} {
		start := time.Now()
		r := rig.RunInput(t, 20*time.Second, strings.NewReader(noise), rig.Program(t, "socat"), "-t", "15", "STDIO", "TCP:"+relay.Web)
		if r.Code == -1 || time.Since(start) > 12*time.Second {
			t.Errorf("%.10q: held for %v", noise, time.Since(start))
		}
	}
}
