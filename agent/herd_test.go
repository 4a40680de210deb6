package agent

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/config"
	"github.com/postern-dev/postern/internal/pace"
)

// TestAThousandAgentsComeBackOneAfterTheOther ends a relay with all its sessions in one moment, and starts it again at once, which is the
// worst: nobody has begun to wait (PROMISES P-22).
func TestAThousandAgentsComeBackOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const agents = 1000
		w := newWorld(t)
		r := w.relay("r1", "one:1")
		for i := range agents {
			u := w.agentOf("", fmt.Sprintf("agent-%d", i), nil)
			u.ladder = u.ladder[:1]
			u.start()
		}
		until(t, time.Minute, "all are online", func() bool { return r.count() == agents })
		time.Sleep(stable + time.Second)

		r.set(func() { r.pace = &pace.Pace{} })
		r.stop()
		until(t, time.Second, "all are gone", func() bool { return r.count() == 0 })
		r.set(func() { r.down, r.arrivals = false, nil })
		back := time.Now()
		took := until(t, time.Minute, "all are back", func() bool { return r.count() == agents })
		perSecond := make(map[time.Duration]int)
		most := 0
		for _, at := range r.arrivals {
			second := at.Sub(back) / time.Second
			perSecond[second]++
			most = max(most, perSecond[second])
		}
		if most > agents/5 {
			t.Errorf("%d of %d came within one second: %v", most, agents, perSecond)
		}
		t.Logf("all of them back after %v, at most %d in a second", took, most)
	})
}

func TestARelayIsLeftAloneForAsLongAsItAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := w.relay("r1", "one:1")
		r.refuse = &postern.Error{Kind: postern.Overloaded, RetryAfter: 20 * time.Second}
		w.agentOf("", "nas", func(c *config.Agent) { c.Relay = []string{"one:1", "nobody:1"} }).start()
		time.Sleep(10 * time.Second)
		r.set(func() { r.refuse = nil })
		took := until(t, time.Minute, "online", func() bool { return r.over() != "" })
		if took < 10*time.Second || took > 12*time.Second {
			t.Errorf("it came after %v, want ten seconds and a little", took)
		}
	})
}
