//go:build linux

package conformance

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/postern-dev/postern/test/rig"
)

// forward starts postern forward with these arguments.
func (b *bed) forward(t *testing.T, args ...string) *rig.Process {
	t.Helper()
	args = append(append([]string{"forward"}, b.access(t)...), args...)
	p := rig.Start(t, rig.Binary(t), args...)
	p.Name = "postern forward"
	return p
}

// TestDatabasesThroughForward has one postern forward hold four listeners: a port and a unix socket to each server,
// whose own ends are a port and a unix socket too.
func TestDatabasesThroughForward(t *testing.T) {
	pg, redis := rig.Postgres(t), rig.Redis(t)
	overEachTransport(t, func(t *testing.T, b *bed) {
		dir := rig.ShortDir(t)
		pgPort, redisPort := rig.FreePort(t), rig.FreePort(t)
		pgSocket := filepath.Join(dir, ".s.PGSQL.5432")
		redisSocket := filepath.Join(dir, "redis")
		b.forward(
			t,
			fmt.Sprintf("%d=%s/%s", pgPort, agentID, pg.Addr),
			fmt.Sprintf("%s=%s/unix:%s", pgSocket, agentID, pg.Socket),
			fmt.Sprintf("127.0.0.1:%d=%s/unix:%s", redisPort, agentID, redis.Socket),
			fmt.Sprintf("%s=%s/%s", redisSocket, agentID, redis.Addr),
		)
		for _, addr := range []string{fmt.Sprintf("127.0.0.1:%d", pgPort), pgSocket, fmt.Sprintf("127.0.0.1:%d", redisPort), redisSocket} {
			rig.Listening(t, short, addr)
		}
		psql := func(host string, port int, sql string) string {
			return rig.MustRun(t, short, rig.Program(t, "psql"), "-X", "-A", "-t", "-U", "postgres", "-h", host, "-p", strconv.Itoa(port), "-c", sql)
		}
		const rows = "select count(*), sum(n), max(length(s)) from (select n, repeat('x', n) s from generate_series(1, 2000) n) t"
		for host, port := range map[string]int{"127.0.0.1": pgPort, dir: 5432} {
			if got := psql(host, port, rows); got != "2000|2001000|2000\n" {
				t.Errorf("by %s: psql printed %q", host, got)
			}
			if got := psql(host, port, "select repeat('x', 3000000)"); len(got) != 3000001 {
				t.Errorf("by %s: psql printed %d bytes, want 3000001", host, len(got))
			}
		}
		for i, way := range [][]string{{"-p", strconv.Itoa(redisPort)}, {"-s", redisSocket}} {
			redisCLI := func(args ...string) string {
				return rig.MustRun(t, short, rig.Program(t, "redis-cli"), append(way, args...)...)
			}
			value := strings.Repeat("v", 50000) + strconv.Itoa(i)
			if got := redisCLI("set", "key", value); got != "OK\n" {
				t.Errorf("by %v: set gave %q", way, got)
			}
			if got := redisCLI("get", "key"); got != value+"\n" {
				t.Errorf("by %v: get gave %d bytes, want %d", way, len(got), len(value)+1)
			}
		}
	})
}

// TestForwardPrintsThePortItChose gives no listen address.
func TestForwardPrintsThePortItChose(t *testing.T) {
	target := rig.Banner(t, "hello\n")
	b := newBed(t, "tls")
	p := b.forward(t, agentID+"/"+target)
	addr := printedAddress(t, p, target)
	if got := runNC(t, addr); got != "hello\n" {
		t.Errorf("at %s: %q", addr, got)
	}
	p.Signal(syscall.SIGTERM)
	if code := p.Exit(short); code != 0 {
		t.Errorf("postern forward ended with %d after SIGTERM", code)
	}
}

