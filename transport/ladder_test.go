package transport

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-dev/postern"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeConn is a connection of which only the name and the end matter.
type fakeConn struct {
	Conn
	name, addr string
	mu         sync.Mutex
	closed     bool // guarded by mu
}

func (c *fakeConn) Info() Info { return Info{Transport: c.name} }

func (c *fakeConn) CloseWithError(postern.Kind, string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

func (c *fakeConn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// roads is a fake network: how long each dial takes and how it ends.
type roads struct {
	began time.Time
	mu    sync.Mutex
	dials []string        // guarded by mu, like conns: name@addr after so long
	conns []*fakeConn     // everything that stood
	ways  map[string]road // by name, or name@addr
}

type road struct {
	takes time.Duration // forever if it is negative
	from  time.Duration // before this, dials are refused at once
	err   error
}

func (r *roads) ladder(names ...string) Ladder {
	r.began = time.Now()
	var l Ladder
	for _, name := range names {
		l = append(l, Rung{Name: name, Dialer: dialFunc(func(ctx context.Context, addr string) (Conn, error) { return r.dial(ctx, name, addr) })})
	}
	return l
}

type dialFunc func(ctx context.Context, addr string) (Conn, error)

func (f dialFunc) Dial(ctx context.Context, addr string) (Conn, error) { return f(ctx, addr) }

func (r *roads) dial(ctx context.Context, name, addr string) (Conn, error) {
	since := time.Since(r.began)
	r.mu.Lock()
	r.dials = append(r.dials, name+"@"+addr+" "+since.String())
	way, ok := r.ways[name+"@"+addr]
	if !ok {
		way = r.ways[name]
	}
	r.mu.Unlock()
	if since < way.from {
		return nil, &postern.Error{Kind: postern.Refused, Hop: postern.HopRelay}
	}
	if way.takes < 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	timer := time.NewTimer(way.takes)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if way.err != nil {
		return nil, way.err
	}
	c := &fakeConn{name: name, addr: addr}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = append(r.conns, c)
	return c, nil
}

// open are the connections that nobody has closed.
func (r *roads) open() []*fakeConn {
	return slices.DeleteFunc(slices.Clone(r.conns), (*fakeConn).isClosed)
}

const (
	ms    = time.Millisecond
	never = -1
)

func refused() error { return &postern.Error{Kind: postern.Refused, Hop: postern.HopRelay} }

func TestTheBestThatAnswersWins(t *testing.T) {
	for name, tt := range map[string]struct {
		first string
		a, b  road
		c     road
		want  string
		after time.Duration
	}{
		"the best is there before anybody else is asked": {a: road{takes: 299 * ms}, want: "a", after: 299 * ms},
		"a worse one stands first, the best soon after":  {a: road{takes: 590 * ms}, b: road{takes: 10 * ms}, want: "a", after: 590 * ms},
		"the best is waited for, but not for ever":       {a: road{takes: 2 * time.Second}, b: road{takes: 10 * ms}, want: "b", after: 610 * ms},
		"the best drops everything":                      {a: road{takes: never}, b: road{takes: 10 * ms}, want: "b", after: 610 * ms},
		"what is refused makes room at once":             {a: road{takes: 5 * ms, err: refused()}, b: road{takes: 10 * ms}, want: "b", after: 15 * ms},
		"nobody waits for what has failed":               {a: road{takes: 301 * ms, err: refused()}, b: road{takes: 20 * ms}, want: "b", after: 320 * ms},
		"the second is better than the third":            {a: road{takes: never}, b: road{takes: 400 * ms}, c: road{takes: 1 * ms}, want: "b", after: 901 * ms},
		"what worked before is taken at once":            {first: "c", a: road{takes: 1 * ms}, b: road{takes: 1 * ms}, c: road{takes: 250 * ms}, want: "c", after: 250 * ms},
		"what worked before does not any more":           {first: "c", a: road{takes: 10 * ms}, b: road{takes: 10 * ms}, c: road{takes: never}, want: "a", after: 310 * ms},
		"an unknown rung is not begun with":              {first: "carrier pigeon", a: road{takes: 10 * ms}, want: "a", after: 10 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &roads{ways: map[string]road{"a": tt.a, "b": tt.b, "c": tt.c}}
				conn, err := r.ladder("a", "b", "c").DialFrom(t.Context(), "relay:1", tt.first)
				if err != nil {
					t.Fatal(err)
				}
				if got := conn.Info().Transport; got != tt.want {
					t.Errorf("%s has won, want %s; dials: %v", got, tt.want, r.dials)
				}
				if d := time.Since(r.began); d != tt.after {
					t.Errorf("it took %v, want %v; dials: %v", d, tt.after, r.dials)
				}
				if open := r.open(); len(open) != 1 || Conn(open[0]) != conn {
					t.Errorf("%d connections are open after the dial, want the winner alone", len(open))
				}
			})
		})
	}
}

