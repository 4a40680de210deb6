package netwatch

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// machine is a fake of what a Watcher looks at.
type machine struct {
	start time.Time

	mu      sync.Mutex
	asleep  time.Duration // guarded by mu: how long the machine has slept
	frozen  time.Duration // guarded by mu: how long this process was stopped
	network Network       // guarded by mu
	looks   int           // guarded by mu
	stirred func()        // guarded by mu
}

func (m *machine) clock() (wall, awake time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	since := time.Since(m.start) + m.frozen
	return since + m.asleep, since
}

func (m *machine) look() (Network, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.looks++
	return m.network, nil
}

func (m *machine) stirs(ctx context.Context, stirred func()) error {
	m.mu.Lock()
	m.stirred = stirred
	m.mu.Unlock()
	<-ctx.Done()
	return ctx.Err()
}

// move changes the state of the network and says so.
func (m *machine) move(state string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.network.State = state
	m.stirred()
}

func (m *machine) add(d *time.Duration, by time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	*d += by
}

// watching starts a Watcher on m and ends it with the bubble.
func watching(t *testing.T, m *machine, stirs func(context.Context, func()) error) *Watcher {
	m.start = time.Now()
	w := New(Options{Clock: m.clock, Look: m.look, Stirs: stirs})
	var run sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	run.Go(func() { w.Run(ctx) })
	t.Cleanup(func() { cancel(); run.Wait() })
	synctest.Wait()
	return w
}

// within reports how long it takes until changed is closed, at most d.
func within(changed <-chan struct{}, d time.Duration) (time.Duration, bool) {
	start := time.Now()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-changed:
		return time.Since(start), true
	case <-timer.C:
		return d, false
	}
}

func TestSleepIsNoticedWithinASecond(t *testing.T) {
	for name, tt := range map[string]struct {
		asleep, frozen time.Duration
		want           bool
	}{
		"the machine has slept":            {asleep: time.Hour, want: true},
		"the process was stopped":          {frozen: 5 * time.Minute, want: true},
		"the time of day was set back":     {asleep: -time.Hour, want: true},
		"the time of day was set a little": {asleep: 500 * time.Millisecond},
		"the machine was busy":             {frozen: 1500 * time.Millisecond},
		"nothing":                          {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &machine{network: Network{State: "at home"}}
				w := watching(t, m, m.stirs)
				if _, told := within(w.Changed(), 10*time.Minute); told {
					t.Fatal("it was told although nothing has happened")
				}
				m.add(&m.asleep, tt.asleep)
				m.add(&m.frozen, tt.frozen)
				changed := w.Changed()
				if took, told := within(changed, time.Minute); told != tt.want || told && took > time.Second {
					t.Errorf("told: %v, after %v", told, took)
				}
				if _, told := within(w.Changed(), time.Minute); told {
					t.Error("it was told twice")
				}
			})
		})
	}
}

func TestAChangeOfTheNetworkIsToldOnceItHasSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{network: Network{State: "at home"}}
		w := watching(t, m, m.stirs)
		changed := w.Changed()
		for range 10 {
			m.move("at home") // routes that are renewed, and the like
		}
		if _, told := within(changed, time.Second); told {
			t.Error("it was told although nothing is different")
		}
		m.move("on the way")
		if _, told := within(changed, 300*time.Millisecond); told {
			t.Error("it was told in the middle of the change")
		}
		m.move("in the office")
		if took, told := within(changed, 10*time.Second); !told || took > settle+apart {
			t.Errorf("told: %v, after %v", told, took)
		}
		if _, told := within(w.Changed(), time.Second); told {
			t.Error("one change was told twice")
		}
	})
}

func TestANetworkThatDoesNotRestIsLookedAtNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{network: Network{State: "at home"}}
		watching(t, m, m.stirs)
		for range 10000 {
			m.move("at home")
			time.Sleep(time.Millisecond)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.looks > 60 {
			t.Errorf("%d looks within ten seconds", m.looks)
		}
	})
}

