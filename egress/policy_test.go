package egress

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-dev/postern"
)

func TestWhoDecides(t *testing.T) {
	resolver := &names{addrs: map[string][]string{
		"inside.test": {"10.0.0.1"}, "two.test": {"10.0.0.1", "8.8.8.8"}, "loop.test": {"127.0.0.1", "::1", "169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "fe80::1%eth0"},
	}}
	for _, c := range []struct {
		name    string
		own     []string
		others  [][]string
		req     *postern.Request
		dialled string // empty: Denied
		lookups int
	}{
		{"nothing is allowed by default", nil, nil, tcp("inside.test", 80), "", 0},
		{"nothing is allowed by default, whatever the relay says", nil, [][]string{{"*"}}, tcp("10.0.0.1", 80), "", 0},
		{"a name", []string{"inside.test"}, nil, tcp("inside.test", 80), "10.0.0.1:80", 1},
		{"another port is not even resolved", []string{"inside.test:81"}, nil, tcp("inside.test", 80), "", 0},
		{"another name is not even resolved", []string{"*.else"}, nil, tcp("inside.test", 80), "", 0},
		{"an address by its name", []string{"10.0.0.0/8"}, nil, tcp("inside.test", 80), "10.0.0.1:80", 1},
		{"a name by its address is not a name", []string{"inside.test"}, nil, tcp("10.0.0.1", 80), "", 0},
		{"agent yes, relay no", []string{"*"}, [][]string{{"11.0.0.0/8"}}, tcp("10.0.0.1", 80), "", 0},
		{"agent yes, relay no after resolving", []string{"*"}, [][]string{{"11.0.0.0/8"}}, tcp("inside.test", 80), "", 1},
		{"agent no, relay yes", []string{"11.0.0.0/8"}, [][]string{{"10.0.0.0/8"}}, tcp("10.0.0.1", 80), "", 0},
		{"agent yes, relay yes, token no", []string{"*"}, [][]string{{"*"}, {"*:443"}}, tcp("10.0.0.1", 80), "", 0},
		{"all yes", []string{"10.0.0.0/8"}, [][]string{{"*"}, {"inside.test:80"}}, tcp("inside.test", 80), "10.0.0.1:80", 1},
		{"empty sets say nothing", []string{"10.0.0.0/8"}, [][]string{{}, nil}, tcp("inside.test", 80), "10.0.0.1:80", 1},
		{"a set that cannot be read permits nothing", []string{"*"}, [][]string{{"*", "svc://new-form"}}, tcp("inside.test", 80), "", 0},
		{"only the address that all permit", []string{"*"}, [][]string{{"8.0.0.0/8"}}, tcp("two.test", 80), "8.8.8.8:80", 1},
		{"each set permits another address", []string{"10.0.0.0/8"}, [][]string{{"8.0.0.0/8"}}, tcp("two.test", 80), "", 1},
		{"a name does not lead to special addresses", []string{"loop.test"}, nil, tcp("loop.test", 80), "", 1},
		{"the relay's name does not either", []string{"*", "169.254.0.0/16"}, [][]string{{"loop.test"}}, tcp("loop.test", 80), "", 1},
		{"* does not lead to metadata", []string{"*"}, nil, tcp("169.254.169.254", 80), "", 0},
		{"an address rule leads to metadata", []string{"169.254.169.254"}, nil, tcp("169.254.169.254", 80), "169.254.169.254:80", 0},
		{"wrapped addresses are judged as what they carry", []string{"*"}, nil, tcp("64:ff9b::a9fe:a9fe", 80), "", 0},
		{"wrapped addresses are dialled as they are", []string{"10.0.0.1"}, nil, tcp("64:ff9b::a00:1", 80), "[64:ff9b::a00:1]:80", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var dialled []string
			stop := errors.New("far enough")
			resolver.lookups = 0
			e := newEgress(t, Options{Allow: rules(t, c.own...), Resolver: resolver, Dialer: dialFunc(func(_ context.Context, _, address string) (net.Conn, error) {
				dialled = append(dialled, address)
				return nil, stop
			})})
			c.req.Allow = c.others
			_, err := e.Open(t.Context(), c.req)
			if c.dialled == "" {
				if postern.KindOf(err) != postern.Denied || postern.HopOf(err, "") != postern.HopAgent || dialled != nil {
					t.Errorf("got %v after dialling %q, want Denied by the agent", err, dialled)
				}
			} else if diff := cmp.Diff([]string{c.dialled}, dialled); diff != "" || !errors.Is(err, stop) {
				t.Errorf("error %v; dialled (-want +got):\n%s", err, diff)
			}
			if resolver.lookups != c.lookups {
				t.Errorf("%d lookups, want %d", resolver.lookups, c.lookups)
			}
		})
	}
}