// TestARelayThatComesBackIsFoundByTheBest: while a relay restarts, tls is turned away at once and quic goes on asking.
func TestARelayThatComesBackIsFoundByTheBest(t *testing.T) {
	for name, tt := range map[string]struct {
		back, quic time.Duration
		within     time.Duration
	}{
		"tls is tried again while quic hangs":     {back: 3 * time.Second, quic: never, within: 4100 * ms},
		"quic stands, and tls is asked once more": {back: 3 * time.Second, quic: 3200 * ms, within: 4100 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &roads{ways: map[string]road{"tls": {from: tt.back, takes: 20 * ms}, "quic": {takes: tt.quic}}}
				conn, err := r.ladder("tls", "quic").Dial(t.Context(), "relay:1")
				if err != nil || conn.Info().Transport != "tls" {
					t.Fatalf("got %v, %v; dials: %v", conn, err, r.dials)
				}
				if d := time.Since(r.began); d > tt.within {
					t.Errorf("it took %v, want at most %v", d, tt.within)
				}
				if len(r.open()) != 1 {
					t.Error("a loser is still open")
				}
			})
		})
	}
}

func TestWhatIsRefusedForGoodIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wrong := &postern.Error{Kind: postern.Unauthenticated, Hop: postern.HopRelay, Detail: "not the relay that the pin asks for"}
		slow := &postern.Error{Kind: postern.Timeout, Hop: postern.HopRelay}
		r := &roads{ways: map[string]road{"a": {takes: ms, err: wrong}, "b": {takes: 10 * time.Second, err: slow}}}
		_, err := r.ladder("a", "b").Dial(t.Context(), "relay:1")
		if postern.KindOf(err) != postern.Unauthenticated || !strings.HasPrefix(err.Error(), "a: ") {
			t.Errorf("the error is %v, want the one that tells most, with its transport", err)
		}
		if len(r.dials) != 2 {
			t.Errorf("dials: %v", r.dials)
		}
	})
}

func TestADialThatIsGivenUpLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &roads{ways: map[string]road{"a": {takes: never}, "b": {takes: never}, "c": {takes: never}}}
		ctx, cancel := context.WithTimeout(t.Context(), 400*ms)
		defer cancel()
		_, err := r.ladder("a", "b", "c").Dial(ctx, "relay:1")
		if d := time.Since(r.began); err == nil || d != 400*ms || len(r.dials) != 2 {
			t.Errorf("after %v: %v; dials: %v", d, err, r.dials)
		}
	})
}

func TestRungsAbove(t *testing.T) {
	l := (&roads{}).ladder("a", "b", "c")
	for name, want := range map[string]int{"a": 0, "b": 1, "c": 2, "": 0, "other": 0} {
		if got := len(l.Above(name)); got != want {
			t.Errorf("%d rungs are above %q, want %d", got, name, want)
		}
	}
	if _, err := (Ladder{}).Dial(t.Context(), "relay:1"); postern.KindOf(err) != postern.Unreachable {
		t.Errorf("a ladder without rungs: %v", err)
	}
}

func TestASearchGoesThroughTheRelays(t *testing.T) {
	for name, tt := range map[string]struct {
		ways  map[string]road
		want  string
		after time.Duration
	}{
		"the first is there":                   {map[string]road{"a": {takes: 1900 * ms}}, "one:1", 1900 * ms},
		"the first refuses":                    {map[string]road{"a@one:1": {takes: ms, err: refused()}, "a": {takes: ms}}, "two:1", 2 * ms},
		"the first is silent":                  {map[string]road{"a@one:1": {takes: never}, "a": {takes: ms}}, "two:1", 2001 * ms},
		"the first is slow, the second faster": {map[string]road{"a@one:1": {takes: 3 * time.Second}, "a": {takes: 500 * ms}}, "two:1", 2500 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &roads{ways: tt.ways}
				search := NewSearch(r.ladder("a"), []string{"one:1", "two:1", "one:1", "three:1"}, nil)
				_, addr, err := search.Next(t.Context())
				if d := time.Since(r.began); err != nil || addr != tt.want || d != tt.after {
					t.Errorf("reached %q after %v, %v; want %q after %v", addr, d, err, tt.want, tt.after)
				}
				if len(r.open()) != 1 {
					t.Errorf("%d connections are open", len(r.open()))
				}
			})
		})
	}
}

func TestASearchGoesOnAndTellsWhyNobodyWouldDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &roads{ways: map[string]road{"a@two:1": {takes: ms, err: refused()}, "a": {takes: 10 * ms}, "b": {takes: 10 * ms}}}
		var begun []string
		search := NewSearch(r.ladder("a", "b"), []string{"one:1", "two:1", "three:1"}, func(addr string) string {
			begun = append(begun, addr)
			return "b"
		})
		full := &postern.Error{Kind: postern.Overloaded}
		for range 3 {
			conn, addr, err := search.Next(t.Context())
			if err != nil || conn.Info().Transport != "b" {
				t.Fatalf("%v, %v", conn, err)
			}
			search.Fail(addr, full)
		}
		if _, _, err := search.Next(t.Context()); postern.KindOf(err) != postern.Unreachable {
			t.Errorf("after the last: %v", err)
		}
		var order []string
		for _, f := range search.Failures() {
			order = append(order, f.Addr)
		}
		if want := []string{"one:1", "two:1", "three:1"}; !slices.Equal(order, want) || !slices.Equal(begun, want) {
			t.Errorf("failures of %v, begun at %v", order, begun)
		}
	})
}
