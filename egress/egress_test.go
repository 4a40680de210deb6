package egress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern"
)

func TestHalfCloseAndAnswer(t *testing.T) {
	for _, c := range []struct{ network, listen, host, rule string }{
		{"tcp4", "127.0.0.1:0", "127.0.0.1", "127.0.0.1"},
		{"tcp6", "[::1]:0", "::1", "::1"},
		{"tcp4", "127.0.0.1:0", "localhost.test", "127.0.0.0/8"},
		{"tcp4", "127.0.0.1:0", "localhost", "localhost"},
		{"tcp4", "127.0.0.1:0", "localhost", "*"},
		{"tcp4", "127.0.0.1:0", "mapped.test", "localhost"},
	} {
		t.Run(c.host+" by "+c.rule, func(t *testing.T) {
			resolver := &names{addrs: map[string][]string{"localhost.test": {"127.0.0.1"}, "localhost": {"127.0.0.1"}, "mapped.test": {"::ffff:127.0.0.1"}}}
			seen := make(chan string, 1)
			addr := server(t, c.network, c.listen, func(conn net.Conn) {
				seen <- conn.RemoteAddr().String()
				countBytes(conn)
			})
			e := newEgress(t, Options{Allow: rules(t, c.rule), Resolver: resolver})
			stream, err := e.Open(t.Context(), tcp(c.host, portOf(t, addr)))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = stream.Close() }()
			if local := stream.LocalAddr().String(); local != <-seen {
				t.Errorf("LocalAddr is %s, which the target did not see", local)
			}
			if _, err := stream.Write(bytes.Repeat([]byte{7}, 1<<20)); err != nil {
				t.Fatal(err)
			}
			if err := stream.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(stream)
			if err != nil || string(answer) != "GOT 1048576" {
				t.Errorf("got %q and %v", answer, err)
			}
		})
	}
}

func TestAbortResetsTheTarget(t *testing.T) {
	result := make(chan error, 1)
	addr := server(t, "tcp4", "127.0.0.1:0", func(c net.Conn) {
		_, err := io.Copy(io.Discard, c)
		result <- err
	})
	e := newEgress(t, Options{Allow: rules(t, "localhost")})
	stream, err := e.Open(t.Context(), tcp("127.0.0.1", portOf(t, addr)))
	if err != nil {
		t.Fatal(err)
	}
	stream.Abort(postern.Aborted)
	if err := <-result; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the target saw %v, want a reset", err)
	}
}

