//go:build linux

package rig

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Serve accepts connections on a free port of loopback until the test ends and calls handle for each, in a goroutine of its own.
// The connection is closed when handle returns, and when the test ends. It returns host:port.
func Serve(t testing.TB, handle func(*net.TCPConn)) string {
	t.Helper()
	ln, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{open: make(map[*net.TCPConn]bool)}
	s.running.Go(func() { s.accept(ln, handle) })
	t.Cleanup(func() {
		_ = ln.Close() // ends accept; there is nothing else to know
		s.closeAll()
		s.running.Wait()
	})
	return ln.Addr().String()
}

type server struct {
	running sync.WaitGroup

	mu     sync.Mutex
	closed bool                  // guarded by mu
	open   map[*net.TCPConn]bool // guarded by mu
}

func (s *server) accept(ln *net.TCPListener, handle func(*net.TCPConn)) {
	for {
		conn, err := ln.AcceptTCP()
		if err != nil {
			return
		}
		if !s.add(conn) {
			_ = conn.Close() // the test has ended
			return
		}
		s.running.Go(func() {
			defer s.remove(conn)
			handle(conn)
		})
	}
}

func (s *server) add(conn *net.TCPConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.open[conn] = true
	}
	return !s.closed
}

func (s *server) remove(conn *net.TCPConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, conn)
	_ = conn.Close() // a handler may have closed it
}

func (s *server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for conn := range s.open {
		_ = conn.Close() // its handler ends
	}
}

// Echo is a target that sends back what it gets and ends its side when the client has ended its own.
func Echo(t testing.TB) string {
	t.Helper()
	return Serve(t, func(c *net.TCPConn) {
		// What goes wrong shows at the client.
		_, _ = io.Copy(c, c)
		_ = c.CloseWrite()
	})
}

// Banner is a target that speaks first, at once, and then echoes.
func Banner(t testing.TB, text string) string {
	t.Helper()
	return Serve(t, func(c *net.TCPConn) {
		if _, err := io.WriteString(c, text); err != nil {
			return
		}
		_, _ = io.Copy(c, c)
		_ = c.CloseWrite()
	})
}

// Counter is a target that reads until the client has ended its side, and only then answers "GOT n\n".
func Counter(t testing.TB) string {
	t.Helper()
	return Serve(t, func(c *net.TCPConn) {
		n, err := io.Copy(io.Discard, c)
		if err != nil {
			return
		}
		fmt.Fprintf(c, "GOT %d\n", n)
	})
}

// FirstToEnd is a target that says text and ends its side at once, then reads until the client ends too. What it
// has counted by then goes into counts; -1 when the end was not clean.
func FirstToEnd(t testing.TB, text string, counts chan<- int64) string {
	t.Helper()
	return Serve(t, func(c *net.TCPConn) {
		_, err := io.WriteString(c, text)
		if err == nil {
			err = c.CloseWrite()
		}
		n, readErr := io.Copy(io.Discard, c)
		if err != nil || readErr != nil {
			n = -1
		}
		select {
		case counts <- n:
		case <-t.Context().Done():
		}
	})
}

// Refusing is host:port that refuses connections, and stays that way: the port is held but nobody listens on it.
func Refusing(t testing.TB) string {
	t.Helper()
	fd := boundSocket(t)
	return "127.0.0.1:" + strconv.Itoa(portOf(t, fd))
}

// BlackHole is host:port where connections are neither accepted nor refused: a listener whose queue is full, so that the
// kernel ignores who knocks.
func BlackHole(t testing.TB) string {
	t.Helper()
	fd := boundSocket(t)
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	addr := "127.0.0.1:" + strconv.Itoa(portOf(t, fd))
	for range 16 {
		conn, err := net.DialTimeout("tcp", addr, 300*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = conn.Close() }) // it only had to fill the queue
	}
	t.Fatalf("the queue of %s does not fill up", addr)
	return ""
}

func boundSocket(t testing.TB) int {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Close(fd); err != nil {
			t.Errorf("closing a socket: %v", err)
		}
	})
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	return fd
}

func portOf(t testing.TB, fd int) int {
	t.Helper()
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return name.(*syscall.SockaddrInet4).Port
}

// FreePort is a TCP port of loopback that was free a moment ago, for programs that cannot choose one by themselves.
func FreePort(t testing.TB) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }() // a listener that took no connection
	return ln.Addr().(*net.TCPAddr).Port
}

// Listening waits until somebody accepts connections at addr, host:port or the path of a unix socket.
func Listening(t testing.TB, within time.Duration, addr string) {
	t.Helper()
	network := "tcp"
	if addr[0] == '/' {
		network = "unix"
	}
	Eventually(t, within, "a listener at "+addr, func() bool {
		conn, err := net.DialTimeout(network, addr, time.Second)
		if err == nil {
			_ = conn.Close() // it has answered the question
		}
		return err == nil
	})
}
