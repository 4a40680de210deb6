// Package viaproxy opens TCP connections to relays, through a proxy where the operator or the environment names one.
//
//	proxies, err := viaproxy.New("http://me:secret@proxy.example.com:3128", os.Getenv)
//	if err != nil {
//		return err // the URL, or one of the variables, is none of a proxy
//	}
//	conn, err := proxies.Dial(ctx, "https", "relay.example.com:443")
//
// It speaks HTTP CONNECT (RFC 9110 §9.3.6) with Basic credentials, in clear or over TLS, and SOCKS5 (RFC 1928, RFC 1929).
// Names are resolved by the proxy: behind a firewall it is often the only one who can.
package viaproxy

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Off as the operator's word means that there is no proxy, whatever the environment says.
const Off = "off"

// Proxies say which proxy leads where. The zero value, and nil, lead everywhere directly. Nothing in it changes: it may be used
// concurrently.
type Proxies struct {
	always *url.URL            // the operator's word
	by     map[string]*url.URL // the environment's, by scheme of the address
	except bypass
	roots  *x509.CertPool // whom https proxies are checked with; nil: the system's
}

// New returns the proxies to use: the one that said names, or none if it is Off, or those of the environment's variables
// HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, in lower or upper case, as curl reads them. A nil getenv has no variables.
func New(said string, getenv func(string) string) (*Proxies, error) {
	switch said {
	case Off:
		return nil, nil
	case "":
		return environment(getenv)
	}
	u, err := Parse(said)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	return &Proxies{always: u}, nil
}

// environment reads the variables. HTTP_PROXY in upper case counts too: nobody sets our environment by the fields of a request.
func environment(getenv func(string) string) (*Proxies, error) {
	if getenv == nil {
		return nil, nil
	}
	either := func(name string) (string, string) {
		if lower := strings.ToLower(name); getenv(lower) != "" {
			return lower, getenv(lower)
		}
		return name, getenv(name)
	}
	p := &Proxies{by: make(map[string]*url.URL)}
	for scheme, variable := range map[string]string{"http": "HTTP_PROXY", "https": "HTTPS_PROXY"} {
		name, value := either(variable)
		if value == "" {
			name, value = either("ALL_PROXY")
		}
		if value == "" {
			continue
		}
		u, err := Parse(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		p.by[scheme] = u
	}
	_, except := either("NO_PROXY")
	p.except = parseBypass(except)
	return p, nil
}

// Parse reads the URL of a proxy: http, https, socks5, socks5h or socks://[user:password@]host[:port], or host:port for http. The error
// shows nothing of it but the scheme: who forgets to write an @ as %40 has parts of the password anywhere.
func Parse(s string) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("that is not the URL of a proxy; write http://host:port or socks5://host:port, and %40 for an @ in a password")
	}
	if u.Scheme == "socks" {
		u.Scheme = "socks5" // as desktops write it
	}
	port, ok := map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	switch {
	case !ok:
		return nil, fmt.Errorf("%s is not a kind of proxy that can be used; there are http, https and socks5", u.Scheme)
	case u.Hostname() == "":
		return nil, errors.New("the URL of the proxy names no host")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("the URL of the proxy has more than a host and a port; write %40, %23, %2F and %3F for @, #, / and ? in a password")
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), port)
	}
	u.Path = ""
	return u, nil
}

// Redacted is what may be shown of a proxy's URL: everything but its password. What is no such URL shows nothing.
func Redacted(s string) string {
	if u, err := Parse(s); err == nil {
		return u.Redacted()
	}
	return "(not a proxy)"
}

// Always is whether the operator has named a proxy that everything is to go through.
func (p *Proxies) Always() bool { return p != nil && p.always != nil }

// For returns the proxy on the way to addr, host:port, which is spoken to by scheme http or https; nil: there is none. Where it
// is an HTTP proxy, clients of plain http may also send it their requests with the whole URL (RFC 9112 §3.2.2).
func (p *Proxies) For(scheme, addr string) *url.URL {
	switch {
	case p == nil:
		return nil
	case p.always != nil:
		return p.always
	case p.except.covers(addr):
		return nil
	}
	return p.by[scheme]
}

// Dial connects to addr, host:port, which will be spoken to by scheme http or https. Without a proxy its errors are those of
// net.Dialer; what is the proxy's fault is an *Error that names it.
func (p *Proxies) Dial(ctx context.Context, scheme, addr string) (net.Conn, error) {
	proxy := p.For(scheme, addr)
	if proxy == nil {
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}
	conn, err := p.through(ctx, proxy, addr)
	if err != nil {
		return nil, &Error{Proxy: proxy.Redacted(), Addr: addr, Err: err, Timeout: ctx.Err() != nil}
	}
	return conn, nil
}

// Error is a way through a proxy that failed.
type Error struct {
	Proxy   string // its URL, without a password
	Addr    string // what was to be reached
	Err     error
	Timeout bool // it took too long, or was given up
}

// Error names the proxy and says what it did.
func (e *Error) Error() string {
	return fmt.Sprintf("no way to %s through the proxy %s: %v", e.Addr, e.Proxy, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
