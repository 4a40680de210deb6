package agent

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
	"github.com/postern-dev/postern/config"
	"github.com/postern-dev/postern/internal/testnet"
	"github.com/postern-dev/postern/session"
	"github.com/postern-dev/postern/transport"
	"github.com/postern-dev/postern/transport/mux"
)

// fakeRelay accepts sessions over connections in memory, as an agent's one transport.
type fakeRelay struct {
	t        *testing.T
	ctx      context.Context
	running  sync.WaitGroup
	sessions chan *session.Session // those that were welcomed
	expose   func(context.Context, *session.Session, session.Expose) (string, error)

	mu      sync.Mutex // guards what follows
	dials   []string   // the addresses, in order
	refusal error      // what a hello gets
	silent  string     // an address at which nobody is
}

func newFakeRelay(t *testing.T) *fakeRelay {
	r := &fakeRelay{t: t, ctx: t.Context(), sessions: make(chan *session.Session, 16)}
	t.Cleanup(r.running.Wait)
	return r
}

// refuse makes hellos fail from now on; nil: no more.
func (r *fakeRelay) refuse(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusal = err
}

func (r *fakeRelay) dialled() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.dials...)
}

// Dial implements transport.Dialer.
func (r *fakeRelay) Dial(_ context.Context, addr string) (transport.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dials = append(r.dials, addr)
	if addr == r.silent {
		return nil, postern.Errorf(postern.Unreachable, postern.HopRelay, "nobody is at %s", addr)
	}
	near, far := testnet.Pipe()
	refusal := r.refusal
	r.running.Go(func() { r.accept(far, refusal) })
	return mux.New(near, mux.Options{MaxStreams: transport.DefaultMaxStreams, Info: transport.Info{Transport: "fake"}}), nil
}

func (r *fakeRelay) accept(road postern.Stream, refusal error) {
	s, err := session.Accept(r.ctx, mux.New(road, mux.Options{Server: true}), session.AcceptOptions{
		Role: postern.RoleAgent,
		Verify: func(_ context.Context, c auth.Credential) (*postern.Identity, error) {
			return &postern.Identity{Method: "fake", Role: c.Role, Subject: "nas", Agents: []string{"nas"}}, refusal
		},
		OnExpose: r.expose,
	})
	if err != nil {
		return // refused, as the test wants it
	}
	r.sessions <- s
	_ = s.Run(r.ctx) // the tests end sessions in every way there is
}

// configure is the least that an agent needs.
func configure() *config.Agent {
	cfg := config.DefaultAgent()
	cfg.Relay, cfg.Token, cfg.Selftest = []string{"relay:4242"}, "secret", true
	return cfg
}

// newAgent returns an agent of the relay.
func newAgent(t *testing.T, r *fakeRelay, cfg *config.Agent, o Options) *Agent {
	t.Helper()
	a, err := New(cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	a.ladder = transport.Ladder{{Name: "fake", Dialer: r}}
	m := new(machine) // a bubble has no end while somebody listens to the system
	a.watch.Look, a.watch.Stirs = m.look, m.stirs
	return a
}

// start runs an agent of the relay, and ends it with the test. stop ends it before and returns what Run returned.
func start(t *testing.T, r *fakeRelay, cfg *config.Agent, o Options) (stop func() error) {
	t.Helper()
	a := newAgent(t, r, cfg, o)
	ctx, cancel := context.WithCancel(t.Context())
	var ran error
	var running sync.WaitGroup
	running.Go(func() { ran = a.Run(ctx) })
	stop = func() error {
		cancel()
		running.Wait()
		return ran
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	return stop
}

// next waits for the agent's next session.
func (r *fakeRelay) next() *session.Session {
	r.t.Helper()
	select {
	case s := <-r.sessions:
		synctest.Wait() // what the agent does with it
		return s
	case <-r.ctx.Done():
		r.t.Fatal("no session came")
		return nil
	}
}

// readyPath is a ready file in a folder of the test.
func readyPath(t *testing.T) string { return filepath.Join(t.TempDir(), "ready.json") }
