package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
	"github.com/postern-dev/postern/config"
	"github.com/postern-dev/postern/internal/netwatch"
	"github.com/postern-dev/postern/internal/pace"
	"github.com/postern-dev/postern/internal/testnet"
	"github.com/postern-dev/postern/session"
	"github.com/postern-dev/postern/transport"
	"github.com/postern-dev/postern/transport/mux"
)

// world is relays and the roads to them, in memory.
type world struct {
	t       *testing.T
	ctx     context.Context // of everything at the relays
	running sync.WaitGroup

	mu     sync.Mutex
	closed map[string]bool   // guarded by mu, like all below: transports whose packets are dropped
	relays map[string]*relay // by address
	dials  []string          // transport@address
	lines  []*line           // every road that stands
}

// line is a road in use. A dropped one carries nothing any more, and nobody is told.
type line struct {
	postern.Stream
	transport string

	mu      sync.Mutex
	dropped bool // guarded by mu
}

func (l *line) Write(p []byte) (int, error) {
	l.mu.Lock()
	dropped := l.dropped
	l.mu.Unlock()
	if dropped {
		return len(p), nil
	}
	return l.Stream.Write(p)
}

func (l *line) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropped = true
}

// relay is a small relay: it takes the agent's sessions in as the real one does.
type relay struct {
	w    *world
	id   string
	pace *pace.Pace // nil: everybody may come at once

	mu       sync.Mutex
	down     bool                                 // guarded by mu, like all below: nobody listens
	refuse   error                                // what hellos get
	sessions map[postern.AgentID]*session.Session // whom streams go to
	all      map[*session.Session]bool
	arrivals []time.Time
	gently   int // how many sessions were relieved
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, closed: make(map[string]bool), relays: make(map[string]*relay)}
	ctx, cancel := context.WithCancel(t.Context())
	w.ctx = ctx
	t.Cleanup(func() { cancel(); w.running.Wait() })
	return w
}

// relay adds a relay that is reached at some addresses.
func (w *world) relay(id string, addrs ...string) *relay {
	r := &relay{w: w, id: id, sessions: make(map[postern.AgentID]*session.Session), all: make(map[*session.Session]bool)}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, addr := range addrs {
		w.relays[addr] = r
	}
	return r
}

// block drops every packet of a transport, or lets new connections through again.
func (w *world) block(transport string, blocked bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed[transport] = blocked
	for _, l := range w.lines {
		if blocked && l.transport == transport {
			l.drop()
		}
	}
}

// dialled returns the dials since the last call.
func (w *world) dialled() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	dials := w.dials
	w.dials = nil
	return dials
}

// dialer is a transport.Dialer of the world.
type dialer struct {
	w         *world
	transport string
}

func (d dialer) Dial(ctx context.Context, addr string) (transport.Conn, error) {
	w := d.w
	w.mu.Lock()
	w.dials = append(w.dials, d.transport+"@"+addr)
	blocked, r := w.closed[d.transport], w.relays[addr]
	w.mu.Unlock()
	if blocked {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if r == nil || r.isDown() {
		return nil, &postern.Error{Kind: postern.Refused, Hop: postern.HopRelay, Detail: "nothing listens at " + addr}
	}
	a, b := testnet.Pipe()
	near, far := &line{Stream: a, transport: d.transport}, &line{Stream: b, transport: d.transport}
	w.mu.Lock()
	w.lines = append(w.lines, near, far)
	w.mu.Unlock()
	info := transport.Info{Transport: d.transport}
	conn := mux.New(near, mux.Options{MaxStreams: transport.DefaultMaxStreams, Info: info})
	w.running.Go(func() { r.serve(mux.New(far, mux.Options{Server: true, Info: info})) })
	return conn, nil
}

func (r *relay) isDown() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.down
}

func (r *relay) serve(conn transport.Conn) {
	s, err := session.Accept(r.w.ctx, conn, session.AcceptOptions{
		Role: postern.RoleAgent, Relay: r.id,
		Verify: func(_ context.Context, c auth.Credential) (*postern.Identity, error) {
			return &postern.Identity{Method: "fake", Role: c.Role, Subject: c.User, Agents: []string{c.User}, Key: c.Instance}, nil
		},
		Admit: r.admit,
	})
	if err != nil {
		return
	}
	_ = s.Run(r.w.ctx) // the tests end sessions in every way there is
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, s)
	if r.sessions[s.Agent()] == s {
		delete(r.sessions, s.Agent())
	}
}

func (r *relay) admit(s *session.Session) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse != nil {
		return r.refuse
	}
	if r.pace != nil {
		if retry, ok := r.pace.Enter(); !ok {
			return &postern.Error{Kind: postern.Overloaded, RetryAfter: retry}
		}
	}
	old := r.sessions[s.Agent()]
	switch {
	case old == nil:
	case old.ID() == s.Peer().Relieves:
		r.gently++
	default:
		r.w.running.Go(func() { old.Close(postern.Conflict, "a newer session took over") })
	}
	r.sessions[s.Agent()], r.all[s] = s, true
	r.arrivals = append(r.arrivals, time.Now())
	return nil
}

