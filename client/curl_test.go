package client

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-dev/postern"
)

// curl runs the real program, without a proxy from the environment, and returns what it prints.
func curl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "curl", append([]string{"-sS", "--noproxy", ""}, args...)...)
	cmd.Env = append(os.Environ(), "http_proxy=", "HTTPS_PROXY=", "https_proxy=", "ALL_PROXY=", "all_proxy=", "NO_PROXY=", "no_proxy=")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestRealCurl(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%s %s %s %d %v", r.Method, r.Host, r.URL.Path, n, err)
	})
	clear, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer clear.Close()
	defer secure.Close()
	_, clearPort, _ := net.SplitHostPort(clear.Listener.Addr().String())
	_, securePort, _ := net.SplitHostPort(secure.Listener.Addr().String())
	addrs := forwarding(t, loopback{service: clear.Listener.Addr().String()}, "socks nas", "http nas", "nas/web.service", "socks pi")
	socks, proxy, port, unknown := addrs[0], addrs[1], addrs[2], addrs[3]
	body := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(body, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"socks5, address", []string{"--socks5", socks, "http://127.0.0.1:" + clearPort + "/a"}, "GET 127.0.0.1:" + clearPort + " /a 0 <nil>"},
		{"socks5, name resolved far away", []string{"--socks5-hostname", socks, "http://inner.test:" + clearPort + "/b"}, "GET inner.test:" + clearPort + " /b 0 <nil>"},
		{"socks5, service", []string{"--socks5-hostname", socks, "http://web.service/c"}, "GET web.service /c 0 <nil>"},
		{"socks5, with a password nobody asked for", []string{"-x", "socks5h://ann:secret@" + socks, "http://web.service/d"}, "GET web.service /d 0 <nil>"},
		{"socks5, TLS", []string{"-k", "--socks5-hostname", socks, "https://inner.test:" + securePort + "/e"}, "GET inner.test:" + securePort + " /e 0 <nil>"},
		{"socks5, upload", []string{"--socks5-hostname", socks, "-T", body, "http://web.service/f"}, "PUT web.service /f 3145728 <nil>"},
		{"http, absolute form", []string{"--proxy", proxy, "http://inner.test:" + clearPort + "/g"}, "GET inner.test:" + clearPort + " /g 0 <nil>"},
		{"http, CONNECT", []string{"-k", "--proxy", proxy, "https://inner.test:" + securePort + "/h"}, "GET inner.test:" + securePort + " /h 0 <nil>"},
		{"http, tunnel", []string{"--proxytunnel", "--proxy", proxy, "-T", body, "http://web.service/i"}, "PUT web.service /i 3145728 <nil>"},
		{"port", []string{"http://" + port + "/j"}, "GET " + port + " /j 0 <nil>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := curl(t, tt.args...); got != tt.want || err != nil {
				t.Errorf("got %q and %v, want %q", got, err, tt.want)
			}
		})
	}

	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"closed port over socks5":    {[]string{"--socks5", socks, "http://127.0.0.1:1/"}, "(5)"},
		"unknown agent over socks5":  {[]string{"--socks5", unknown, "http://127.0.0.1:1/"}, "(4)"},
		"closed port over http":      {[]string{"--fail", "--proxy", proxy, "http://127.0.0.1:1/"}, "502"},
		"socks4":                     {[]string{"--socks4", socks, "http://127.0.0.1:" + clearPort + "/"}, "91"},
		"an HTTP proxy that is none": {[]string{"--fail", "--proxy", socks, "http://web.service/"}, "400"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := curl(t, tt.args...)
			if err == nil || !strings.Contains(got, tt.want) {
				t.Errorf("got %q and %v, want a failure that says %s", got, err, tt.want)
			}
		})
	}
}

// TestRelayThatRefusesUsIsNoReasonToAskForAPassword: what a local client could type would not help.
func TestRelayThatRefusesUsIsNoReasonToAskForAPassword(t *testing.T) {
	opener := postern.OpenerFunc(func(context.Context, *postern.Request) (postern.Stream, error) {
		return nil, &postern.Error{Kind: postern.Unauthenticated, Hop: postern.HopRelay}
	})
	addrs := forwarding(t, opener, "http nas", "socks nas")
	if got, err := curl(t, "--fail", "--proxy", addrs[0], "http://web.service/"); err == nil || !strings.Contains(got, "403") {
		t.Errorf("over http: %q and %v, want 403", got, err)
	}
	if got, err := curl(t, "--socks5-hostname", addrs[1], "http://web.service/"); err == nil || !strings.Contains(got, "(2)") {
		t.Errorf("over socks5: %q and %v, want reply 2", got, err)
	}
}
