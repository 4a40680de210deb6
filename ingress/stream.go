package ingress

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net/netip"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/splice"
)

// Stream is what is known of one client's stream, from its wish to its end, for logs and lists. Counts may be read at any time;
// the rest does not change after OnStream was told of it.
type Stream struct {
	Trace    string // the request id, in logs of relay and agent and in answers to clients
	Ingress  string // the protocol's name
	Agent    postern.AgentID
	Target   postern.Target
	Client   netip.AddrPort
	Identity *postern.Identity // nil for nobody in particular
	User     string            // as the client gave it, but not what is too long for a name; empty without a credential
	Started  time.Time
	Counts   splice.Counts

	known bool   // the client has proved who it is
	ended func() // frees what begin took; nil before
}

// NewTrace returns a request id: 16 random hexadecimal digits.
func NewTrace() string {
	var b [8]byte
	// Read never fails, see crypto/rand.
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// NewStream starts the account of a wish. End or Failed closes it.
func (s *Server) NewStream(c *Conn, w Wish) *Stream {
	stream := &Stream{
		Trace: NewTrace(), Ingress: s.Protocol.Name(), Agent: w.Agent, Target: w.Target, Client: Source(c),
		Identity: w.Identity, Started: time.Now(),
	}
	// No name is longer, but every token is: people put one in place of the other.
	const most = 100
	if w.Credential != nil && len(w.Credential.User) <= most {
		stream.User = w.Credential.User
	}
	return stream
}

// begin counts an authorised stream against its credential and tells OnStream of it.
func (s *Server) begin(stream *Stream) error {
	release, err := s.take(stream.Identity)
	if err != nil {
		return err
	}
	stream.ended = release
	if s.OnStream == nil {
		return nil
	}
	if ended := s.OnStream(stream); ended != nil {
		stream.ended = func() { ended(); release() }
	}
	return nil
}

// take counts one stream of id in.
func (s *Server) take(id *postern.Identity) (release func(), err error) {
	most := s.MaxStreamsPerCredential
	if most == 0 {
		most = defaultMaxStreams
	}
	if id == nil || most < 0 {
		return func() {}, nil
	}
	key := id.Credential()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[key] >= most {
		return nil, postern.Errorf(postern.Limited, postern.HopRelay, "the credential has %d streams already, that is its limit", most)
	}
	if s.streams == nil {
		s.streams = make(map[string]int)
	}
	s.streams[key]++
	return func() { s.release(key) }, nil
}

func (s *Server) release(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[key]--; s.streams[key] == 0 {
		delete(s.streams, key)
	}
}

// End reports a stream that was connected. It is called once.
func (s *Server) End(ctx context.Context, stream *Stream, result splice.Result) {
	attrs := append(stream.attrs(),
		slog.Int64("sent", result.Sent), slog.Int64("received", result.Received),
		slog.Duration("duration", result.Duration), slog.String("reason", string(result.Reason)))
	if result.Err != nil {
		attrs = append(attrs, slog.String("error", result.Err.Error()))
	}
	s.finish(stream)
	s.log().InfoContext(ctx, "stream", attrs...)
}

// Failed reports a stream that did not come about. It is called once, and instead of End. What strangers try is for debugging only.
func (s *Server) Failed(ctx context.Context, stream *Stream, err error) {
	level := slog.LevelInfo
	if !stream.known {
		level = slog.LevelDebug
	}
	attrs := append(stream.attrs(),
		slog.Duration("duration", time.Since(stream.Started)), slog.String("reason", "failed"),
		slog.String("kind", postern.KindOf(err).String()), slog.String("hop", string(postern.HopOf(err, postern.HopRelay))),
		slog.String("error", err.Error()))
	s.finish(stream)
	s.log().Log(ctx, level, "stream", attrs...)
}

func (s *Server) finish(stream *Stream) {
	if stream.ended != nil {
		stream.ended()
	}
}

func (st *Stream) attrs() []any {
	user := st.User
	switch {
	case !st.known:
		user = "" // a stranger may have typed a secret there
	case user == "" && st.Identity != nil:
		user = st.Identity.Subject
	}
	return []any{
		slog.String("ingress", st.Ingress), slog.String("agent", string(st.Agent)), slog.String("target", st.Target.String()),
		slog.String("client", st.Client.String()), slog.String("user", user), slog.String("trace", st.Trace),
	}
}

func (s *Server) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}
