// Package transport is the contract for how an agent holds its connection to a relay: streams, both ways, over one road.
//
// A transport is a folder below this one and a line in transport/all. transporttest.Run is the contract as a test.
//
//	listener := tls.Listen(transport.ListenOptions{TCP: ln, TLS: cfg, Accept: map[string]transport.Accept{
//		transport.ALPNAgent: {Handle: serveAgent, MaxStreams: 2},
//	}})
//	err := listener.Run(ctx)                                   // the relay
//	conn, err := tls.Dialer(transport.DialOptions{TLS: cfg}).Dial(ctx, "relay.example.com:4242") // the agent
package transport

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/gate"
	"github.com/postern-dev/postern/internal/viaproxy"
)

// The application protocols on the agents port (RFC 7301). The number is the major version of the wire, docs/wire.md.
const (
	ALPNAgent  = "postern-agent/1"  // an agent's session
	ALPNClient = "postern-client/1" // a session of postern forward and postern connect
	ALPNHTTP   = "http/1.1"         // HTTP CONNECT over TLS; not streams but a connection, see ListenOptions.Raw
)

// Liveness, on every transport alike (DESIGN §3): a Conn that has heard nothing for ProbeAfter asks the far end
// for a sign of life, and fails with a Timeout when there was none for DeadAfter.
const (
	ProbeAfter = 4 * time.Second
	DeadAfter  = 8 * time.Second
)

// HandshakeTimeout bounds everything before a Conn exists: TCP, TLS, QUIC.
const HandshakeTimeout = 10 * time.Second

// StrangerTimeout is how long a relay waits for the handshake of whoever connects to it. It is shorter than what a dialer is given: who
// says nothing is to be gone within ten seconds, measured from outside (PROMISES P-14).
const StrangerTimeout = 8 * time.Second

// DefaultMaxStreams is how many streams the far end may have open at once where that is its job.
const DefaultMaxStreams = 16384

// Conn is one connection that carries streams both ways. All methods may be called concurrently.
type Conn interface {
	// OpenStream starts a stream. It waits, until ctx ends, while the far end's limit of streams is used up,
	// then fails with Limited. The far end sees the stream at the latest with its first byte.
	OpenStream(ctx context.Context) (postern.Stream, error)

	// AcceptStream returns the next stream that the far end started. When the Conn is over it returns
	// why: an *Error with the kind and reason of whoever called CloseWithError, Timeout after
	// DeadAfter without a sign of life, Aborted when the road broke.
	AcceptStream(ctx context.Context) (postern.Stream, error)

	// CloseWithError ends the Conn: its streams fail on both sides with kind, and the far end is told kind and
	// reason if it can still be reached. It returns when nothing of the Conn runs any more. Idempotent: the first call counts.
	CloseWithError(kind postern.Kind, reason string) error

	// Info says what the Conn is. It costs nothing.
	Info() Info
}

// Witness is a Conn that can tell whether anything arrives.
type Witness interface {
	// Signs is a number that changes with whatever arrives from the far end.
	Signs() uint64
}

// Info describes a Conn.
type Info struct {
	Transport     string // "tls", "quic", ...
	ALPN          string
	Local, Remote net.Addr
	TLS           *tls.ConnectionState // nil where the road has none of its own

	// FewStreams says that the far end takes but a few streams of this one, because it fixed their number before it knew who calls.
	// Streams in number have to be opened by the far end.
	FewStreams bool
}

// Dialer connects to a relay.
type Dialer interface {
	// Dial returns a Conn to the relay at addr, once the relay has proved itself by TLS. addr is host:port of the agents
	// listener, or for transports over HTTP what ParseWeb takes.
	// Errors are *Error: Unreachable, NameNotFound, Refused, Timeout, or Unauthenticated when
	// the relay is not the one that opts.TLS asks for.
	Dial(ctx context.Context, addr string) (Conn, error)
}

