package overhttp

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/bulkio"
	"github.com/postern-dev/postern/internal/webserver"
	"github.com/postern-dev/postern/splice"
	"github.com/postern-dev/postern/transport"
	"github.com/postern-dev/postern/transport/mux"
)

// Server is the relay's end of sessions inside HTTP. Its methods may be called concurrently.
type Server struct {
	name  string
	opts  transport.WebOptions
	inner *tls.Config
	log   *slog.Logger
}

// NewServer returns the server of one transport.
func NewServer(name string, o transport.WebOptions) *Server {
	s := &Server{name: name, opts: o, inner: o.TLS.Clone(), log: o.Log}
	s.inner.GetConfigForClient = nil
	s.inner.NextProtos = s.protocols()
	s.inner.MinVersion = tls.VersionTLS13
	s.inner.DynamicRecordSizingDisabled = true
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s
}

func (s *Server) protocols() []string { return slices.Sorted(maps.Keys(s.opts.Accept)) }

// Choose returns the first ALPN that both sides know of those asked for as tokens.
func (s *Server) Choose(tokens []string) (alpn string, ok bool) {
	for _, alpn := range s.protocols() {
		if slices.Contains(tokens, Token(alpn)) {
			return alpn, true
		}
	}
	return "", false
}

// Tokens are what Choose knows, for answers to those who asked for something else.
func (s *Server) Tokens() []string {
	var tokens []string
	for _, alpn := range s.protocols() {
		tokens = append(tokens, Token(alpn))
	}
	return tokens
}

// Asked is how a session was asked for.
type Asked struct {
	// ALPN is what Choose has returned.
	ALPN string
	// Conn is what the request came by.
	Conn *webserver.Conn
	// Authenticated is called once the far end has proved who it is.
	Authenticated func()
}

// Serve serves the session on road, the bytes that HTTP carries, and owns it. It returns when the session is over. A far end that
// begins with a TLS hello gets TLS inside; one that does not has to have it outside, as far as can be seen from here.
func (s *Server) Serve(ctx context.Context, road net.Conn, a Asked) {
	info := transport.Info{
		Transport: s.name, ALPN: a.ALPN, TLS: a.Conn.TLS(), Local: a.Conn.LocalAddr(), Remote: a.Conn.RemoteAddr(),
	}
	begun, inside, err := s.begin(road)
	if err != nil {
		s.log.Debug("no session inside HTTP", "transport", s.name, "remote", info.Remote, "error", err)
		splice.Abort(road)
		return
	}
	if inside != nil {
		info.TLS, info.ALPN = inside, inside.NegotiatedProtocol
	}
	accept := s.opts.Accept[info.ALPN]
	conn := mux.New(begun, mux.Options{Server: true, MaxStreams: accept.MaxStreams, Log: s.opts.Log, Info: info})
	// The handler has ended it; this is for one that failed to.
	defer conn.CloseWithError(postern.Internal, "the handler has returned")
	if inside == nil && !a.Conn.Private() && !s.opts.Cleartext {
		s.log.Warn("a session in clear was refused: a proxy before this listener takes TLS off; "+
			"let it speak TLS to this listener, or set cleartext", "transport", s.name, "remote", info.Remote)
		_ = conn.CloseWithError(postern.Denied, "the relay takes no session in clear from another machine") // always nil
		return
	}
	accept.Handle(ctx, conn, a.Authenticated)
}

// begin waits for the first byte and does the handshake of a session with TLS inside; inside is nil for others. It takes no longer than
// transport.StrangerTimeout.
func (s *Server) begin(road net.Conn) (begun net.Conn, inside *tls.ConnectionState, err error) {
	if err := road.SetDeadline(time.Now().Add(transport.StrangerTimeout)); err != nil {
		return nil, nil, err
	}
	buf := make([]byte, 4<<10)
	n, err := road.Read(buf)
	if n == 0 {
		return nil, nil, fmt.Errorf("the far end has said nothing: %w", err)
	}
	const handshakeRecord = 0x16 // RFC 8446 §5.1; no frame of the multiplexer is that long
	if buf[0] != handshakeRecord {
		return &resumed{Conn: road, begin: buf[:n]}, nil, road.SetDeadline(time.Time{})
	}
	c := tls.Server(bulkio.New(road, buf[:n]...), s.inner)
	if err := c.Handshake(); err != nil {
		return nil, nil, err
	}
	state := c.ConnectionState()
	if _, ok := s.opts.Accept[state.NegotiatedProtocol]; !ok {
		return nil, nil, fmt.Errorf("no protocol in common inside: %q", state.NegotiatedProtocol)
	}
	return bulkio.Secure(c), &state, road.SetDeadline(time.Time{})
}

// resumed reads what was read before it first.
type resumed struct {
	net.Conn
	begin []byte
}

// Read reads.
func (r *resumed) Read(p []byte) (int, error) {
	if len(r.begin) > 0 {
		n := copy(p, r.begin)
		r.begin = r.begin[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}

// NetConn is the connection beneath, for splice.Abort.
func (r *resumed) NetConn() net.Conn { return r.Conn }

// Refuse answers a request that is none for a session with one line of text.
func Refuse(w http.ResponseWriter, status int, format string, args ...any) {
	w.Header().Set("Connection", "close")
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, fmt.Sprintf(format, args...), status)
}