func TestFailuresHaveTheirKindAndHop(t *testing.T) {
	refusing, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closedPort := portOf(t, refusing.Addr())
	if err := refusing.Close(); err != nil {
		t.Fatal(err)
	}
	failing := func(err error) Dialer {
		return dialFunc(func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", err)}
		})
	}
	dnsError := func(e *net.DNSError) Resolver { return &names{err: e} }
	unix := func(path string) *postern.Request {
		return &postern.Request{Target: postern.Target{Network: postern.Unix, Host: path}}
	}
	for _, c := range []struct {
		name string
		opts Options
		req  *postern.Request
		kind postern.Kind
		hop  postern.Hop
	}{
		{"refused port", Options{}, tcp("127.0.0.1", closedPort), postern.Refused, postern.HopTarget},
		{"reset while connecting", Options{Dialer: failing(syscall.ECONNRESET)}, tcp("10.0.0.1", 1), postern.Refused, postern.HopTarget},
		{"no route to host", Options{Dialer: failing(syscall.EHOSTUNREACH)}, tcp("10.0.0.1", 1), postern.Unreachable, postern.HopTarget},
		{"no route to network", Options{Dialer: failing(syscall.ENETUNREACH)}, tcp("10.0.0.1", 1), postern.Unreachable, postern.HopTarget},
		{"no such family", Options{Dialer: failing(syscall.EAFNOSUPPORT)}, tcp("2001:db8::1", 1), postern.Unreachable, postern.HopTarget},
		{"local firewall", Options{Dialer: failing(syscall.EPERM)}, tcp("10.0.0.1", 1), postern.Unreachable, postern.HopTarget},
		{"kernel gave up", Options{Dialer: failing(syscall.ETIMEDOUT)}, tcp("10.0.0.1", 1), postern.Timeout, postern.HopTarget},
		{"no descriptors", Options{Dialer: failing(syscall.EMFILE)}, tcp("10.0.0.1", 1), postern.Overloaded, postern.HopAgent},
		{"no descriptors in the system", Options{Dialer: failing(syscall.ENFILE)}, tcp("10.0.0.1", 1), postern.Overloaded, postern.HopAgent},
		{"black hole", Options{Dialer: dialFunc(blackHole), DialTimeout: time.Millisecond}, tcp("10.0.0.1", 1), postern.Timeout, postern.HopTarget},
		{"no such name", Options{Resolver: &names{}}, tcp("no.test", 1), postern.NameNotFound, postern.HopTarget},
		{"name without address", Options{Resolver: &names{addrs: map[string][]string{"no.test": nil}}}, tcp("no.test", 1), postern.NameNotFound, postern.HopTarget},
		{"name servers fail", Options{Resolver: dnsError(&net.DNSError{Err: "server misbehaving", IsTemporary: true})}, tcp("no.test", 1), postern.Unreachable, postern.HopTarget},
		{"name servers are silent", Options{Resolver: dnsError(&net.DNSError{Err: "i/o timeout", IsTimeout: true})}, tcp("no.test", 1), postern.Timeout, postern.HopTarget},
		{"no descriptor for a lookup", Options{Resolver: &names{err: syscall.EMFILE}}, tcp("no.test", 1), postern.Overloaded, postern.HopAgent},
		{"no such service", Options{}, service("nix"), postern.NameNotFound, postern.HopAgent},
		{"no selftest unless asked for", Options{}, service("selftest"), postern.NameNotFound, postern.HopAgent},
		{"udp", Options{}, &postern.Request{Target: postern.Target{Network: postern.UDP, Host: "10.0.0.1", Port: 53}}, postern.BadCommand, postern.HopAgent},
		{"port 0", Options{}, tcp("10.0.0.1", 0), postern.BadAddress, postern.HopAgent},
		{"host not canonical", Options{}, tcp("A.test.", 1), postern.BadAddress, postern.HopAgent},
		{"address in decimal", Options{}, tcp("2130706433", 1), postern.BadAddress, postern.HopAgent},
		{"service as a name", Options{}, tcp("web.service", 1), postern.BadAddress, postern.HopAgent},
		{"network not known", Options{}, &postern.Request{Target: postern.Target{Network: "ipx", Host: "a", Port: 1}}, postern.BadAddressType, postern.HopAgent},
		{"no such socket", Options{}, unix(filepath.Join(t.TempDir(), "no.sock")), postern.Unreachable, postern.HopTarget},
		{"socket without permission", Options{Dialer: failing(syscall.EACCES)}, unix("/run/x"), postern.Refused, postern.HopTarget},
		{"socket with a full queue", Options{Dialer: failing(syscall.EAGAIN)}, unix("/run/x"), postern.Refused, postern.HopTarget},
		{"socket nobody listens at", Options{Dialer: failing(syscall.ECONNREFUSED)}, unix("/run/x"), postern.Refused, postern.HopTarget},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.opts.Allow = rules(t, "*")
			e := newEgress(t, c.opts)
			stream, err := e.Open(t.Context(), c.req)
			failure, ok := errors.AsType[*postern.Error](err)
			if !ok || stream != nil {
				t.Fatalf("got %v and %v", stream, err)
			}
			if failure.Kind != c.kind || failure.Hop != c.hop {
				t.Errorf("got %v at %s, want %v at %s: %v", failure.Kind, failure.Hop, c.kind, c.hop, err)
			}
			if failure.Detail == "" || strings.Contains(failure.Detail, "192.0.2.53") {
				t.Errorf("the detail %q is not for clients", failure.Detail)
			}
		})
	}
}

