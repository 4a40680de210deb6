package cli

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestUp runs postern up, does by hand what the printed commands do, and stops it.
func TestUp(t *testing.T) {
	files := t.TempDir()
	if err := os.WriteFile(filepath.Join(files, "index.html"), []byte("the page"), 0o600); err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	if err := os.Chmod(data, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	reader, writer := io.Pipe()
	var stderr bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- Main(ctx, []string{"up", "--data", data, "--files", files}, strings.NewReader(""), writer, &stderr, nil)
		_ = writer.Close() // the scanner below ends with it
	}()
	commands := make(map[string][]string)
	for s := bufio.NewScanner(reader); s.Scan(); {
		words := strings.Fields(s.Text())
		if len(words) > 0 && words[0] == "curl" && commands["curl"] == nil {
			commands["curl"] = words
		}
		if strings.Contains(s.Text(), " forward ") {
			break
		}
	}
	go func() { _, _ = io.Copy(io.Discard, reader) }() // ends when writer is closed; what follows does not matter
	body := throughProxy(t, ctx, commands["curl"])
	if body != "the page" {
		t.Errorf("the page has %q", body)
	}
	join := filepath.Join(data, "client.join")
	if info, err := os.Stat(join); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the join string: %v, %v; want mode 0600", info, err)
	}
	var answer bytes.Buffer
	request := strings.NewReader("GET /none HTTP/1.0\r\n\r\n")
	if c := Main(ctx, []string{"connect", "--join", "@" + join, "here", "web.service"}, request, &answer, &stderr, nil); c != 0 || !strings.Contains(answer.String(), " 404 ") {
		t.Errorf("connect ended with %d and %q", c, answer.String())
	}
	stop()
	if c := <-code; c != 0 {
		t.Errorf("exit code %d: %s", c, stderr.String())
	}
}

// throughProxy gets what a printed curl gets.
func throughProxy(t *testing.T, ctx context.Context, curl []string) string {
	t.Helper()
	var proxy, user string
	for i, w := range curl {
		switch w {
		case "-x":
			proxy = curl[i+1]
		case "--proxy-user":
			user = curl[i+1]
		}
	}
	at, err := url.Parse(proxy)
	if err != nil || at.Host == "" {
		t.Fatalf("no proxy in %q: %v", curl, err)
	}
	name, password, _ := strings.Cut(user, ":")
	at.User = url.UserPassword(name, password)
	transport := &http.Transport{Proxy: http.ProxyURL(at)}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, curl[len(curl)-1], nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