// A name that is allowed answers with a public address first and with loopback second, in one answer or in two.
func TestRebindingNeverReachesLoopback(t *testing.T) {
	var reached atomic.Int32
	port := portOf(t, server(t, "tcp4", "127.0.0.1:0", func(net.Conn) { reached.Add(1) }))
	resolvers := map[string]Resolver{
		"one answer": &names{addrs: map[string][]string{"rebind.test": {"203.0.113.1", "127.0.0.1", "::1"}}},
		"in turns":   &turns{answers: []string{"203.0.113.1", "127.0.0.1"}},
	}
	for name, resolver := range resolvers {
		t.Run(name, func(t *testing.T) {
			real := &net.Dialer{}
			e := newEgress(t, Options{Allow: rules(t, "rebind.test"), Resolver: resolver, Dialer: dialFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
				if strings.HasPrefix(address, "203.0.113.1:") {
					return nil, syscall.ECONNREFUSED
				}
				return real.DialContext(ctx, network, address)
			})})
			for range 50 {
				stream, err := e.Open(t.Context(), tcp("rebind.test", port))
				if k := postern.KindOf(err); k != postern.Refused && k != postern.Denied {
					t.Fatalf("got stream %v and %v", stream, err)
				}
			}
			if n := reached.Load(); n != 0 {
				t.Errorf("%d of 50 reached loopback", n)
			}
		})
	}
}

// turns answers each lookup with the next address.
type turns struct {
	answers []string
	next    int
}

func (r *turns) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	a := netip.MustParseAddr(r.answers[r.next%len(r.answers)])
	r.next++
	return []netip.Addr{a}, nil
}

// The check just before connect(2) holds by itself: here the one before it is left out.
func TestTheDialledAddressIsCheckedAgain(t *testing.T) {
	var reached atomic.Int32
	addr := server(t, "tcp4", "127.0.0.1:0", func(net.Conn) { reached.Add(1) })
	e := newEgress(t, Options{})
	target := tcp("rebind.test", portOf(t, addr)).Target
	p, err := newPolicy(rules(t, "*"), [][]string{{"rebind.test"}})
	if err != nil {
		t.Fatal(err)
	}
	w := way{to: target, asked: target, rules: p}
	_, err = e.tcpDialer(w).DialContext(t.Context(), "tcp", addr.String())
	if err = dialError(t.Context(), w, err); postern.KindOf(err) != postern.Denied {
		t.Errorf("got %v, want Denied", err)
	}
	if reached.Load() != 0 {
		t.Error("the target was reached")
	}
}

func TestUnixTargetsNeedARule(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.sock")
	server(t, "unix", path, countBytes)
	req := &postern.Request{Target: postern.Target{Network: postern.Unix, Host: path}}
	for _, c := range []struct {
		rule string
		want bool
	}{{"unix:" + path, true}, {filepath.Dir(path) + "/*.sock", true}, {"*", true}, {"localhost", false}, {"0.0.0.0/0", false}} {
		stream, err := newEgress(t, Options{Allow: rules(t, c.rule)}).Open(t.Context(), req)
		if !c.want {
			if postern.KindOf(err) != postern.Denied {
				t.Errorf("%s: got %v", c.rule, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.rule, err)
			continue
		}
		if err := stream.CloseWrite(); err != nil {
			t.Error(err)
		}
		if answer, err := io.ReadAll(stream); err != nil || string(answer) != "GOT 0" {
			t.Errorf("got %q and %v", answer, err)
		}
		_ = stream.Close()
	}
}

func TestDenialsAreLoggedInDetail(t *testing.T) {
	var mu sync.Mutex
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(lockedWriter{&mu, &out}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	e := newEgress(t, Options{Log: log})
	req := tcp("10.0.0.1", 22)
	req.Trace, req.Client = "t-1", netip.MustParseAddrPort("198.51.100.7:1234")
	if _, err := e.Open(t.Context(), req); err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"level=DEBUG", "t-1", "198.51.100.7:1234", "tcp 10.0.0.1:22", "denied"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %s", want, out.String())
		}
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(p)
}
