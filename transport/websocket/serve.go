package websocket

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/coder/websocket"

	"github.com/postern-dev/postern/internal/bulkio"
	"github.com/postern-dev/postern/internal/webserver"
	"github.com/postern-dev/postern/splice"
	"github.com/postern-dev/postern/transport"
	"github.com/postern-dev/postern/transport/overhttp"
)

// New returns what answers at Path. It serves requests that came by a webserver.
func New(o transport.WebOptions) transport.Web {
	w := &web{sessions: overhttp.NewServer(Name, o), log: o.Log}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	return w
}

type web struct {
	sessions *overhttp.Server
	log      *slog.Logger
}

// Run waits until ctx ends. Sessions are over when the requests are that they came as.
func (w *web) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// ServeHTTP upgrades a request and serves the session to its end.
func (w *web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	alpn, ok := w.check(rw, r)
	if !ok {
		return
	}
	far := &road{}
	ws, err := websocket.Accept(&taker{ResponseWriter: rw, road: far}, r, &websocket.AcceptOptions{
		Subprotocols:       []string{overhttp.Token(alpn)},
		InsecureSkipVerify: true, // whoever has an Origin was refused
		CompressionMode:    websocket.CompressionDisabled,
		OnPingReceived:     far.answerPing,
	})
	if err != nil {
		w.log.Debug("no WebSocket", "remote", r.RemoteAddr, "error", err)
		if far.beneath != nil {
			splice.Abort(far.beneath)
		}
		return
	}
	far.ws = ws
	ws.SetReadLimit(maxReceived)
	c := webserver.ConnOf(r)
	w.sessions.Serve(r.Context(), far, overhttp.Asked{ALPN: alpn, Conn: c, Authenticated: c.Authenticated})
}

// check refuses requests that are none of an agent, and returns what the others speak.
func (w *web) check(rw http.ResponseWriter, r *http.Request) (alpn string, ok bool) {
	refuse := func(status int, text string) (string, bool) {
		w.log.Debug("request for a WebSocket refused", "remote", r.RemoteAddr, "status", status, "reason", text)
		overhttp.Refuse(rw, status, "%s", text)
		return "", false
	}
	switch {
	case webserver.ConnOf(r) == nil:
		return refuse(http.StatusInternalServerError, "this server cannot upgrade connections")
	case len(r.Header.Values("Origin")) > 0:
		// Agents are no browsers; a page must not be able to make one of its reader's (RFC 6455 §10.2).
		return refuse(http.StatusForbidden, "agents connect here, not pages: the request has an Origin")
	case !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || !r.ProtoAtLeast(1, 1):
		rw.Header().Set("Upgrade", "websocket")
		return refuse(http.StatusUpgradeRequired, "agents connect here, by WebSocket")
	}
	alpn, ok = w.sessions.Choose(tokens(r.Header.Values("Sec-WebSocket-Protocol")))
	if !ok {
		return refuse(http.StatusBadRequest, "none of the protocols asked for is spoken here, which are "+strings.Join(w.sessions.Tokens(), ", "))
	}
	return alpn, true
}

// tokens are the members of a list in header fields (RFC 9110 §5.6.1).
func tokens(values []string) []string {
	var all []string
	for member := range strings.SplitSeq(strings.Join(values, ","), ",") {
		if member = strings.TrimSpace(member); member != "" {
			all = append(all, member)
		}
	}
	return all
}

// taker puts the road's layer beneath what is hijacked.
type taker struct {
	http.ResponseWriter
	road *road
}

// Hijack implements http.Hijacker.
func (t *taker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(t.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	ahead, err := rw.Reader.Peek(rw.Reader.Buffered())
	if err != nil {
		return nil, nil, err
	}
	b := bulkio.New(c, ahead...)
	t.road.beneath = b
	return b, bufio.NewReadWriter(bufio.NewReader(b), bufio.NewWriter(b)), nil
}
