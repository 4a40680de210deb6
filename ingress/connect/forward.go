package connect

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/ingress/httphead"
	"github.com/postern-dev/postern/splice"
)

// forward serves one absolute-form request, in the order bytes meet it: read the URL, authorise, open, send the request, relay the
// response. It returns nil if the connection is good for another request.
//
// Each request has a stream of its own, so that nothing of one target, agent or identity can be left over for another. We do not
// write a Via, though RFC 9110 §7.6.3 wants one: servers take it as a reason not to compress.
func (p *Protocol) forward(ctx context.Context, c *ingress.Conn, env *ingress.Server, head *httphead.Head) error {
	req, target, err := absolute(head)
	if err != nil {
		return refuse(c, head, err)
	}
	wish, err := p.wish(c, env, head, target)
	if err != nil {
		return refuse(c, head, err)
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return err
	}
	stream := env.NewStream(c, wish)
	upstream, err := open(ctx, c, env, wish, stream)
	if err != nil {
		env.Failed(ctx, stream, err)
		return rejectRequest(c, head, stream.Trace, err)
	}
	x := &exchange{c: c, env: env, head: head, stream: stream, upstream: upstream, body: httphead.NewBody(c.Reader(), head)}
	result, err := x.run(ctx, req)
	if _, unanswered := errors.AsType[*postern.Error](err); unanswered && !x.reply.begun() {
		env.Failed(ctx, stream, err)
		a := answer{err: err, trace: stream.Trace, head: head, closing: true}
		return errors.Join(ingress.ErrServed, a.write(c))
	}
	result.Duration = time.Since(stream.Started)
	env.End(ctx, stream, result)
	return err
}

// open authorises the request and opens its stream.
func open(ctx context.Context, c *ingress.Conn, env *ingress.Server, w ingress.Wish, stream *ingress.Stream) (postern.Stream, error) {
	if err := env.Authorise(ctx, c, w, stream); err != nil {
		return nil, err
	}
	// The end of a request is no sign that its client has left.
	ctx, stop := c.Watch(ctx, 0)
	defer stop()
	return env.Open(ctx, stream)
}

// rejectRequest answers a request that came to nothing. After a 407 the client may try again on the same connection.
func rejectRequest(c *ingress.Conn, head *httphead.Head, trace string, err error) error {
	bodiless := !head.Chunked && head.ContentLength == 0
	retry := bodiless && mayRetry(c, head, err)
	a := answer{err: err, trace: trace, head: head, closing: !retry}
	if werr := a.write(c); werr != nil {
		return werr
	}
	if retry {
		return ingress.ErrAgain
	}
	return ingress.ErrServed
}

// absolute reads a request in absolute form and the target it names. Others get a hint, as people meet this when they
// point something at the wrong port.
func absolute(head *httphead.Head) (*http.Request, postern.Target, error) {
	scheme, rest, ok := strings.Cut(head.Target, "://")
	switch {
	case !ok:
		return nil, postern.Target{}, hint("this is a proxy, not a web server; use it as in: curl --proxy http://HOST:PORT --proxy-user AGENT:TOKEN URL")
	case strings.EqualFold(scheme, "https"):
		return nil, postern.Target{}, hint("https goes through CONNECT; ask for CONNECT HOST:443 and speak TLS inside")
	case !strings.EqualFold(scheme, "http"):
		return nil, postern.Target{}, hint("only http:// can be forwarded; use CONNECT for everything else")
	case strings.Contains(rest, "#"):
		return nil, postern.Target{}, hint("the URL has a fragment, which is never sent (RFC 9112 section 3.2.2)")
	}
	req, err := head.Request()
	if err != nil {
		return nil, postern.Target{}, err
	}
	target, err := urlTarget(req.URL)
	if err != nil {
		return nil, postern.Target{}, err
	}
	// The path goes on as it came, in whatever spelling: what is routed here is only the host. A path that begins
	// with two slashes would be taken for a host in this place.
	raw := rest[strings.IndexAny(rest+"/", "/?"):]
	path, _, _ := strings.Cut(raw, "?")
	if strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") {
		req.URL.Opaque = path
	}
	return req, target, nil
}

func urlTarget(u *url.URL) (postern.Target, error) {
	port := u.Port()
	if port == "" {
		port = "80"
	}
	return postern.HostPortTarget(postern.TCP, net.JoinHostPort(u.Hostname(), port))
}

func hint(s string) error { return postern.Errorf(postern.BadCommand, postern.HopRelay, "%s", s) }

// ended is the result of an exchange for the log.
func (x *exchange) ended(reason splice.Reason, err error) splice.Result {
	return splice.Result{
		Sent: x.stream.Counts.Sent.Load(), Received: x.stream.Counts.Received.Load(), Reason: reason, Err: err,
	}
}
