package agent

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern/config"
)

// TestClimbingBack: the best transport, here tls, drops everything until later.
func TestClimbingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, folder := newWorld(t), t.TempDir()
		r := w.relay("r1", "one:1")
		w.block("tls", true)
		u := w.agentOf(folder, "nas", nil).start()
		took := until(t, 10*time.Second, "the agent is online over the second best", func() bool { return r.over() == "quic" })
		if took > time.Second {
			t.Errorf("online after %v", took)
		}
		old := r.current()
		stream := echoing(t, old)
		echoed(t, stream)

		time.Sleep(20 * time.Minute)
		if r.over() != "quic" || len(w.dialled()) > 10 {
			t.Error("there was a change, or there were many tries, while the best was blocked")
		}
		w.block("tls", false)
		took = until(t, 10*time.Minute, "the agent is back on the best", func() bool { return r.over() == "tls" })
		t.Logf("back on the best after %v", took)
		synctest.Wait()
		if got := u.readyList(); got != "tls@one:1" {
			t.Errorf("the ready file lists %q", got)
		}
		if r.count() != 2 || r.gently != 1 {
			t.Errorf("%d sessions, %d relieved: the old one has a stream still", r.count(), r.gently)
		}
		echoed(t, stream)
		echoed(t, echoing(t, r.current()))
		if _, err := old.Open(t.Context(), nil); err == nil {
			t.Error("the old session takes new streams")
		}
		if err := stream.Close(); err != nil {
			t.Error(err)
		}
		until(t, 5*time.Second, "the old session ends with its last stream", func() bool { return r.count() == 1 })
	})
}

func TestWhatWorkedIsBegunWithTheNextTime(t *testing.T) {
	for _, kept := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w, folder := newWorld(t), t.TempDir()
			r := w.relay("r1", "one:1")
			w.block("tls", true)
			u := w.agentOf(folder, "nas", nil).start()
			until(t, time.Second, "online", func() bool { return r.over() == "quic" })
			synctest.Wait() // the agent has heard of it too
			u.stop()
			synctest.Wait()
			w.block("tls", false)
			w.dialled()

			if !kept {
				folder = t.TempDir()
			}
			u = w.agentOf(folder, "nas", nil).start()
			until(t, time.Second, "online again", func() bool { return r.over() != "" })
			want := map[bool]string{true: "quic@one:1", false: "tls@one:1"}[kept]
			if got := strings.Join(w.dialled(), " "); got != want {
				t.Errorf("with the folder kept (%v) it dialled %s, want %s", kept, got, want)
			}
			until(t, time.Minute, "on the best", func() bool { return r.over() == "tls" })
			u.stop()
		})
	}
}

func TestEachNetworkHasAMemoryOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := w.relay("r1", "one:1")
		w.block("tls", true)
		u := w.agentOf("", "nas", nil).start()
		until(t, time.Second, "online at home", func() bool { return r.over() == "quic" })
		w.block("quic", true)
		w.block("tls", false)
		u.machine.move("office")
		until(t, 5*time.Second, "online in the office", func() bool { return r.over() == "tls" })
		w.dialled()
		w.block("tls", true)
		w.block("quic", false)
		u.machine.move("home")
		until(t, 5*time.Second, "online at home again", func() bool { return r.over() == "quic" })
		if got := w.dialled(); got[0] != "quic@one:1" {
			t.Errorf("at home it dialled %v, although quic had worked there", got)
		}
	})
}

func TestAnUnsteadyTransportIsNotChangedToAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := w.relay("r1", "one:1")
		w.agentOf("", "nas", nil).start()
		until(t, time.Second, "online", func() bool { return r.over() == "tls" })
		var changes []time.Time
		last, most, now := "tls", 0, r.over
		for range 6 * 60 / 10 { // six hours in which the best works for five minutes and fails for five
			for _, blocked := range []bool{true, false} {
				w.block("tls", blocked)
				for range 5 * 60 {
					time.Sleep(time.Second)
					if now() == "" || now() == last {
						continue
					}
					changes, last = append(changes, time.Now()), now()
					hour := slices.DeleteFunc(slices.Clone(changes), func(at time.Time) bool { return time.Since(at) >= time.Hour })
					most = max(most, len(hour))
					if last == "tls" && len(hour) > maxChanges {
						t.Errorf("change number %d within an hour was of our own will", len(hour))
					}
				}
			}
		}
		if most > maxChanges+1 { // the last one being forced upon us
			t.Errorf("%d changes within an hour", most)
		}
		if len(changes) < 12 {
			t.Errorf("%d changes within six hours: it has given up", len(changes))
		}
		t.Logf("%d changes in six hours, at most %d in one", len(changes), most)
	})
}

