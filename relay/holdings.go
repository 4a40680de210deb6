package relay

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/session"
)

// holdTime is how long a public port is kept for its owner after a session has broken off (PROMISES P-7).
const holdTime = 30 * time.Second

// exposures are the public ports that sessions hold, and those that are kept for agents whose session has just broken off. The zero
// value is ready for use. All methods may be called concurrently.
type exposures struct {
	mu   sync.Mutex
	held map[uint16]*holding // guarded by mu, like what it holds
}

// tenant is who has a public port.
type tenant struct {
	agent    postern.AgentID
	session  string
	instance string // the credential, and the process that has shown it
	owner    string // for whom the port is kept
}

// tenantOf names the holder of a session. A port is kept for a credential whatever the key and the process: after a restart
// the process is another one, and under auth none so is the key.
func tenantOf(s *session.Session) tenant {
	id := s.Identity()
	return tenant{
		agent: s.Agent(), session: s.ID(), instance: id.Credential() + "\x00" + s.Peer().Instance,
		owner: id.Method + "\x00" + id.Subject,
	}
}

// holding is a public port and whose it is.
type holding struct {
	tenant

	stop    context.CancelFunc
	closed  chan struct{} // closed when the port is
	forgone bool          // nobody needs it to be kept
	until   time.Time     // when the time ends that it is kept; zero as long as it is open
}

// claim makes way for a session that is to have port p: if the same process has it already, through a session that is a ghost or about
// to end, it is closed there. It is a Conflict if somebody else has p, or is about to come back to it.
func (e *exposures) claim(ctx context.Context, p uint16, by tenant) error {
	h := e.holder(p)
	switch {
	case h == nil, !h.until.IsZero() && h.owner == by.owner:
		return nil
	case !h.until.IsZero():
		return postern.Errorf(postern.Conflict, postern.HopRelay, "port %d is kept for agent %s for another %v", p, h.agent, time.Until(h.until).Round(time.Second))
	case h.instance != by.instance:
		return postern.Errorf(postern.Conflict, postern.HopRelay, "port %d is held by agent %s", p, h.agent)
	}
	h.stop()
	select {
	case <-h.closed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// holder returns a copy of what is known of p; nil if it is nobody's.
func (e *exposures) holder(p uint16) *holding {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.held[p]
	if h == nil || h.over() {
		return nil
	}
	one := *h
	return &one
}

// over reports whether a port is kept no longer.
func (h *holding) over() bool { return !h.until.IsZero() && !time.Now().Before(h.until) }

// take notes that a session has p open. stop closes the port; release is to be called when it is closed.
func (e *exposures) take(p uint16, by tenant, stop context.CancelFunc) (release func()) {
	h := &holding{tenant: by, stop: stop, closed: make(chan struct{})}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.held == nil {
		e.held = make(map[uint16]*holding)
	}
	for port, old := range e.held {
		if old.over() {
			delete(e.held, port)
		}
	}
	e.held[p] = h
	return sync.OnceFunc(func() { e.release(p, h) })
}

// release keeps p for its owner, unless that has gone for good or has it again.
func (e *exposures) release(p uint16, h *holding) {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(h.closed)
	switch {
	case e.held[p] != h:
	case h.forgone:
		delete(e.held, p)
	default:
		h.until = time.Now().Add(holdTime)
	}
}

// forgo makes the ports of a session anybody's as soon as they are closed: its agent has said that it leaves.
func (e *exposures) forgo(session string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, h := range e.held {
		h.forgone = h.forgone || h.session == session
	}
}

// releasing is a listener that tells when it is closed.
type releasing struct {
	net.Listener

	release func()
}

// Close closes the port, and then tells.
func (l *releasing) Close() error {
	defer l.release()
	return l.Listener.Close()
}
