// Package route finds the session of the agent that a request names.
//
//	router := route.New(route.Options{Park: 2 * time.Second, Known: known})
//	remove, replaced, err := router.Add(session)
//	stream, err := router.Open(ctx, &postern.Request{Agent: "nas", Target: target})
package route

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postern-dev/postern"
)

// Session is an agent's connection as the router needs it. *session.Session is one.
type Session interface {
	Agent() postern.AgentID
	// Credential names the credential that the session was proved with; see postern.Identity.
	Credential() string
	Open(ctx context.Context, req *postern.Request) (postern.Stream, error)
}

// Known remembers agents beyond their sessions. Its methods may be called concurrently.
type Known interface {
	// LastSeen is when the agent was last connected; ok is false for one that is not known.
	LastSeen(id postern.AgentID) (at time.Time, ok bool)
	// Saw notes that the agent is, or was until now, connected.
	Saw(id postern.AgentID, at time.Time)
}

// Options configure a Router.
type Options struct {
	// Park is how long a stream waits for an agent that was here a moment ago; 0 means not at all.
	Park time.Duration
	// Known tells agents that are away from those that never were; nil: the router's own memory.
	Known Known
}

// Router holds the sessions of the agents connected to this relay. All methods may be called concurrently.
type Router struct {
	park    time.Duration
	known   Known
	started time.Time

	mu        sync.Mutex // guards what follows
	draining  bool
	sessions  map[postern.AgentID]Session
	arrivals  map[postern.AgentID]chan struct{} // closed when the agent's next session comes
	takeovers map[postern.AgentID][]time.Time
}

// New returns a Router without sessions.
func New(o Options) *Router {
	if o.Known == nil {
		o.Known = &memory{}
	}
	return &Router{
		park: o.Park, known: o.Known, started: time.Now(),
		sessions:  make(map[postern.AgentID]Session),
		arrivals:  make(map[postern.AgentID]chan struct{}),
		takeovers: make(map[postern.AgentID][]time.Time),
	}
}

// Takeovers of one id are limited, so that two agents with the same credential do not throw each other out for ever
// (PROMISES P-7).
const (
	maxTakeovers   = 6
	takeoverWindow = time.Minute
)

// Add makes s the agent's session. A session of the same credential is replaced and returned: the caller closes it. One of
// another credential makes s fail with Conflict. The caller calls remove when s is over or drains; it does nothing once s was replaced.
func (r *Router) Add(s Session) (remove func(), replaced Session, err error) {
	id := s.Agent()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draining {
		return nil, nil, &postern.Error{Kind: postern.Draining, Hop: postern.HopRelay}
	}
	if old := r.sessions[id]; old != nil {
		if err := r.mayReplace(id, old, s); err != nil {
			return nil, nil, err
		}
		replaced = old
	}
	r.put(id, s)
	return func() { r.remove(id, s) }, replaced, nil
}

// Return makes s, which another session had replaced, the agent's session again, unless there is one by now.
func (r *Router) Return(s Session) {
	id := s.Agent()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draining || r.sessions[id] != nil {
		return
	}
	r.put(id, s)
}

// put makes s the session of the agent and wakes those who wait for it. mu is held.
func (r *Router) put(id postern.AgentID, s Session) {
	r.sessions[id] = s
	if ch, ok := r.arrivals[id]; ok {
		close(ch)
		delete(r.arrivals, id)
	}
	r.known.Saw(id, time.Now())
}

// mayReplace decides whether s takes over from old. mu is held.
func (r *Router) mayReplace(id postern.AgentID, old, s Session) error {
	if old.Credential() != s.Credential() {
		return postern.Errorf(postern.Conflict, postern.HopRelay, "agent %s is connected with another credential", id)
	}
	now := time.Now()
	recent := slices.DeleteFunc(r.takeovers[id], func(t time.Time) bool { return now.Sub(t) > takeoverWindow })
	if len(recent) >= maxTakeovers {
		r.takeovers[id] = recent
		return postern.Errorf(postern.Conflict, postern.HopRelay,
			"agent %s was taken over %d times within a minute; is the same credential in use twice?", id, len(recent))
	}
	r.takeovers[id] = append(recent, now)
	return nil
}