func TestASessionThatDidNotSurviveAMoveIsReplacedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := w.relay("r1", "one:1")
		u := w.agentOf("", "nas", nil).start()
		until(t, time.Second, "online", func() bool { return r.over() == "tls" })
		first := r.current()
		time.Sleep(time.Minute)

		// The session goes on: it is asked, and answers.
		u.machine.move("office")
		time.Sleep(10 * time.Second)
		if r.current() != first {
			t.Error("a session that was well was replaced")
		}
		// It does not go on.
		w.block("tls", true)
		w.block("tls", false)
		u.machine.move("train")
		took := until(t, 4*time.Second, "there is another session", func() bool { return r.current() != first && r.current() != nil })
		if took > patience+time.Second+200*time.Millisecond { // the watcher lets a change settle first
			t.Errorf("it took %v", took)
		}
		t.Logf("another session after %v", took)
		until(t, 5*time.Second, "the old one is gone", func() bool { return r.count() == 1 })
	})
}

func TestALossIsNoticedInTimeAndTheNextTransportTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := w.relay("r1", "one:1")
		w.agentOf("", "nas", nil).start()
		until(t, time.Second, "online", func() bool { return r.over() == "tls" })
		time.Sleep(time.Hour)
		w.block("tls", true)
		took := until(t, 20*time.Second, "online over the next", func() bool { return r.over() == "quic" })
		t.Logf("after %v", took)
	})
}

func TestAChangeCutsTheWaitForTheNextTryShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := w.relay("r1", "one:1")
		r.stop()
		u := w.agentOf("", "nas", nil).start()
		time.Sleep(30 * time.Minute)
		r.set(func() { r.down = false })
		u.machine.move("office")
		if took := until(t, time.Minute, "online", func() bool { return r.over() != "" }); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// TestAChangeBreaksADialOff: what was dialled in the old network leads nowhere.
func TestAChangeBreaksADialOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := w.relay("r1", "one:1")
		for _, name := range []string{"tls", "quic", "longpoll"} {
			w.block(name, true)
		}
		u := w.agentOf("", "nas", nil).start()
		time.Sleep(2 * time.Second)
		for _, name := range []string{"tls", "quic", "longpoll"} {
			w.block(name, false)
		}
		u.machine.move("office")
		if took := until(t, time.Minute, "online", func() bool { return r.over() != "" }); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestRelaysStandInForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, folder := newWorld(t), t.TempDir()
		one, two := w.relay("r1", "one:1"), w.relay("r2", "two:1")
		relays := func(c *config.Agent) { c.Relay = []string{"one:1", "two:1"} }
		u := w.agentOf(folder, "nas", relays).start()
		until(t, time.Second, "online at the first", func() bool { return one.over() != "" })
		one.stop()
		took := until(t, 15*time.Second, "online at the second", func() bool { return two.over() != "" })
		t.Logf("at the second after %v", took)
		time.Sleep(time.Hour)
		one.set(func() { one.down = false })
		u.stop()
		synctest.Wait()
		w.dialled()
		u = w.agentOf(folder, "nas", relays).start()
		until(t, time.Second, "online at the one that was good the last time", func() bool { return two.over() != "" })

		// A relay that drains is left for the other at once.
		w.running.Go(func() { _ = two.current().Drain(w.ctx, "maintenance") })
		took = until(t, time.Second, "online at the first again", func() bool { return one.over() != "" })
		if took > 100*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		until(t, time.Second, "the ready file says so", func() bool { return strings.Contains(u.readyList(), "one:1") })
	})
}

func TestSeveralRelaysAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		// one and uno are the same relay.
		one, two, three := w.relay("r1", "one:1", "uno:1"), w.relay("r2", "two:1"), w.relay("r3", "three:1")
		u := w.agentOf(t.TempDir(), "nas", func(c *config.Agent) {
			c.Relay, c.RelaysActive = []string{"one:1", "uno:1", "two:1", "three:1"}, 2
		}).start()
		until(t, 5*time.Second, "online at two", func() bool { return one.over() != "" && two.over() != "" })
		first := one.current()
		time.Sleep(time.Minute)
		if one.current() != first || one.count() != 1 || three.over() != "" {
			t.Error("the second session was not left alone, or there is a third one")
		}
		if list := strings.Fields(u.readyList()); len(list) != 2 || !slices.Contains(list, "tls@two:1") {
			t.Errorf("the ready file lists %v", list)
		}
		one.stop()
		until(t, 15*time.Second, "the third stands in", func() bool { return three.over() != "" })
		three.stop()
		time.Sleep(time.Minute)
		if two.count() != 1 {
			t.Errorf("the only relay left has %d sessions, want 1", two.count())
		}
		one.set(func() { one.down = false })
		until(t, 2*time.Minute, "two again", func() bool { return one.over() != "" && two.over() != "" })
	})
}

func TestMoreRelaysWantedThanThereAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one := w.relay("r1", "one:1", "uno:1")
		u := w.agentOf(t.TempDir(), "nas", func(c *config.Agent) { c.Relay, c.RelaysActive = []string{"one:1", "uno:1"}, 3 }).start()
		until(t, time.Second, "online", func() bool { return one.over() != "" })
		first := one.current()
		time.Sleep(time.Hour)
		if one.current() != first || len(one.arrivals) != 1 {
			t.Errorf("%d sessions in an hour", len(one.arrivals))
		}
		if n := len(w.dialled()); n > 500 {
			t.Errorf("%d dials in an hour", n)
		}
		if strings.Contains(u.log.String(), "WARN") {
			t.Error("it complains although nothing is wrong")
		}
	})
}
