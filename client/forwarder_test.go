package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/splice"
)

// loopback is an Opener that dials from here: unix sockets as they are, every service at service's address, names as 127.0.0.1.
type loopback struct{ service string }

func (l loopback) Open(ctx context.Context, req *postern.Request) (postern.Stream, error) {
	if req.Agent != "nas" {
		return nil, postern.Errorf(postern.NoSuchAgent, postern.HopRelay, "there is no agent %s", req.Agent)
	}
	network, address := string(req.Target.Network), req.Target.Address()
	switch {
	case req.Target.Network == postern.Service:
		network, address = "tcp", l.service
	case strings.HasSuffix(req.Target.Host, ".test"):
		address = net.JoinHostPort("127.0.0.1", fmt.Sprint(req.Target.Port))
	}
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, network, address)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, postern.Errorf(postern.Refused, postern.HopTarget, "%w", err)
	}
	if err != nil {
		return nil, err
	}
	return splice.Stream(c), nil
}

// forwarding runs a forwarder for specs and returns the addresses it listens on. It ends with the test.
func forwarding(t *testing.T, opener postern.Opener, specs ...string) []string {
	t.Helper()
	forwards, err := ParseForwards(specs)
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan []Bound, 1)
	f := &Forwarder{Forwards: forwards, Opener: opener, Ready: func(b []Bound) { ready <- b }}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	select {
	case bound := <-ready:
		var addrs []string
		for i, b := range bound {
			if b.Mode != forwards[i].Mode || b.Address != b.Addr.String() {
				t.Errorf("bound %+v for %+v", b, forwards[i])
			}
			addrs = append(addrs, b.Address)
		}
		return addrs
	case err := <-done:
		done <- nil
		t.Fatal(err)
		return nil
	}
}

// targetServer accepts on network and lets serve have each connection.
func targetServer(t *testing.T, network, address string, serve func(c net.Conn)) string {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serve(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return ln.Addr().String()
}

// lengthOf reads to the end and only then says how much it was: it works only through what passes half-closes on.
func lengthOf(c net.Conn) {
	n, err := io.Copy(io.Discard, c)
	fmt.Fprintf(c, "%d bytes, %v", n, err)
}

// ask sends question over c, half-closes it and returns the whole answer.
func ask(t *testing.T, c net.Conn, question []byte) string {
	t.Helper()
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(question); err != nil {
		t.Fatal(err)
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func mustDial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPortsAndSocketsForwardSeveralTargets(t *testing.T) {
	dir := t.TempDir()
	tcp := targetServer(t, "tcp", "127.0.0.1:0", lengthOf)
	targetServer(t, "unix", filepath.Join(dir, "target"), lengthOf)
	local := filepath.Join(dir, "local")
	addrs := forwarding(t, loopback{service: tcp}, "nas/"+tcp, "nas/"+filepath.Join(dir, "target"), local+"=nas/len.service")

	question := bytes.Repeat([]byte("x"), 1<<20)
	for i, network := range []string{"tcp", "tcp", "unix"} {
		for range 20 {
			if got := ask(t, mustDial(t, network, addrs[i]), question); got != "1048576 bytes, <nil>" {
				t.Fatalf("%s: %q", addrs[i], got)
			}
		}
	}
	info, err := os.Lstat(local)
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the local socket is %v, %v; want mode 0600", info.Mode(), err)
	}
}

func TestServerFirstBannerArrives(t *testing.T) {
	banner := targetServer(t, "tcp", "127.0.0.1:0", func(c net.Conn) { fmt.Fprint(c, "SSH-2.0-test\r\n") })
	addrs := forwarding(t, loopback{}, "nas/"+banner)
	for range 200 {
		if got := ask(t, mustDial(t, "tcp", addrs[0]), nil); got != "SSH-2.0-test\r\n" {
			t.Fatalf("got %q", got)
		}
	}
}

func TestFailureToConnectIsAReset(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	addrs := forwarding(t, loopback{}, "nas/"+closed)
	c, err := net.Dial("tcp", addrs[0])
	if errors.Is(err, syscall.ECONNRESET) {
		return // the reset was faster than connect(2)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := io.ReadAll(c); err == nil {
		t.Errorf("got %q and a clean end from a target that is not there", got)
	}
}

func TestAllListenersOrNone(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	live := filepath.Join(t.TempDir(), "live")
	targetServer(t, "unix", live, lengthOf)

	for name, listen := range map[string]string{"port": taken.Addr().String(), "file": file, "socket": live} {
		t.Run(name, func(t *testing.T) {
			first := filepath.Join(t.TempDir(), "first")
			forwards, err := ParseForwards([]string{first + "=nas/db:80", listen + "=nas/db:80"})
			if err != nil {
				t.Fatal(err)
			}
			f := &Forwarder{Forwards: forwards, Opener: loopback{}, Ready: func([]Bound) { t.Error("it says it is ready") }}
			err = f.Run(t.Context())
			if postern.KindOf(err) != postern.Conflict || !strings.Contains(err.Error(), listen) {
				t.Errorf("got %v, want a conflict that names %s", err, listen)
			}
			if _, err := os.Lstat(first); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the first socket was left behind: %v", err)
			}
		})
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "precious" {
		t.Errorf("the file holds %q, %v", got, err)
	}
	if got := ask(t, mustDial(t, "unix", live), []byte("abc")); got != "3 bytes, <nil>" {
		t.Errorf("the other program's socket says %q", got)
	}
}

func TestAddressThatIsNotOurs(t *testing.T) {
	forwards, err := ParseForwards([]string{"192.0.2.1:0=nas/db:80"})
	if err != nil {
		t.Fatal(err)
	}
	err = (&Forwarder{Forwards: forwards, Opener: loopback{}}).Run(t.Context())
	if postern.KindOf(err) != postern.BadAddress || !strings.Contains(err.Error(), "192.0.2.1:0") {
		t.Errorf("got %v", err)
	}
}

func TestStaleSocketIsReplacedAndOursRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.sock")
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	tcp := targetServer(t, "tcp", "127.0.0.1:0", lengthOf)
	t.Run("running", func(t *testing.T) {
		forwarding(t, loopback{}, path+"=nas/"+tcp)
		if got := ask(t, mustDial(t, "unix", path), []byte("abc")); got != "3 bytes, <nil>" {
			t.Errorf("got %q", got)
		}
	})
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket was left behind: %v", err)
	}
}

func TestSuccessorsSocketIsNotRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.sock")
	ln, err := listenUnix(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	successor, err := listenUnix(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the successor's socket is gone: %v", err)
	}
	if err := successor.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenStreamsAreBrokenOffAtTheEnd(t *testing.T) {
	hold := make(chan struct{})
	tcp := targetServer(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		fmt.Fprint(c, "x")
		<-hold
	})
	t.Cleanup(func() { close(hold) })
	var c net.Conn
	t.Run("running", func(t *testing.T) {
		addrs := forwarding(t, loopback{}, "nas/"+tcp)
		c = mustDial(t, "tcp", addrs[0])
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	})
	defer c.Close()
	if got, err := io.ReadAll(c); err == nil {
		t.Errorf("read %q and a clean end, want a failure", got)
	}
}
