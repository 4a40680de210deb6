// Package session is one authenticated connection between an agent (or a program of a client) and a relay: hello, open,
// serve, drain, fresh tokens. It runs over any transport.Conn.
//
//	// the relay                                           // the agent
//	s, err := session.Accept(ctx, conn, acceptOptions)     s, err := session.Connect(ctx, conn, connectOptions)
//	go s.Run(ctx)                                          err = s.Run(ctx) // serves what the relay opens
//	stream, err := s.Open(ctx, request)
//
// docs/wire.md has the bytes.
package session

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/splice"
	"github.com/postern-dev/postern/transport"
)

// Scope is what a session of an agent is for.
type Scope string

// The scopes.
const (
	// General: the session serves whatever is asked of the agent. One per agent id.
	General Scope = ""
	// TunnelsOnly: the session serves only the public ports that it opened itself. Any number beside a general one.
	TunnelsOnly Scope = "tunnels"
)

// Session is one authenticated connection. All methods may be called concurrently.
type Session struct {
	conn  transport.Conn
	ctl   postern.Stream
	log   *slog.Logger
	serve Serving

	// Set by the handshake, then only read.
	id      string
	agent   postern.AgentID
	dialled bool // this is the side that dialled
	turned  bool // this side asks the far end to open its streams, see turned.go
	peer    Peer
	since   time.Time

	onToken  func(token string)
	onDrain  func()
	onExpose func(ctx context.Context, e Expose) (address string, err error)
	renew    Renewer

	sendMu sync.Mutex // one control message at a time

	mu       sync.Mutex        // guards what follows
	identity *postern.Identity // relay side only
	draining bool              // nothing new is taken
	nextID   uint64
	waiting  map[uint64]chan control // replies expected
	asked    map[uint64]chan called  // streams expected
	streams  int
	// One of the two ends drains: drained is closed when no stream is left here, farDrained when the far end has said the same.
	finishing           bool
	drained, farDrained chan struct{}
	over                error // set when Run has ended: why
	sent                int64 // bytes of ended streams, from the opener
	received            int64
}

// Serving is how a session serves the streams that the far end opens.
type Serving struct {
	// Opener connects to the targets; nil: the far end may open nothing.
	Opener postern.Opener
	// Splice is how streams are joined with their targets.
	Splice splice.Options
	// OpenTimeout bounds reading the open frame and connecting; 0 means 15 s.
	OpenTimeout time.Duration
	// MaxStreams is how many streams the far end may have open at once where it does not open them itself, so that the transport
	// cannot bound them; 0 means transport.DefaultMaxStreams.
	MaxStreams int
	// Side is what this process is, for errors without a hop of their own.
	Side postern.Hop
}

// Peer is what the far end said of itself. None of it is verified.
type Peer struct {
	Instance  string
	Software  string
	Scope     Scope
	Services  []string
	Relay     string   // the relay process (dialling side only)
	Addresses []string // where that relay can be reached
	Relieves  string   // the session that this one takes over from, whose streams are to finish (relay side only)
}

// ID is the session's name in logs.
func (s *Session) ID() string { return s.id }

// Agent is the agent's id; empty for a client's session.
func (s *Session) Agent() postern.AgentID { return s.agent }

// Identity is who the far end is, on the relay's side; nil on the dialling side.
func (s *Session) Identity() *postern.Identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identity
}

// Credential names the far end's credential, see postern.Identity.
func (s *Session) Credential() string { return s.Identity().Credential() }

// Peer is what the far end said of itself in its hello or welcome.
func (s *Session) Peer() Peer { return s.peer }

// Since is when the session began.
func (s *Session) Since() time.Time { return s.since }

// Info describes the connection beneath.
func (s *Session) Info() transport.Info { return s.conn.Info() }

// Stats are a session's streams and bytes.
type Stats struct {
	Streams        int   // open now
	Sent, Received int64 // bytes of ended streams, seen from the side that opened them
}

// Stats returns the session's counts.
func (s *Session) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{Streams: s.streams, Sent: s.sent, Received: s.received}
}

// Run serves the session until it is over: it answers the far end's streams and control messages, and keeps tokens
// fresh. It returns when all that it started has ended: nil after Close or a cancelled ctx, else an
// *Error that says why (the kind that the far end gave, Timeout when it fell silent, Aborted when the road broke).
// A cancelled ctx ends the session at once; see Drain for the gentle way.
func (s *Session) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	closed := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(closed)
		s.closeFor(context.Cause(ctx))
	})

	var g errgroup.Group
	callers := newCallers(s)
	g.Go(func() error { return s.ended(cancel, s.readControl(ctx, callers)) })
	g.Go(func() error { return s.ended(cancel, s.acceptStreams(ctx)) })
	g.Go(func() error { return s.ended(cancel, s.keepFresh(ctx)) })
	g.Go(func() error { return s.ended(cancel, s.sayDrained(ctx)) })
	// The first part to end ends the others by cancelling. They all say the same, so their errors are of no use.
	_ = g.Wait()
	callers.running.Wait() // those that were connecting have been cancelled
	<-closed               // every part that ends cancels; now the far end has been told why
	return s.why()
}

