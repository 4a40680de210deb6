package connect

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/ingress/httphead"
	"github.com/postern-dev/postern/splice"
)

// exchange is one request to a target and its response.
type exchange struct {
	c        *ingress.Conn
	env      *ingress.Server
	head     *httphead.Head
	stream   *ingress.Stream
	upstream postern.Stream
	body     *httphead.Body
	reply    reply
}

// What a target's answer may cost before its body.
const (
	maxResponseHead   = 256 << 10
	continueTimeout   = time.Second // for a target that does not know Expect: 100-continue
	switchingProtocol = http.StatusSwitchingProtocols
)

// errNoHTTP is for targets that speak something else, or broke off.
func errNoHTTP(err error) error {
	return &postern.Error{Kind: postern.Aborted, Hop: postern.HopTarget, Detail: "the target's answer is incomplete or no HTTP", Err: err}
}

// errGone ends the exchange when the client is no longer there.
var errGone = errors.New("the client is gone")

// run sends the request and relays the response. An *Error before the reply has begun is to be told to the client; nil means that
// the connection is good for another request.
func (x *exchange) run(ctx context.Context, in *http.Request) (splice.Result, error) {
	ctx, unbound := x.env.Bound(ctx, x.stream)
	defer unbound()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	x.reply.c, x.reply.modern = x.c, x.head.Minor == 1

	conn := newCounted(x.upstream, &x.stream.Counts, ctx.Err)
	transport := x.transport(conn)
	defer transport.CloseIdleConnections()
	body := &requestBody{Body: x.body, reply: &x.reply, expected: hasToken(x.head.Values("Expect"), "100-continue"), failed: cancel, ended: make(chan struct{})}
	x.body.OnLast = func() { body.hurry(x.c) }
	if x.body.Done() {
		close(body.ended)
	}
	stop := x.watchClient(body.ended, cancel)
	defer stop()
	defer body.halt(x.c)
	// Whatever became of it was told before; this only frees it.
	defer func() { _ = x.upstream.Close() }()

	out := x.request(ctx, in, body)
	resp, err := transport.RoundTrip(out)
	if err != nil {
		x.upstream.Abort(postern.Aborted)
		return x.ended(splice.BAborted, err), x.why(ctx, body, err)
	}
	conn.named.restore(resp.Header)
	// What is left of the response is of no use to anybody.
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == switchingProtocol {
		stop()
		return x.switchTo(ctx, out, resp, conn)
	}
	if blame, err := x.relay(resp, body); err != nil {
		cancel(errGone)
		x.upstream.Abort(postern.Aborted)
		x.c.Abort(postern.Aborted)
		return x.ended(blame, err), ingress.ErrServed
	}
	if !x.reply.keep {
		return x.ended(splice.Done, nil), ingress.ErrServed
	}
	return x.ended(splice.Done, nil), nil
}

// transport sends the one request over conn.
func (x *exchange) transport(conn net.Conn) *http.Transport {
	return &http.Transport{
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxResponseHead,
		ExpectContinueTimeout:  continueTimeout,
	}
}

// request is what the target gets.
func (x *exchange) request(ctx context.Context, in *http.Request, body *requestBody) *http.Request {
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		x.reply.informational(code, http.Header(h))
		return nil
	}}
	out := in.Clone(httptrace.WithClientTrace(ctx, trace))
	upgrade := upgradeOf(out.Header)
	removeHopByHop(out.Header)
	out.RequestURI, out.Close, out.TransferEncoding, out.Trailer = "", false, nil, nil
	out.ContentLength, out.Body = x.head.ContentLength, http.NoBody
	switch {
	case x.head.Chunked:
		out.ContentLength, out.Body = -1, body
		out.Trailer = announced(in.Trailer)
		body.trailer = out.Trailer
	case x.head.ContentLength > 0:
		out.Body = body
	case upgrade != "" && x.head.Minor == 1:
		setUpgrade(out.Header, upgrade)
	}
	if out.Body == http.NoBody || x.head.Minor == 0 {
		out.Header.Del("Expect")
	}
	if _, ok := out.Header["User-Agent"]; !ok {
		out.Header.Set("User-Agent", "") // or net/http writes its own
	}
	return out
}

// announced are the trailers that the client has announced, without those that may not be passed on.
func announced(h http.Header) http.Header {
	h = h.Clone()
	cleanTrailer(h)
	return h
}

