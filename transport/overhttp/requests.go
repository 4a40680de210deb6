package overhttp

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"

	"github.com/postern-dev/postern/transport"
)

// Requests sends requests to a web listener, for sessions that take many of them. It is an http.RoundTripper; whoever made it closes its
// idle connections.
type Requests struct {
	*http.Transport
	url  *url.URL
	opts transport.DialOptions

	mu     sync.Mutex // guards what follows
	state  *tls.ConnectionState
	proved bool
}

// NewRequests returns what sends requests to the server of u. An HTTP proxy that opts name gets requests in clear as they are (RFC 9112
// §3.2.2), since many allow nothing else; every other proxy is asked to connect.
func NewRequests(u *url.URL, opts transport.DialOptions) *Requests {
	r := &Requests{url: u, opts: opts}
	r.Transport = &http.Transport{DialContext: r.dial, DialTLSContext: r.dialTLS}
	if proxy := opts.Proxies.For(u.Scheme, transport.HostPort(u)); proxy != nil && u.Scheme == "http" && proxy.Scheme != "socks5" && proxy.Scheme != "socks5h" {
		r.Transport.Proxy = http.ProxyURL(proxy)
		r.Transport.DialContext = (&net.Dialer{}).DialContext
	}
	return r
}

// Outer says how the connections are secured that there have been, of which there is at least one: nil and false in clear.
func (r *Requests) Outer() (state *tls.ConnectionState, proved bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state, r.proved
}

func (r *Requests) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return relayOf(r.url).Dial(ctx, r.url.Scheme, r.opts.Proxies)
}

// errOther is for a connection that leads to somebody else than the ones before it. Bytes in the middle of a session would be told to them.
var errOther = errors.New("the TLS of this connection is not the relay's own, as it was before")

func (r *Requests) dialTLS(ctx context.Context, _, _ string) (net.Conn, error) {
	outer, err := Connect(ctx, r.url, r.opts)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.state == nil:
		r.state, r.proved = outer.TLS, outer.Proved
	case r.proved && !outer.Proved:
		_ = outer.Conn.Close() // nothing was said
		return nil, errOther
	}
	return outer.Conn, nil
}