// ended makes the first end of a part the end of all.
func (s *Session) ended(cancel context.CancelCauseFunc, err error) error {
	s.fail(err)
	cancel(err)
	return err
}

// why is the error that ended the session, nil if this side wanted it so.
func (s *Session) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.over, context.Canceled) || errors.Is(s.over, errClosed) {
		return nil
	}
	return s.over
}

// errClosed is how a session ends that this side closed.
var errClosed = &postern.Error{Kind: postern.Aborted, Detail: "the session was closed"}

// Close ends the session at once: its streams fail with kind on both sides, and the far end is told kind and reason.
func (s *Session) Close(kind postern.Kind, reason string) {
	s.fail(errClosed)
	// The far end is gone or will be; either way there is nobody to report to.
	_ = s.conn.CloseWithError(kind, reason)
}

// breakOff ends the session at once because of err, which Run returns.
func (s *Session) breakOff(err error, reason string) {
	s.fail(err)
	_ = s.conn.CloseWithError(postern.KindOf(err), reason) // as in Close
}

// closeFor closes the connection with what err says.
func (s *Session) closeFor(err error) {
	var e *postern.Error
	if errors.As(err, &e) {
		s.Close(e.Kind, e.Error())
		return
	}
	s.Close(postern.Draining, "the other side has ended")
}

// fail wakes everybody who waits for the session. The first reason counts.
func (s *Session) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over != nil {
		return
	}
	s.over = err
	closeOnce(s.farDrained) // nobody is left there
	for id, ch := range s.waiting {
		close(ch)
		delete(s.waiting, id)
	}
	for id, ch := range s.asked {
		close(ch)
		delete(s.asked, id)
	}
}

// readControl reads control messages until the session ends.
func (s *Session) readControl(ctx context.Context, callers *callers) error {
	for {
		var m control
		if err := readMessage(s.ctl, &m, maxControl); err != nil {
			return s.controlLost(ctx, err)
		}
		if err := s.handle(ctx, m, callers); err != nil {
			return err
		}
	}
}

// controlLost says why the control stream ended: the end of the connection tells more than the end of one of its streams.
func (s *Session) controlLost(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &postern.Error{Kind: postern.Aborted, Detail: "the other side ended the session"}
	}
	return err
}

func (s *Session) handle(ctx context.Context, m control, callers *callers) error {
	switch m.Type {
	case ctlDrain:
		s.log.Info("the other side drains", "reason", m.Detail)
		s.finish()
		if s.onDrain != nil {
			s.onDrain()
		}
	case ctlToken:
		if s.onToken != nil && m.Token != "" {
			s.onToken(m.Token)
		}
	case ctlExpose:
		return s.expose(ctx, m)
	case ctlExposed, ctlPong:
		s.reply(m)
	case ctlPing:
		return s.send(&control{Type: ctlPong, ID: m.ID})
	case ctlOpen:
		return callers.open(ctx, m)
	case ctlCancel:
		callers.cancel(m.ID)
	case ctlRefused:
		s.called(m.ID, called{err: refusal(m)})
	case ctlDrained:
		s.noteFarDrained()
	}
	return nil
}

// controlWrite bounds how long the far end may leave a control message unread.
const controlWrite = 5 * time.Second

// send writes a control message. When that fails the session is ended: of what the far end reads after half a message it could make
// no sense.
func (s *Session) send(m *control) error {
	frame, err := encode(m, maxControl)
	if err != nil {
		return err
	}
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	if err = s.ctl.SetWriteDeadline(time.Now().Add(controlWrite)); err == nil {
		_, err = s.ctl.Write(frame)
	}
	if err != nil {
		s.breakOff(err, "a control message could not be sent")
	}
	return err
}

// request sends m and waits for its reply.
func (s *Session) request(ctx context.Context, m *control) (control, error) {
	ch := make(chan control, 1)
	s.mu.Lock()
	if s.over != nil {
		s.mu.Unlock()
		return control{}, s.over
	}
	s.nextID++
	m.ID = s.nextID
	s.waiting[m.ID] = ch
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.waiting, m.ID)
	}()

	if err := s.send(m); err != nil {
		return control{}, err
	}
	select {
	case <-ctx.Done():
		return control{}, context.Cause(ctx)
	case r, ok := <-ch:
		if !ok {
			return control{}, &postern.Error{Kind: postern.Aborted, Detail: "the session ended before the answer came"}
		}
		return r, nil
	}
}

func (s *Session) reply(m control) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ch, ok := s.waiting[m.ID]; ok {
		delete(s.waiting, m.ID)
		ch <- m
	}
}
