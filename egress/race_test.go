package egress

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-dev/postern"
)

// A script says what dialling an address does: after some time it connects, or fails with err. A hole never answers.
type script struct {
	after time.Duration
	err   error
	hole  bool
	deaf  bool // connects although it was cancelled
}

type dialled struct {
	Addr string
	At   time.Duration
}

func TestAddressesAreTriedAsRFC8305Says(t *testing.T) {
	refused := script{err: syscall.ECONNREFUSED}
	for _, c := range []struct {
		name     string
		resolved []string
		script   map[string]script
		want     []dialled
		winner   string
		kind     postern.Kind
		took     time.Duration
	}{
		{
			"IPv6 first, families in turns",
			[]string{"10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2"},
			map[string]script{"10.0.0.1": refused, "10.0.0.2": {}, "2001:db8::1": refused, "2001:db8::2": refused},
			[]dialled{{"2001:db8::1", 0}, {"10.0.0.1", 0}, {"2001:db8::2", 0}, {"10.0.0.2", 0}},
			"10.0.0.2", postern.OK, 0,
		},
		{
			"silence costs 250 ms",
			[]string{"10.0.0.1", "2001:db8::1"},
			map[string]script{"2001:db8::1": {hole: true}, "10.0.0.1": {after: 5 * time.Millisecond}},
			[]dialled{{"2001:db8::1", 0}, {"10.0.0.1", 250 * time.Millisecond}},
			"10.0.0.1", postern.OK, 255 * time.Millisecond,
		},
		{
			"the first may still win",
			[]string{"10.0.0.1", "2001:db8::1"},
			map[string]script{"2001:db8::1": {after: 300 * time.Millisecond}, "10.0.0.1": {after: time.Second}},
			[]dialled{{"2001:db8::1", 0}, {"10.0.0.1", 250 * time.Millisecond}},
			"2001:db8::1", postern.OK, 300 * time.Millisecond,
		},
		{
			"a failure brings the next at once",
			[]string{"10.0.0.1", "10.0.0.2", "10.0.0.3"},
			map[string]script{"10.0.0.1": {after: 10 * time.Millisecond, err: syscall.ECONNREFUSED}, "10.0.0.2": {hole: true}, "10.0.0.3": {}},
			[]dialled{{"10.0.0.1", 0}, {"10.0.0.2", 10 * time.Millisecond}, {"10.0.0.3", 260 * time.Millisecond}},
			"10.0.0.3", postern.OK, 260 * time.Millisecond,
		},
		{
			"an address once",
			[]string{"10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1"},
			map[string]script{"10.0.0.1": refused},
			[]dialled{{"10.0.0.1", 0}},
			"", postern.Refused, 0,
		},
		{
			"refused says more than silence",
			[]string{"10.0.0.1", "2001:db8::1"},
			map[string]script{"2001:db8::1": {hole: true}, "10.0.0.1": refused},
			[]dialled{{"2001:db8::1", 0}, {"10.0.0.1", 250 * time.Millisecond}},
			"", postern.Refused, 10 * time.Second,
		},
		{
			"refused says more than no route",
			[]string{"10.0.0.1", "2001:db8::1"},
			map[string]script{"2001:db8::1": {err: syscall.ENETUNREACH}, "10.0.0.1": refused},
			[]dialled{{"2001:db8::1", 0}, {"10.0.0.1", 0}},
			"", postern.Refused, 0,
		},
		{
			"silence says more than no route",
			[]string{"10.0.0.1", "2001:db8::1"},
			map[string]script{"2001:db8::1": {err: syscall.ENETUNREACH}, "10.0.0.1": {hole: true}},
			[]dialled{{"2001:db8::1", 0}, {"10.0.0.1", 0}},
			"", postern.Timeout, 10 * time.Second,
		},
		{
			"what the agent lacks comes first",
			[]string{"10.0.0.1", "2001:db8::1"},
			map[string]script{"2001:db8::1": refused, "10.0.0.1": {err: syscall.EMFILE}},
			[]dialled{{"2001:db8::1", 0}, {"10.0.0.1", 0}},
			"", postern.Overloaded, 0,
		},
		{
			"a loser that connects all the same is closed",
			[]string{"10.0.0.1", "2001:db8::1"},
			map[string]script{"2001:db8::1": {after: time.Second, deaf: true}, "10.0.0.1": {}},
			[]dialled{{"2001:db8::1", 0}, {"10.0.0.1", 250 * time.Millisecond}},
			"10.0.0.1", postern.OK, time.Second,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &scriptedNet{script: c.script, start: time.Now()}
				e := newEgress(t, Options{Allow: rules(t, "*"), Resolver: &names{addrs: map[string][]string{"a.test": c.resolved}}, Dialer: n})
				stream, err := e.Open(t.Context(), tcp("a.test", 80))
				if took := time.Since(n.start); took != c.took {
					t.Errorf("it took %v, want %v", took, c.took)
				}
				if k := postern.KindOf(err); k != c.kind {
					t.Errorf("got %v, want %v", err, c.kind)
				}
				if diff := cmp.Diff(c.want, n.dialled); diff != "" {
					t.Errorf("dialled (-want +got):\n%s", diff)
				}
				if c.winner != "" {
					if got := stream.RemoteAddr().String(); got != c.winner {
						t.Errorf("the winner is %s, want %s", got, c.winner)
					}
					if open := n.open.Load(); open != 1 {
						t.Errorf("%d connections are open", open)
					}
					_ = stream.Close()
				}
				if open := n.open.Load(); open != 0 {
					t.Errorf("%d connections are left open", open)
				}
			})
		})
	}
}

