//go:build linux

package rig

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// ReverseProxy starts nginx before a web listener, with nothing set but what an Upgrade takes, and returns the URL of its root. cert and
// key make it terminate TLS; empty, it listens in clear. to is what it passes on to, http://host:port/ or https://.
func ReverseProxy(t testing.TB, to, cert, key string) string {
	t.Helper()
	dir := ShortDir(t)
	addr := fmt.Sprintf("127.0.0.1:%d", FreePort(t))
	scheme, listen := "http", addr+";"
	if cert != "" {
		scheme, listen = "https", addr+" ssl; ssl_certificate "+cert+"; ssl_certificate_key "+key+";"
	}
	config := filepath.Join(dir, "nginx.conf")
	text := strings.NewReplacer("DIR", dir, "LISTEN", listen, "TO", to).Replace(`
daemon off;
master_process off;
pid DIR/pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path DIR/body;
	proxy_temp_path DIR/proxy;
	fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi;
	scgi_temp_path DIR/scgi;
	server {
		listen LISTEN
		location /relay/ {
			proxy_pass TO;
			proxy_http_version 1.1;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection "upgrade";
		}
		location /plain/ {
			proxy_pass TO;
		}
	}
}
`)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	Start(t, Program(t, "nginx"), "-p", dir, "-e", "stderr", "-c", config).Name = "nginx"
	Listening(t, serverWithin, addr)
	return scheme + "://" + addr
}

// ForwardProxy is a running squid.
type ForwardProxy struct {
	Addr string // host:port
	log  string
}

// Log is what squid has written of the connections that are over, a line each.
func (p *ForwardProxy) Log(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(p.log)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(text)
}

// Squid starts squid. With a password it takes the user me only; rules are lines of its configuration that come before it lets anybody in.
func Squid(t testing.TB, password string, rules ...string) *ForwardProxy {
	t.Helper()
	dir := ShortDir(t)
	p := &ForwardProxy{Addr: fmt.Sprintf("127.0.0.1:%d", FreePort(t)), log: filepath.Join(dir, "access.log")}
	lines := []string{
		"http_port " + p.Addr,
		"pid_filename " + dir + "/pid", "coredump_dir " + dir, "cache_log " + dir + "/cache.log", "access_log stdio:" + p.log,
		"visible_hostname proxy.test", "cache deny all", "shutdown_lifetime 0 seconds", "netdb_filename none",
	}
	lines = append(lines, rules...)
	if password != "" {
		helper := filepath.Join(dir, "auth")
		script := "#!/bin/sh\nwhile read -r line; do case $line in 'me " + password + "') echo OK ;; *) echo ERR ;; esac; done\n"
		if err := os.WriteFile(helper, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, "auth_param basic program "+helper, "auth_param basic realm test", "acl known proxy_auth REQUIRED", "http_access allow known")
	} else {
		lines = append(lines, "http_access allow all")
	}
	config := filepath.Join(dir, "squid.conf")
	if os.Getuid() == 0 {
		lines = append(lines, "cache_effective_user proxy")
		giveTo(t, "proxy", dir)
	}
	if err := os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(Program(t, "squid"), "-N", "-f", config)
	cmd.Dir = dir
	StartCmd(t, "squid", cmd)
	Listening(t, serverWithin, p.Addr)
	return p
}