func TestClientsAreNotToldWhatANameResolvesTo(t *testing.T) {
	e := newEgress(t, Options{
		Allow:    rules(t, "*"),
		Services: map[string]string{"db": "tcp://secret.test:5432", "sock": "unix:///secret/x.sock"},
		Resolver: &names{addrs: map[string][]string{"secret.test": {"10.11.12.13"}, "asked.test": {"10.11.12.13"}}},
		Dialer: dialFunc(func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial 10.11.12.13", Err: syscall.ECONNREFUSED}
		}),
	})
	for _, req := range []*postern.Request{service("db"), service("sock"), tcp("asked.test", 80)} {
		_, err := e.Open(t.Context(), req)
		failure, ok := errors.AsType[*postern.Error](err)
		if !ok || failure.Kind != postern.Refused {
			t.Fatalf("got %v", err)
		}
		if strings.Contains(failure.Detail, "10.11.12.13") || strings.Contains(failure.Detail, "secret") || !strings.Contains(failure.Detail, req.Target.Address()) {
			t.Errorf("the detail is %q", failure.Detail)
		}
		if !strings.Contains(err.Error(), "10.11.12.13") {
			t.Errorf("the log has no address: %v", err)
		}
	}
}

func TestDialTimeoutBoundsLookupAndConnectTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEgress(t, Options{Allow: rules(t, "*"), Dialer: dialFunc(blackHole), Resolver: slow{7 * time.Second}})
		start := time.Now()
		_, err := e.Open(t.Context(), tcp("slow.test", 80))
		if took := time.Since(start); postern.KindOf(err) != postern.Timeout || took != 10*time.Second {
			t.Errorf("got %v after %v", err, took)
		}
		e = newEgress(t, Options{Allow: rules(t, "*"), Resolver: slow{time.Hour}})
		start = time.Now()
		_, err = e.Open(t.Context(), tcp("slow.test", 80))
		if took := time.Since(start); postern.KindOf(err) != postern.Timeout || took != 10*time.Second {
			t.Errorf("got %v after %v", err, took)
		}
	})
}

// slow answers after a while.
type slow struct{ after time.Duration }

func (s slow) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	select {
	case <-time.After(s.after):
		return []netip.Addr{netip.MustParseAddr("10.0.0.1")}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestGivingUpEndsTheAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, opts := range []Options{{Dialer: dialFunc(blackHole)}, {Resolver: slow{time.Hour}}} {
			opts.Allow = rules(t, "*")
			if opts.Resolver == nil {
				opts.Resolver = slow{0}
			}
			e := newEgress(t, opts)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			start := time.Now()
			_, err := e.Open(ctx, tcp("a.test", 80))
			if took := time.Since(start); postern.KindOf(err) != postern.Aborted || took != time.Second {
				t.Errorf("got %v after %v", err, took)
			}
			ctx, cancel = context.WithTimeout(t.Context(), time.Second)
			_, err = e.Open(ctx, tcp("a.test", 80))
			cancel()
			if postern.KindOf(err) != postern.Timeout {
				t.Errorf("got %v at the caller's deadline", err)
			}
		}
	})
}

func TestCancellingHasNoEffectOnAStreamThatWasReturned(t *testing.T) {
	addr := server(t, "tcp4", "127.0.0.1:0", countBytes)
	e := newEgress(t, Options{Allow: rules(t, "localhost")})
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := e.Open(ctx, tcp("127.0.0.1", portOf(t, addr)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Close() }()
	cancel()
	if err := stream.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(stream); err != nil || string(answer) != "GOT 0" {
		t.Errorf("got %q and %v", answer, err)
	}
}

func TestManyStreamsAtOnce(t *testing.T) {
	addr := server(t, "tcp4", "127.0.0.1:0", func(c net.Conn) { _, _ = io.Copy(c, c) })
	e := newEgress(t, Options{Allow: rules(t, "localhost")})
	var running sync.WaitGroup
	for i := range 100 {
		running.Go(func() {
			stream, err := e.Open(t.Context(), tcp("127.0.0.1", portOf(t, addr)))
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = stream.Close() }()
			want := fmt.Sprintf("stream %d", i)
			if _, err := io.WriteString(stream, want); err != nil {
				t.Error(err)
			}
			_ = stream.CloseWrite()
			if got, err := io.ReadAll(stream); err != nil || string(got) != want {
				t.Errorf("got %q and %v, want %q", got, err, want)
			}
		})
	}
	running.Wait()
}
