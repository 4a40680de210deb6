// Package connect is the ingress for HTTP clients: a forward proxy with CONNECT and absolute-form requests (RFC 9110 §7.6,
// RFC 9112 §3.2.2) over HTTP/1.
//
//	curl --proxy http://relay:3128 --proxy-user nas:TOKEN https://10.0.0.7/    CONNECT 10.0.0.7:443
//	curl --proxy http://relay:3128 --proxy-user nas:TOKEN http://web.service/  GET http://web.service/
//
// HTTP/2 is not spoken: Go's server for it cannot half-close the answer of a CONNECT.
//
//	server := &ingress.Server{Protocol: connect.New(connect.Options{}), Opener: router, Auth: chain}
package connect

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/ingress/httphead"
)

// Name is the kind of this ingress.
const Name = "connect"

// Options configure the ingress. The zero value asks every client for a user and a password.
type Options struct {
	// Agent, if set, is the agent that all clients reach, and nobody is asked for credentials. The server's Auth has to be nil then.
	Agent postern.AgentID
	// Identity is on whose behalf that is; nil: nobody in particular.
	Identity *postern.Identity
}

// Protocol implements ingress.Protocol. It may be used concurrently.
type Protocol struct{ options Options }

var _ ingress.Protocol = (*Protocol)(nil)

// New returns the ingress.
func New(o Options) *Protocol { return &Protocol{o} }

// Name implements ingress.Protocol.
func (p *Protocol) Name() string { return Name }

// keepAlive is how long a client may keep its connection without a request.
const keepAlive = 90 * time.Second

// Handshake implements ingress.Protocol: it serves absolute-form requests until the client asks for a tunnel or has no more.
func (p *Protocol) Handshake(ctx context.Context, c *ingress.Conn, env *ingress.Server) (ingress.Call, error) {
	for {
		head, err := httphead.Read(c.Reader(), httphead.Limits{})
		if err != nil {
			return nil, refuse(c, nil, err)
		}
		if head.Method == http.MethodConnect {
			return p.call(c, env, head)
		}
		if err := p.forward(ctx, c, env, head); err != nil {
			return nil, err
		}
		if err := c.Await(keepAlive); err != nil {
			// An idle client that leaves, or is sent away, is the normal end.
			return nil, ingress.ErrServed
		}
	}
}

// call makes a Call of a CONNECT request.
func (p *Protocol) call(c *ingress.Conn, env *ingress.Server, head *httphead.Head) (ingress.Call, error) {
	target, err := tunnelTarget(head.Target)
	if err != nil {
		return nil, refuse(c, head, err)
	}
	wish, err := p.wish(c, env, head, target)
	if err != nil {
		return nil, refuse(c, head, err)
	}
	return &call{c: c, head: head, wish: wish}, nil
}

// tunnelTarget reads the authority of a CONNECT, RFC 9112 §3.2.3. A service needs no port.
func tunnelTarget(authority string) (postern.Target, error) {
	target, err := postern.HostPortTarget(postern.TCP, authority)
	if err == nil || strings.Contains(authority, "/") {
		return target, err
	}
	if service, serr := postern.ParseTarget(authority); serr == nil && service.Network == postern.Service {
		return service, nil
	}
	if _, herr := postern.CanonicalHost(authority); herr == nil {
		return target, postern.Errorf(postern.BadAddress, postern.HopRelay, "the target has no port; write CONNECT %s:443", authority)
	}
	return target, err
}

// wish is what head asks for, and on whose behalf.
func (p *Protocol) wish(c *ingress.Conn, env *ingress.Server, head *httphead.Head, target postern.Target) (ingress.Wish, error) {
	wish := ingress.Wish{Agent: p.options.Agent, Target: target, Identity: p.options.Identity}
	if p.options.Agent != "" {
		return wish, nil
	}
	// Before anything is asked for: a 407 would make the client send its password where it can be read.
	if err := env.Confidential(c); err != nil {
		return wish, err
	}
	fields := head.Values("Proxy-Authorization")
	if len(fields) > 1 {
		return wish, postern.Errorf(postern.BadAddress, postern.HopRelay, "the request has more than one Proxy-Authorization")
	}
	if len(fields) == 0 {
		return wish, nil
	}
	user, secret, ok := basicAuth(fields[0])
	if !ok {
		return wish, nil
	}
	if user != "" {
		agent, err := ingress.AgentOf(user)
		if err != nil {
			// No such name can exist; it is as good as none.
			return wish, nil
		}
		wish.Agent = agent
	}
	wish.Credential = &auth.Credential{Role: postern.RoleClient, User: user, Secret: secret}
	return wish, nil
}

// basicAuth reads "Basic BASE64", RFC 7617.
func basicAuth(field string) (user, secret string, ok bool) {
	r := http.Request{Header: http.Header{"Authorization": {field}}}
	return r.BasicAuth()
}

// refuse answers what is no acceptable request, and returns err. Whoever sent nothing gets nothing.
func refuse(c *ingress.Conn, head *httphead.Head, err error) error {
	a := answer{trace: ingress.NewTrace(), closing: true, head: head}
	if malformed, ok := errors.AsType[*httphead.Error](err); ok {
		a.err, a.status = postern.Errorf(postern.BadCommand, postern.HopRelay, "%s", malformed.Reason), malformed.Status
	} else if e, ok := errors.AsType[*postern.Error](err); ok {
		a.err = e
	} else if errors.Is(err, os.ErrDeadlineExceeded) && c.Reader().Buffered() > 0 {
		a.err, a.status = postern.Errorf(postern.Timeout, postern.HopClient, "the request did not arrive in time"), http.StatusRequestTimeout
	} else {
		return err
	}
	return errors.Join(err, a.write(c))
}
