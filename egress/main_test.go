package egress

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/egress/allow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rules parses patterns.
func rules(t testing.TB, patterns ...string) *allow.Set {
	t.Helper()
	set, err := allow.Parse(patterns)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// newEgress makes one that is closed with the test.
func newEgress(t testing.TB, opts Options) *Egress {
	t.Helper()
	e, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func tcp(host string, port uint16) *postern.Request {
	return &postern.Request{Target: postern.Target{Network: postern.TCP, Host: host, Port: port}}
}

func service(name string) *postern.Request {
	return &postern.Request{Target: postern.Target{Network: postern.Service, Host: name}}
}

// server accepts connections and gives each to handle. It returns its address and ends with the test.
func server(t testing.TB, network, address string, handle func(net.Conn)) net.Addr {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer func() { _ = c.Close() }()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		running.Wait()
	})
	return ln.Addr()
}

func portOf(t testing.TB, a net.Addr) uint16 {
	t.Helper()
	_, port, err := net.SplitHostPort(a.String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(n)
}

// countBytes answers at the end of what it reads: "GOT n".
func countBytes(c net.Conn) {
	n, err := io.Copy(io.Discard, c)
	if err == nil {
		_, _ = io.WriteString(c, "GOT "+strconv.FormatInt(n, 10))
	}
}

// names is a resolver with fixed answers; lookups counts.
type names struct {
	addrs map[string][]string
	err   error

	mu      sync.Mutex
	lookups int
}

func (n *names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lookups++
	if n.err != nil {
		return nil, n.err
	}
	found, ok := n.addrs[host]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, Server: "192.0.2.53:53", IsNotFound: true}
	}
	var addrs []netip.Addr
	for _, a := range found {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	return addrs, nil
}

// dialFunc is a Dialer.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func (f dialFunc) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}

// blackHole never answers.
func blackHole(ctx context.Context, network, address string) (net.Conn, error) {
	<-ctx.Done()
	return nil, &net.OpError{Op: "dial", Net: network, Err: ctx.Err()}
}