// DialOptions configure a Dialer. TLS is required.
type DialOptions struct {
	// TLS verifies the relay and has the one ALPN wanted in NextProtos. It is cloned, never changed.
	TLS *tls.Config
	// MaxStreams is how many streams the relay may have open to us at once; 0 means 2.
	MaxStreams int
	// Proxies lead to the relay, where the transport goes over TCP; nil: it is reached directly.
	Proxies *viaproxy.Proxies
	// Log gets what happens to connections, at debug level; nil is silent.
	Log *slog.Logger
}

// Listener takes connections in at a relay.
type Listener interface {
	// Run accepts until ctx ends or the socket fails, and returns when every handler has returned.
	// It closes the socket. A cancelled ctx is no error.
	Run(ctx context.Context) error
}

// Accept is what a relay does with the connections of one ALPN.
type Accept struct {
	// Handle owns c and ends it. ctx is the one given to Run. It calls authenticated once the far end has proved who it
	// is: until then the connection counts as a stranger's in the gate.
	Handle func(ctx context.Context, c Conn, authenticated func())
	// MaxStreams is how many streams the far end may have open at once; 0 means 2.
	// On QUIC, which fixes it before the ALPN is known, the highest of all Accepts holds.
	MaxStreams int
}

// ListenOptions configure a Listener. TLS, Accept and the socket that the transport uses are required.
type ListenOptions struct {
	TCP net.Listener
	UDP net.PacketConn
	// TLS has the certificates. It is cloned; NextProtos is set from the keys of Accept and Raw.
	TLS *tls.Config
	// Accept says what to do with connections that carry streams, by ALPN. A far end without any of these is refused.
	Accept map[string]Accept
	// Raw says what to do with connections that are to be used as they are, by ALPN; a far end without ALPN gets
	// ALPNHTTP. The handler closes c. Only transports over TCP have them.
	Raw map[string]func(ctx context.Context, c net.Conn, authenticated func())
	// ResetKey lets a transport tell far ends at once that it knows nothing of their connection, as after a crash; it is secret and must
	// be the same after a restart. QUIC uses it (RFC 9000 §10.3), and may answer only packets that are not too small, so an idle far end may
	// still find out by silence. Nil: all of them do.
	ResetKey *[32]byte
	// Gate bounds connections of strangers; nil: no bound.
	Gate *gate.Gate
	// Log gets what happens to connections, at debug level; nil is silent.
	Log *slog.Logger
}

// Web takes connections in that come as requests to the relay's web listener.
type Web interface {
	// ServeHTTP answers a request, which has to come by a webserver.Server. One that becomes a connection as it is (an upgrade) it
	// serves to its end.
	http.Handler

	// Run is called once, and beside the server: it does what outlives a request. It returns when ctx has ended and all that requests have
	// started beyond themselves is over.
	Run(ctx context.Context) error
}

// WebOptions configure a Web. TLS and Accept are required.
type WebOptions struct {
	// TLS has the certificates for sessions that run TLS of their own inside somebody else's HTTP. It is cloned.
	TLS *tls.Config
	// Accept says what to do with connections, by ALPN.
	Accept map[string]Accept
	// Cleartext lets sessions in whose bytes others on the way to this machine could read.
	Cleartext bool
	// Log gets what happens to connections, at debug level; nil is silent.
	Log *slog.Logger
}

// The networks of a Maker: which socket its listener uses.
const (
	NetworkTCP = "tcp" // ListenOptions.TCP
	NetworkUDP = "udp" // ListenOptions.UDP
	NetworkWeb = "web" // ListenOptions.TCP, which it can share with others of its kind: its Web answers at Paths
)

// Maker is a transport: how to make its two ends.
type Maker struct {
	Network string
	Listen  func(ListenOptions) Listener
	Dial    func(DialOptions) Dialer

	// Paths and NewWeb are what a transport over HTTP has besides: where below a web listener's root its agents ask, as patterns of
	// http.ServeMux, and who answers.
	Paths  []string
	NewWeb func(WebOptions) Web
}