// current is the session that streams to the agent go to; nil if there is none.
func (r *relay) current() *session.Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions["nas"]
}

// over is what the agent's session is over: its transport, or nothing.
func (r *relay) over() string {
	if s := r.current(); s != nil {
		return s.Info().Transport
	}
	return ""
}

func (r *relay) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}

// set changes what the relay does.
func (r *relay) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// stop ends the relay as kill -9 does, without a word of the sessions.
func (r *relay) stop() {
	r.set(func() { r.down = true })
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range r.all {
		r.w.running.Go(func() { s.Close(postern.Aborted, "killed") })
	}
}

// machine is the agent's, as its netwatch sees it.
type machine struct {
	mu      sync.Mutex
	network netwatch.Network // guarded by mu, like stirred
	stirred func()
}

func (m *machine) look() (netwatch.Network, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.network, nil
}

func (m *machine) stirs(ctx context.Context, stirred func()) error {
	m.mu.Lock()
	m.stirred = stirred
	m.mu.Unlock()
	<-ctx.Done()
	return ctx.Err()
}

// move takes the machine to another network.
func (m *machine) move(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.network = netwatch.Network{ID: id, State: id + time.Now().String()}
	m.stirred()
}

// under is an agent under test.
type under struct {
	*Agent
	t       *testing.T
	machine *machine
	folder  string
	log     *safeBuffer
	result  chan error
	stop    func()
}

// agentOf makes an agent of the world, with change applied to its configuration.
func (w *world) agentOf(folder, id string, change func(*config.Agent)) *under {
	w.t.Helper()
	cfg := config.DefaultAgent()
	cfg.AgentID, cfg.Relay, cfg.Data, cfg.Selftest = id, []string{"one:1"}, folder, true
	cfg.Grace = time.Second
	if folder != "" {
		cfg.ReadyFile = filepath.Join(folder, "ready.json")
	}
	if change != nil {
		change(cfg)
	}
	u := &under{t: w.t, folder: folder, log: &safeBuffer{}, machine: &machine{}}
	a, err := New(cfg, Options{Log: slog.New(slog.NewTextHandler(u.log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		w.t.Fatal(err)
	}
	a.ladder = nil
	for _, name := range []string{"tls", "quic", "longpoll"} {
		a.ladder = append(a.ladder, transport.Rung{Name: name, Dialer: dialer{w, name}})
	}
	u.machine.network = netwatch.Network{ID: "home", State: "home"}
	a.watch.Look, a.watch.Stirs = u.machine.look, u.machine.stirs
	u.Agent = a
	return u
}

// start runs the agent until the test ends, or stop is called.
func (u *under) start() *under {
	ctx, cancel := context.WithCancel(u.t.Context())
	u.result = make(chan error, 1)
	go func() { u.result <- u.Run(ctx) }()
	u.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-u.result; err != nil {
			u.t.Errorf("Run returned %v", err)
		}
		if u.t.Failed() {
			lines := strings.Split(u.log.String(), "\n")
			u.t.Logf("the end of the agent's log:\n%s", strings.Join(lines[max(0, len(lines)-30):], "\n"))
		}
	})
	u.t.Cleanup(u.stop)
	return u
}

// readyList is what the ready file lists, as transport@address, sorted.
func (u *under) readyList() string {
	u.t.Helper()
	text, err := os.ReadFile(filepath.Join(u.folder, "ready.json"))
	if err != nil {
		u.t.Fatal(err)
	}
	var file struct{ Relays []readyRelay }
	if err := json.Unmarshal(text, &file); err != nil {
		u.t.Fatal(err)
	}
	var list []string
	for _, r := range file.Relays {
		list = append(list, r.Transport+"@"+r.Address)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// until waits for done, looking every ten milliseconds, and returns how long it took.
func until(t *testing.T, within time.Duration, what string, done func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		<-tick.C
		if time.Since(start) > within {
			t.Fatalf("%s: not within %v", what, within)
		}
	}
	return time.Since(start)
}

// echoing opens a stream to the agent's own echo.
func echoing(t *testing.T, s *session.Session) postern.Stream {
	t.Helper()
	stream, err := s.Open(t.Context(), &postern.Request{Target: postern.Target{Network: postern.Service, Host: "selftest"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(stream, "echo\n"); err != nil {
		t.Fatal(err)
	}
	return stream
}

// echoed says something on a stream and wants it back.
func echoed(t *testing.T, s postern.Stream) {
	t.Helper()
	got := make([]byte, 5)
	if _, err := io.WriteString(s, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(s, got); err != nil || string(got) != "hello" {
		t.Fatalf("echoed %q, %v", got, err)
	}
}

// safeBuffer is a log that is read while it is written.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