// why finds the reason of a failed exchange.
func (x *exchange) why(ctx context.Context, body *requestBody, err error) error {
	cause := context.Cause(ctx)
	if malformed, ok := errors.AsType[*httphead.Error](cause); ok {
		return postern.Errorf(postern.BadCommand, postern.HopRelay, "%s", malformed.Reason)
	}
	if e, ok := errors.AsType[*postern.Error](cause); ok {
		return e
	}
	if errors.Is(cause, errGone) || body.broken() {
		x.c.Abort(postern.Aborted)
		return ingress.ErrServed
	}
	return errNoHTTP(err)
}

// switchTo makes a tunnel of the exchange after a 101, RFC 9110 §15.2.2.
func (x *exchange) switchTo(ctx context.Context, out *http.Request, resp *http.Response, conn *counted) (splice.Result, error) {
	tunnel, ok := resp.Body.(io.ReadWriteCloser)
	if upgradeOf(out.Header) == "" || !ok {
		x.upstream.Abort(postern.Aborted)
		return x.ended(splice.BAborted, nil), errNoHTTP(errors.New("101 without having been asked"))
	}
	upgrade := upgradeOf(resp.Header)
	removeHopByHop(resp.Header)
	setUpgrade(resp.Header, upgrade)
	if err := x.reply.switching(resp.Header); err != nil {
		x.upstream.Abort(postern.Aborted)
		return x.ended(splice.AAborted, err), ingress.ErrServed
	}
	conn.counts = nil // Join counts
	return x.env.Join(ctx, x.c.Stream(), &upgraded{x.upstream, tunnel}, x.stream), ingress.ErrServed
}

// upgraded is the target's stream after a 101: what net/http has read ahead comes first.
type upgraded struct {
	postern.Stream
	r io.Reader
}

func (u *upgraded) Read(p []byte) (int, error) { return u.r.Read(p) }

// watchClient ends the exchange when the client leaves while its response is awaited. A client that only half-closes gets some
// time for that: nobody can tell it from one that has left. stop ends the watch; the connection can be read again then.
func (x *exchange) watchClient(sent <-chan struct{}, cancel context.CancelCauseFunc) (stop func()) {
	const halfClosed = 15 * time.Second
	var watcher sync.WaitGroup
	finished := make(chan struct{})
	watcher.Go(func() {
		select {
		case <-sent:
		case <-finished:
			return
		}
		_, err := x.c.Reader().Peek(1)
		select {
		case <-finished:
			return
		default:
		}
		if errors.Is(err, io.EOF) {
			waitQuiet(&x.stream.Counts, halfClosed, finished)
		}
		if err != nil {
			cancel(errGone)
		}
	})
	return sync.OnceFunc(func() {
		close(finished)
		// Both fail on a closed connection only, where nobody waits.
		_ = x.c.SetReadDeadline(time.Unix(1, 0))
		watcher.Wait()
		_ = x.c.SetReadDeadline(time.Time{})
	})
}

// waitQuiet returns when nothing has passed for d, or finished is closed.
func waitQuiet(counts *splice.Counts, d time.Duration, finished <-chan struct{}) {
	ticker := time.NewTicker(d)
	defer ticker.Stop()
	for last := int64(-1); ; {
		now := counts.Sent.Load() + counts.Received.Load()
		if now == last {
			return
		}
		last = now
		select {
		case <-ticker.C:
		case <-finished:
			return
		}
	}
}

// relay sends the response to the client, each part as soon as it is there. If that fails it tells who is to blame.
func (x *exchange) relay(resp *http.Response, body *requestBody) (splice.Reason, error) {
	draining := false
	select {
	case <-x.c.Draining():
		draining = true
	default:
	}
	x.reply.keep = body.finished() && persistent(x.head) && !draining
	removeHopByHop(resp.Header)
	cleanTrailer(resp.Trailer)
	resp.Close, resp.TransferEncoding = !x.reply.keep, nil
	resp.Proto, resp.ProtoMajor, resp.ProtoMinor = "HTTP/1.1", 1, 1
	if resp.ContentLength < 0 && x.head.Minor == 1 {
		resp.TransferEncoding = []string{"chunked"}
	}
	if x.head.Minor == 0 {
		resp.Trailer = nil
	}
	if oneLine(resp.Status) != resp.Status {
		resp.Status = ""
	}
	out := bufio.NewWriterSize(x.c, 4<<10)
	content := &responseBody{ReadCloser: resp.Body, out: out, trailer: resp.Trailer}
	resp.Body = content
	x.reply.begin()
	// Without its ReadFrom, which would hold on to the buffer that content flushes.
	err := resp.Write(struct{ io.Writer }{out})
	if err == nil {
		err = out.Flush()
	}
	if content.failed {
		return splice.BAborted, err
	}
	return splice.AAborted, err
}
