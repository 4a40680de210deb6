package session

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
	"github.com/postern-dev/postern/transport"
)

// helloTimeout bounds the whole exchange (PROMISES P-14). The side that accepts takes less, so that a stranger is gone within that time
// with everything that is said in the end.
const (
	helloTimeout  = 5 * time.Second
	acceptTimeout = 4 * time.Second
)

// ConnectOptions are what the dialling side says of itself.
type ConnectOptions struct {
	// Role is RoleAgent or RoleClient.
	Role postern.Role
	// Token is the credential; empty where the relay asks for none.
	Token string
	// Agent is the id to claim where the credential does not say it.
	Agent postern.AgentID
	// Instance is random for each process and the same for all its sessions.
	Instance string
	Software string
	Scope    Scope
	// Services are the names of the declared services.
	Services []string
	// Relieves is the ID of the session that this one takes over from, if the relay is to let the streams of that one finish. Without
	// it, a session that is replaced ends at once.
	Relieves string
	// Elsewhere are the relays (Peer.Relay) that this process has sessions with. One of them fails the hello with ErrElsewhere.
	Elsewhere []string
	// Serving answers what the relay opens; agents need it.
	Serving Serving
	// OnToken gets fresh tokens; OnDrain is told that the relay wants us to move. Both must not block.
	OnToken func(token string)
	OnDrain func()
	Log     *slog.Logger
}

// Connect says hello on conn, which it owns from then on, and returns the session once the relay has accepted it. Call Run next.
// A refusal is an *Error with the relay's kind: Unauthenticated, Conflict, Draining, BadCommand for versions that do
// not meet. On an error conn is closed.
func Connect(ctx context.Context, conn transport.Conn, o ConnectOptions) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	ctl, err := conn.OpenStream(ctx)
	if err != nil {
		return nil, refuse(conn, err)
	}
	stop := abortAt(ctx, ctl)
	defer stop()

	h := &hello{
		MinVersion: Version, MaxVersion: Version,
		Role: string(o.Role), Token: o.Token, Agent: string(o.Agent), Instance: o.Instance,
		Software: o.Software, Scope: string(o.Scope), Services: o.Services, Relieves: o.Relieves, Elsewhere: o.Elsewhere,
	}
	if err := writeMessage(ctl, h, maxHello); err != nil {
		return nil, refuse(conn, err)
	}
	var w welcome
	if err := readMessage(ctl, &w, maxHello); err != nil {
		return nil, refuse(conn, whyLost(ctx, conn, err))
	}
	if err := w.refusal(o.Elsewhere); err != nil {
		return nil, refuse(conn, err)
	}

	s := newSession(conn, ctl, o.Serving, o.Log)
	s.id, s.dialled = w.Session, true
	s.turned = o.Serving.Opener == nil && conn.Info().FewStreams
	s.agent = postern.AgentID(w.Agent)
	s.peer = Peer{Software: w.Software, Relay: w.Relay, Addresses: w.Addresses}
	s.onToken, s.onDrain = o.OnToken, o.OnDrain
	return s, nil
}

// ErrElsewhere is in the error of a hello to a relay that this process has a session with already, under another address.
var ErrElsewhere = errors.New("there is a session with this relay already")

// refusal is the error of a welcome that is none.
func (w *welcome) refusal(elsewhere []string) error {
	said, ok := errors.AsType[*postern.Error](errorFromWire(w.Kind, string(postern.HopRelay), w.Detail))
	if !ok {
		return nil
	}
	said.RetryAfter = time.Duration(w.Retry) * time.Millisecond
	if said.Kind == postern.Conflict && slices.Contains(elsewhere, w.Relay) {
		return fmt.Errorf("%w: %w", ErrElsewhere, said)
	}
	return said
}

// AcceptOptions are how a relay takes sessions in. Verify is required.
type AcceptOptions struct {
	// Role is the side that the connection's ALPN stands for.
	Role postern.Role
	// Verify proves who the far end is.
	Verify func(ctx context.Context, c auth.Credential) (*postern.Identity, error)
	// Admit is asked last, before the far end is welcomed: a router adds the session here. Its error refuses the session.
	Admit func(s *Session) error
	// Serving answers what the far end opens (sessions of clients).
	Serving Serving
	// Relay is this process, Addresses where it can be reached, Software what it is.
	Relay     string
	Addresses []string
	Software  string
	// OnExpose opens a public port for the session until ctx, which ends with the session, is done; nil: none.
	OnExpose func(ctx context.Context, s *Session, e Expose) (address string, err error)
	// OnDrain is told that the session takes nothing new: the far end wants no more streams, or its token has expired. It must not block.
	OnDrain func(s *Session)
	// Renew makes fresh tokens; nil: none.
	Renew Renewer
	Log   *slog.Logger
}

// Accept hears the hello on conn, which it owns from then on, and returns the session once the far end is proved and welcomed.
// Call Run next. On an error conn is closed, and the far end was told the kind if that is any use to it.
func Accept(ctx context.Context, conn transport.Conn, o AcceptOptions) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	ctl, err := conn.AcceptStream(ctx)
	if err != nil {
		return nil, refuse(conn, err)
	}
	stop := abortAt(ctx, ctl)
	defer stop()

	var h hello
	if err := readMessage(ctl, &h, maxHello); err != nil {
		return nil, refuse(conn, whyLost(ctx, conn, err))
	}
	s := newSession(conn, ctl, o.Serving, o.Log)
	w, err := s.receive(ctx, &h, &o)
	if err != nil {
		return nil, s.turnAway(ctx, o.Relay, err)
	}
	if err := writeMessage(ctl, w, maxHello); err != nil {
		s.Close(postern.Aborted, "the welcome could not be sent")
		return nil, err
	}
	return s, nil
}