func TestThousandAddressesAreNotAllTried(t *testing.T) {
	var addrs []string
	a := netip.MustParseAddr("10.0.0.1")
	for range 1000 {
		addrs, a = append(addrs, a.String()), a.Next()
	}
	n := &scriptedNet{}
	e := newEgress(t, Options{Allow: rules(t, "*"), Resolver: &names{addrs: map[string][]string{"a.test": addrs}}, Dialer: n})
	if _, err := e.Open(t.Context(), tcp("a.test", 80)); postern.KindOf(err) != postern.Refused || len(n.dialled) != maxCandidates {
		t.Errorf("got %v after %d attempts", err, len(n.dialled))
	}
}

// scriptedNet is a network that follows a script; what is not in it is refused.
type scriptedNet struct {
	script map[string]script
	start  time.Time
	open   atomic.Int32

	mu      sync.Mutex
	dialled []dialled
}

func (n *scriptedNet) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host := netip.MustParseAddrPort(address).Addr().String()
	n.mu.Lock()
	n.dialled = append(n.dialled, dialled{host, time.Since(n.start)})
	n.mu.Unlock()
	s, ok := n.script[host]
	if !ok {
		return nil, syscall.ECONNREFUSED
	}
	if s.hole {
		return blackHole(ctx, network, address)
	}
	timer := time.NewTimer(s.after)
	defer timer.Stop()
	if s.deaf {
		<-timer.C
	} else {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if s.err != nil {
		return nil, &net.OpError{Op: "dial", Err: s.err}
	}
	n.open.Add(1)
	near, far := net.Pipe()
	return &counted{Conn: near, far: far, open: &n.open, name: host}, nil
}

// counted is a connection that counts itself out when it is closed.
type counted struct {
	net.Conn
	far  net.Conn
	open *atomic.Int32
	name string
}

func (c *counted) Close() error {
	c.open.Add(-1)
	_ = c.far.Close()
	return c.Conn.Close()
}

func (c *counted) RemoteAddr() net.Addr { return named(c.name) }

type named string

func (named) Network() string  { return "test" }
func (n named) String() string { return string(n) }
