//go:build linux

package rig

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestServersStart(t *testing.T) {
	t.Run("nginx", func(t *testing.T) {
		site := Nginx(t)
		if got := MustRun(t, commandWithin, Program(t, "curl"), "-sS", "--cacert", site.CA, site.URL("hello.txt")); got != "hello from nginx\n" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("sshd", func(t *testing.T) {
		s := SSHD(t)
		host, port, _ := strings.Cut(s.Addr, ":")
		if got := MustRun(t, commandWithin, Program(t, "ssh"), append(s.Flags(), "-p", port, host, "echo in")...); got != "in\n" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("postgres", func(t *testing.T) {
		d := Postgres(t)
		if _, err := os.Stat(d.Socket); err != nil {
			t.Error(err)
		}
		Listening(t, commandWithin, d.Addr)
	})
	t.Run("redis", func(t *testing.T) {
		s := Redis(t)
		if got := MustRun(t, commandWithin, Program(t, "redis-cli"), "-s", s.Socket, "ping"); got != "PONG\n" {
			t.Errorf("got %q", got)
		}
	})
}

func TestTargets(t *testing.T) {
	t.Run("refusing", func(t *testing.T) {
		if _, err := net.Dial("tcp", Refusing(t)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("black hole", func(t *testing.T) {
		_, err := net.DialTimeout("tcp", BlackHole(t), time.Second)
		if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
			t.Errorf("got %v, want a timeout", err)
		}
	})
	t.Run("counter", func(t *testing.T) {
		conn, err := net.Dial("tcp", Counter(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(conn, io.LimitReader(source(5000), 5000)); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(conn); err != nil || string(got) != "GOT 5000\n" {
			t.Errorf("got %q, %v", got, err)
		}
	})
	t.Run("page without length", func(t *testing.T) {
		web := Web(t)
		r := Run(t, commandWithin, Program(t, "curl"), "-sS", "-i", "-o", "-", "--max-time", "10", web.URL+"/data?n=2000&length=no")
		r.MustSucceed(t, "curl")
		head, body, _ := strings.Cut(r.Stdout, "\r\n\r\n")
		if strings.Contains(head, "Length") || strings.Contains(head, "chunked") || len(body) != 2000 {
			t.Errorf("%d bytes after\n%s", len(body), head)
		}
	})
}

func TestRunKillsWhatTakesTooLong(t *testing.T) {
	r := Run(t, 200*time.Millisecond, "/bin/sh", "-c", "sleep 60 & sleep 60")
	if r.Code != -1 || r.Took > 10*time.Second {
		t.Errorf("exit code %d after %v", r.Code, r.Took)
	}
}