// receive checks a hello and fills the session in.
func (s *Session) receive(ctx context.Context, h *hello, o *AcceptOptions) (*welcome, error) {
	if h.MinVersion > Version || h.MaxVersion < Version {
		return nil, postern.Errorf(postern.BadCommand, postern.HopRelay,
			"the relay speaks version %d of the wire, you speak %d to %d; update the older one", Version, h.MinVersion, h.MaxVersion)
	}
	if h.Role != string(o.Role) {
		return nil, postern.Errorf(postern.Unauthenticated, postern.HopRelay, "a hello of role %q on a connection for role %q", clip(h.Role), o.Role)
	}
	if h.Scope != string(General) && h.Scope != string(TunnelsOnly) {
		return nil, postern.Errorf(postern.BadCommand, postern.HopRelay, "the scope %q is not known", clip(h.Scope))
	}
	info := s.conn.Info()
	id, err := o.Verify(ctx, auth.Credential{
		Role: o.Role, User: h.Agent, Secret: h.Token, Instance: h.Instance, TLS: info.TLS, Remote: info.Remote,
	})
	if err != nil {
		return nil, err
	}
	s.id = NewInstance()[:16]
	s.identity, s.agent = id, id.AgentID()
	s.peer = Peer{
		Instance: clip(h.Instance), Software: clip(h.Software), Scope: Scope(h.Scope), Services: h.Services, Relieves: clip(h.Relieves),
	}
	if o.Relay != "" && slices.Contains(h.Elsewhere, o.Relay) {
		return nil, postern.Errorf(postern.Conflict, postern.HopRelay, "agent %s has a session with this relay already", s.agent)
	}
	s.renew = o.Renew
	if o.OnExpose != nil {
		s.onExpose = func(ctx context.Context, e Expose) (string, error) { return o.OnExpose(ctx, s, e) }
	}
	s.onDrain = func() {
		s.stopOpening()
		if o.OnDrain != nil {
			o.OnDrain(s)
		}
	}
	if o.Admit != nil {
		if err := o.Admit(s); err != nil {
			return nil, err
		}
	}
	return &welcome{
		Version: Version, Relay: o.Relay, Addresses: o.Addresses, Software: o.Software,
		Agent: string(s.agent), Session: s.id,
	}, nil
}

// turnAway tells the far end why and closes. The cause of an error stays here.
func (s *Session) turnAway(ctx context.Context, relay string, err error) error {
	w := &welcome{Kind: uint8(postern.KindOf(err)), Version: Version, Relay: relay, Retry: milliseconds(postern.RetryAfterOf(err))}
	if e, ok := errors.AsType[*postern.Error](err); ok {
		w.Detail = e.Detail
	}
	if werr := writeMessage(s.ctl, w, maxHello); werr == nil {
		// The far end closes once it has read the welcome; without the wait the close could overtake it.
		_ = s.ctl.CloseWrite()
		_, _ = io.Copy(io.Discard, io.LimitReader(s.ctl, maxHello))
	}
	s.Close(postern.Kind(w.Kind), w.Detail)
	return err
}

// milliseconds is d as a welcome has it, rounded up.
func milliseconds(d time.Duration) uint32 {
	return uint32(min((d+time.Millisecond-1)/time.Millisecond, math.MaxUint32))
}

// refuse closes conn and returns err.
func refuse(conn transport.Conn, err error) error {
	_ = conn.CloseWithError(postern.KindOf(err), "the hello failed")
	return err
}

// whyLost prefers the reason of the whole connection to that of the stream.
func whyLost(ctx context.Context, conn transport.Conn, err error) error {
	if ctx.Err() != nil {
		return postern.Errorf(postern.Timeout, postern.HopRelay, "the hello took too long")
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return postern.Errorf(postern.Aborted, postern.HopRelay, "the connection to %v ended before the hello was over", conn.Info().Remote)
	}
	return err
}

// abortAt makes reads and writes of a stream return when ctx ends. stop ends that, and reports false if ctx was faster: the stream's
// deadlines are in the past then. What has arrived stays, and the caller decides.
func abortAt(ctx context.Context, s postern.Stream) (stop func() bool) {
	done := make(chan struct{})
	forget := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = s.SetDeadline(time.Unix(1, 0)) // a stream that has none is over already
	})
	return sync.OnceValue(func() bool {
		if forget() {
			return true
		}
		<-done
		return false
	})
}

func newSession(conn transport.Conn, ctl postern.Stream, serving Serving, log *slog.Logger) *Session {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Session{
		conn: conn, ctl: ctl, serve: serving, log: log, since: time.Now(),
		waiting: make(map[uint64]chan control), asked: make(map[uint64]chan called), drained: make(chan struct{}), farDrained: make(chan struct{}),
	}
}

// NewInstance returns a random name for a process or session, 32 hex digits.
func NewInstance() string {
	var b [16]byte
	// crypto/rand.Read never fails since Go 1.24; it ends the process instead.
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// clip shortens text from outside before it is kept.
func clip(s string) string { return clipTo(s, 64) }

// clipTo shortens text to most bytes, and not within a character.
func clipTo(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}