func (r *Router) remove(id postern.AgentID, s Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sessions[id] != s {
		return
	}
	delete(r.sessions, id)
	r.known.Saw(id, time.Now())
}

// Sessions returns the sessions, sorted by agent.
func (r *Router) Sessions() []Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Session, 0, len(r.sessions))
	for _, s := range r.sessions {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Session) int { return strings.Compare(string(a.Agent()), string(b.Agent())) })
	return all
}

// Drain makes Add and Open fail with Draining from now on.
func (r *Router) Drain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.draining = true
	for id, ch := range r.arrivals {
		close(ch)
		delete(r.arrivals, id)
	}
}

// Open opens a stream through the session of req.Agent. An agent that was here within the last minute is waited for,
// at most Options.Park. Errors are *Error: NoSuchAgent, AgentOffline for an agent that is known but away, Draining,
// and whatever the agent answers.
func (r *Router) Open(ctx context.Context, req *postern.Request) (postern.Stream, error) {
	deadline := time.Now().Add(r.park)
	for {
		s, arrival, err := r.find(req.Agent)
		if err != nil {
			return nil, err
		}
		if s != nil {
			stream, err := s.Open(ctx, req)
			if k := postern.KindOf(err); k != postern.AgentOffline && k != postern.Draining {
				return stream, err
			}
			// The session has just ended or drains: nothing has been sent to the target yet, so another may take it.
			if arrival = r.next(req.Agent, s); arrival == nil {
				continue
			}
		}
		if err := r.wait(ctx, req.Agent, arrival, deadline); err != nil {
			return nil, err
		}
	}
}

// find returns the agent's session or, without one, what to wait on.
func (r *Router) find(id postern.AgentID) (Session, <-chan struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draining {
		return nil, nil, &postern.Error{Kind: postern.Draining, Hop: postern.HopRelay}
	}
	if s := r.sessions[id]; s != nil {
		return s, nil, nil
	}
	return nil, r.arrival(id), nil
}

// next returns what to wait on until a session other than s comes; nil if it is there already.
func (r *Router) next(id postern.AgentID, s Session) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.sessions[id]; now != nil && now != s {
		return nil
	}
	return r.arrival(id)
}

// recently is how long ago an agent may have gone for streams to wait for it.
const recently = time.Minute

// arrival returns a channel that is closed when the agent comes, or nil for an agent not worth waiting for. mu is held.
func (r *Router) arrival(id postern.AgentID) <-chan struct{} {
	seen, ok := r.known.LastSeen(id)
	if !ok || r.park <= 0 {
		return nil
	}
	// After a restart of the relay every known agent is on its way back.
	if now := time.Now(); now.Sub(seen) > recently && now.Sub(r.started) > recently && r.sessions[id] == nil {
		return nil
	}
	ch := r.arrivals[id]
	if ch == nil {
		ch = make(chan struct{})
		r.arrivals[id] = ch
	}
	return ch
}

func (r *Router) wait(ctx context.Context, id postern.AgentID, arrival <-chan struct{}, deadline time.Time) error {
	if arrival == nil {
		return r.away(id)
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-arrival:
		return nil
	case <-timer.C:
		return r.away(id)
	case <-ctx.Done():
		return postern.Errorf(postern.KindOf(ctx.Err()), postern.HopRelay, "the client gave up: %w", context.Cause(ctx))
	}
}

// away is the failure of a request for an agent without a session.
func (r *Router) away(id postern.AgentID) error {
	if _, ok := r.known.LastSeen(id); !ok {
		return postern.Errorf(postern.NoSuchAgent, postern.HopRelay, "there is no agent %s", id)
	}
	return postern.Errorf(postern.AgentOffline, postern.HopRelay, "agent %s is not connected", id)
}

// memory is a Known that lasts as long as the process.
type memory struct {
	mu   sync.Mutex
	seen map[postern.AgentID]time.Time // guarded by mu
}

// KnownFor is how long an agent that is away is known; after that nobody can tell it from one that never was.
const KnownFor = 30 * 24 * time.Hour

func (m *memory) LastSeen(id postern.AgentID) (time.Time, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.seen[id]
	return at, ok && time.Since(at) < KnownFor
}

func (m *memory) Saw(id postern.AgentID, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen == nil {
		m.seen = make(map[postern.AgentID]time.Time)
	}
	m.seen[id] = at
}
