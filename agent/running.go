package agent

import (
	"slices"
	"sync"

	"github.com/postern-dev/postern/internal/netwatch"
)

// running is what the slots of one Run share.
type running struct {
	*Agent
	net   *netwatch.Watcher
	links sync.WaitGroup // of every session, also those that only let their streams finish

	// hello lets one slot at a time say hello: the next one has to name the relays that it has no use for.
	hello sync.Mutex

	mu   sync.Mutex
	held map[*slot]*link // what each slot holds; guarded by mu
}

// hold notes what a slot holds; nil: nothing.
func (r *running) hold(s *slot, l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l == nil {
		delete(r.held, s)
		return
	}
	r.held[s] = l
}

// others are the links of the slots but s.
func (r *running) others(s *slot) []*link {
	r.mu.Lock()
	defer r.mu.Unlock()
	var others []*link
	for holder, l := range r.held {
		if holder != s {
			others = append(others, l)
		}
	}
	return others
}

// elsewhere are the relays of the other slots, by their own word.
func (r *running) elsewhere(s *slot) []string {
	var relays []string
	for _, l := range r.others(s) {
		if id := l.Peer().Relay; id != "" {
			relays = append(relays, id)
		}
	}
	slices.Sort(relays)
	return relays
}
