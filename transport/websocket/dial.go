package websocket

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/coder/websocket"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/bulkio"
	"github.com/postern-dev/postern/splice"
	"github.com/postern-dev/postern/transport"
	"github.com/postern-dev/postern/transport/outward"
	"github.com/postern-dev/postern/transport/overhttp"
)

// Dialer returns a Dialer for URLs of web listeners. Proxies are asked to connect (CONNECT, SOCKS5) for http URLs too: what
// they do with an Upgrade is anybody's guess (RFC 6455 §4.1).
func Dialer(opts transport.DialOptions) transport.Dialer { return &dialer{opts} }

type dialer struct{ opts transport.DialOptions }

// Dial connects, upgrades, has the relay prove itself and starts the streams; all of it within transport.HandshakeTimeout and ctx.
func (d *dialer) Dial(ctx context.Context, addr string) (transport.Conn, error) {
	u, err := transport.ParseWeb(addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, transport.HandshakeTimeout)
	defer cancel()
	outer, err := overhttp.Connect(ctx, u, d.opts)
	if err != nil {
		return nil, err
	}
	// Everything until the streams begin ends with ctx.
	stop := context.AfterFunc(ctx, func() { _ = outer.Conn.SetDeadline(time.Unix(1, 0)) }) // fails on closed sockets only
	defer stop()
	conn, err := d.upgrade(ctx, u, outer)
	if err == nil && !stop() {
		_ = conn.CloseWithError(postern.Aborted, "given up") // always nil
		err = context.Cause(ctx)
	}
	if err != nil {
		if ctx.Err() != nil {
			relay := outward.Relay{Addr: transport.HostPort(u), Listener: outward.WebListener}
			err = relay.Ended(ctx, context.Cause(ctx))
		}
		return nil, err
	}
	return conn, nil
}

// upgrade asks for the WebSocket and makes a connection of it. It owns outer.
func (d *dialer) upgrade(ctx context.Context, u *url.URL, outer *overhttp.Outer) (transport.Conn, error) {
	r := &road{beneath: bulkio.New(outer.Conn)}
	var protocols []string
	for _, alpn := range d.opts.TLS.NextProtos {
		protocols = append(protocols, overhttp.Token(alpn))
	}
	at := u.JoinPath(Path)
	ws, resp, err := websocket.Dial(ctx, at.String(), &websocket.DialOptions{
		HTTPClient: &http.Client{
			Transport:     &once{r.beneath},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		HTTPHeader:      http.Header{"User-Agent": {"postern"}},
		Subprotocols:    protocols,
		CompressionMode: websocket.CompressionDisabled, // what is inside is encrypted, or compressed by those who care
		OnPingReceived:  r.answerPing,
	})
	if err != nil {
		splice.Abort(outer.Conn)
		return nil, dialError(at, resp, err)
	}
	r.ws = ws
	ws.SetReadLimit(maxReceived)
	if len(protocols) > 0 && ws.Subprotocol() != protocols[0] {
		splice.Abort(r)
		return nil, postern.Errorf(postern.Unreachable, postern.HopRelay, "what answers at %s does not speak %s; is it a relay?", at, protocols[0])
	}
	// ctx ends the handshake by a deadline; crypto/tls would close r, and that takes time to say goodbye.
	return overhttp.Client(context.WithoutCancel(ctx), r, overhttp.Session{
		Transport: Name, URL: u, Options: d.opts, TLS: outer.TLS, Proved: outer.Proved,
	})
}

// dialError says why there is no WebSocket.
func dialError(at *url.URL, resp *http.Response, err error) error {
	if resp == nil {
		return postern.Errorf(postern.Unreachable, postern.HopRelay, "what answers at %s is no web server: %w", at, err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return postern.Errorf(postern.Unreachable, postern.HopRelay, "what answers at %s is no relay: %w", at, err)
	}
	var text []byte
	if resp.Body != nil {
		// It is at most the 1 KiB that websocket.Dial has kept.
		text, _ = io.ReadAll(resp.Body)
	}
	return overhttp.StatusError(at, resp, string(text))
}

// once sends one request over a connection that exists, and leaves the connection to whoever reads the answer's body.
type once struct{ conn *bulkio.Conn }

// maxAnswer bounds the head of the answer.
const maxAnswer = 64 << 10

// RoundTrip implements http.RoundTripper.
func (o *once) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Write(o.conn); err != nil {
		return nil, err
	}
	head := &io.LimitedReader{R: o.conn, N: maxAnswer}
	r := bufio.NewReader(head)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		if head.N <= 0 {
			err = errors.New("the head of its answer is too long")
		}
		return nil, err
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		ahead, err := r.Peek(r.Buffered())
		if err != nil {
			return nil, err
		}
		o.conn.Unread(bytes.Clone(ahead))
		resp.Body = o.conn
	}
	return resp, nil
}