// printedAddress waits for a process to print an address of loopback other than the given one.
func printedAddress(t *testing.T, p *rig.Process, other string) string {
	t.Helper()
	var addr string
	rig.Eventually(t, short, p.Name+" prints its address", func() bool {
		for word := range strings.FieldsFuncSeq(p.Stdout(), func(r rune) bool { return strings.ContainsRune(" \n\t=/,", r) }) {
			if _, port, err := net.SplitHostPort(word); err == nil && strings.HasPrefix(word, "127.0.0.1:") && port != "" && word != other {
				addr = word
				return true
			}
		}
		return false
	})
	return addr
}

func TestForwardProxies(t *testing.T) {
	site, web := rig.Nginx(t), rig.Web(t)
	overEachTransport(t, func(t *testing.T, b *bed) {
		socks, http := rig.FreePort(t), rig.FreePort(t)
		b.forward(t, fmt.Sprintf("%d=socks", socks), agentID, fmt.Sprintf("%d=http", http), agentID)
		for _, proxy := range []string{fmt.Sprintf("socks5h://127.0.0.1:%d", socks), fmt.Sprintf("http://127.0.0.1:%d", http)} {
			_, addr, _ := strings.Cut(proxy, "://")
			rig.Listening(t, short, addr)
			for url, want := range map[string]string{site.URL("hello.txt"): "hello from nginx\n", web.URL + "/hello": "hello from the target\n"} {
				got := rig.MustRun(t, short, rig.Program(t, "curl"), "-sS", "--max-time", "30", "-x", proxy, "--cacert", site.CA, url)
				if got != want {
					t.Errorf("%s through %s: %q", url, proxy, got)
				}
			}
		}
	})
}

// TestForwardProxyCommandForms are the forms without a listen address: forward socks AGENT, forward http AGENT.
func TestForwardProxyCommandForms(t *testing.T) {
	web := rig.Web(t)
	b := newBed(t, "tls")
	for form, scheme := range map[string]string{"socks": "socks5h", "http": "http"} {
		t.Run(form, func(t *testing.T) {
			addr := printedAddress(t, b.forward(t, form, agentID), "")
			got := rig.MustRun(t, short, rig.Program(t, "curl"), "-sS", "--max-time", "30", "-x", scheme+"://"+addr, web.URL+"/hello")
			if got != "hello from the target\n" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// TestForwardToServices reaches declared services by name, and nothing else: the agent has no allow-list.
func TestForwardToServices(t *testing.T) {
	redis := rig.Redis(t)
	web := rig.Web(t)
	relay := rig.StartRelay(t, rig.RelayOptions{})
	rig.StartAgent(t, relay, rig.AgentOptions{ID: agentID, Allow: []string{}, Args: []string{
		"--service", "cache=unix://" + redis.Socket, "--service", "cache2=tcp://" + redis.Addr, "--service", "site=" + web.URL,
	}})
	b := &bed{transport: "tls", relay: relay, client: relay.Client(t, agentID)}
	ports := []int{rig.FreePort(t), rig.FreePort(t)}
	b.forward(t, fmt.Sprintf("%d=%s/cache.service", ports[0], agentID), fmt.Sprintf("%d=%s/service:cache2", ports[1], agentID))
	for _, port := range ports {
		rig.Listening(t, short, fmt.Sprintf("127.0.0.1:%d", port))
		if got := rig.MustRun(t, short, rig.Program(t, "redis-cli"), "-p", strconv.Itoa(port), "ping"); got != "PONG\n" {
			t.Errorf("got %q", got)
		}
	}
	r := b.curl(t, b.client, "http://site.service/hello")
	if r.Code != 0 || r.Stdout != "hello from the target\n" {
		t.Errorf("curl: exit code %d, %q %q", r.Code, r.Stdout, r.Stderr)
	}
	if _, answer, err := b.client.Connect(redis.Addr, nil); err != nil || answer.StatusCode != 403 {
		t.Errorf("the raw address of a service: %v, %v; want 403", answer, err)
	}
}