func TestWhereTheSystemDoesNotTellTheNetworkIsLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{network: Network{State: "at home"}}
		w := watching(t, m, func(context.Context, func()) error { return errors.New("no such thing") })
		changed := w.Changed()
		if _, told := within(changed, time.Minute); told {
			t.Error("it was told although nothing is different")
		}
		m.mu.Lock()
		m.network.State = "in the office"
		m.mu.Unlock()
		if took, told := within(changed, time.Minute); !told || took > poll+settle {
			t.Errorf("told: %v, after %v", told, took)
		}
	})
}

func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		w := watching(t, m, m.stirs)
		ctx, stop := w.Until(t.Context())
		defer stop()
		m.move("elsewhere")
		<-ctx.Done()
		if context.Cause(ctx) != ErrChanged {
			t.Errorf("the cause is %v", context.Cause(ctx))
		}
		ctx, stop = w.Until(t.Context())
		stop()
		if ctx.Err() == nil || context.Cause(ctx) == ErrChanged {
			t.Errorf("stopped: %v", context.Cause(ctx))
		}
	})
}

func TestNetworksKeepTheirID(t *testing.T) {
	at := func(device, prefix string) address { return address{device, netip.MustParsePrefix(prefix)} }
	home := gateway{"wlan0", netip.MustParseAddr("192.168.1.1")}
	first := describe([]address{at("wlan0", "192.168.1.20/24"), at("wlan0", "2001:db8:1:2::aaaa/64")}, []gateway{home})
	for name, tt := range map[string]struct {
		addresses             []address
		gateways              []gateway
		sameID, sameEverthing bool
	}{
		"in another order":    {[]address{at("wlan0", "2001:db8:1:2::aaaa/64"), at("wlan0", "192.168.1.20/24")}, []gateway{home}, true, true},
		"with new addresses":  {[]address{at("wlan0", "192.168.1.77/24"), at("wlan0", "2001:db8:1:2::bbbb/64")}, []gateway{home}, true, false},
		"with a bridge":       {[]address{at("wlan0", "192.168.1.20/24"), at("wlan0", "2001:db8:1:2::aaaa/64"), at("br0", "172.17.0.1/16")}, []gateway{home}, true, false},
		"by cable":            {[]address{at("eth0", "192.168.1.20/24"), at("eth0", "2001:db8:1:2::aaaa/64")}, []gateway{{"eth0", home.addr}}, true, false},
		"another gateway":     {[]address{at("wlan0", "192.168.1.20/24")}, []gateway{{"wlan0", netip.MustParseAddr("192.168.1.2")}}, false, false},
		"another network":     {[]address{at("wlan0", "10.0.0.20/8")}, []gateway{{"wlan0", netip.MustParseAddr("10.0.0.1")}}, false, false},
		"no gateway any more": {[]address{at("wlan0", "192.168.1.20/24"), at("wlan0", "2001:db8:1:2::aaaa/64")}, nil, false, false},
	} {
		got := describe(tt.addresses, tt.gateways)
		if (got.ID == first.ID) != tt.sameID || (got == first) != tt.sameEverthing {
			t.Errorf("%s: %+v, at first it was %+v", name, got, first)
		}
	}
	if got := describe(nil, nil); got != (Network{}) {
		t.Errorf("nowhere is %+v", got)
	}
}

func TestThisMachine(t *testing.T) {
	n, err := look()
	again, err2 := look()
	if err := errors.Join(err, err2); err != nil || n != again {
		t.Errorf("%+v, then %+v, %v", n, again, err)
	}
	wall, awake := clock()()
	if wall < 0 || awake < 0 || wall > time.Minute || awake > time.Minute {
		t.Errorf("since just now: %v, %v", wall, awake)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// Here it may be that the system tells and was told to end, or that it does not tell: neither may hang.
	_ = stirs(ctx, func() {})
}
