package ingress

import (
	"context"
	"strings"

	"github.com/postern-dev/postern"
)

// Authorise finds out who the client is and whether it may have what it wishes. It fills in stream's agent and identity, and counts
// the stream against its credential until End or Failed. Errors are *Error: Unauthenticated for everything that a
// stranger may do wrong, without a word on whether the agent exists; Denied; Limited.
func (s *Server) Authorise(ctx context.Context, c *Conn, w Wish, stream *Stream) error {
	id, err := s.identify(ctx, c, w)
	if err != nil {
		return err
	}
	c.authenticated()
	stream.Identity, stream.known = id, true
	if stream.Agent, err = agentOf(w, id); err != nil {
		return err
	}
	return s.begin(stream)
}

// identify verifies the credential of a wish.
func (s *Server) identify(ctx context.Context, c *Conn, w Wish) (*postern.Identity, error) {
	if s.Auth == nil {
		return w.Identity, nil
	}
	if w.Verified != nil {
		return w.Verified, nil
	}
	if w.Credential == nil {
		return nil, postern.Errorf(postern.Unauthenticated, postern.HopRelay, "no credential was given")
	}
	if err := s.Confidential(c); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, AuthTimeout, errAuthTimeout)
	defer cancel()
	credential := *w.Credential
	credential.Role, credential.TLS, credential.Remote = postern.RoleClient, c.TLS(), c.RemoteAddr()
	id, err := s.Auth.Verify(ctx, credential)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return id, err
}

var errAuthTimeout = &postern.Error{
	Kind: postern.Timeout, Hop: postern.HopRelay, Detail: "checking the credential took too long",
}

// Confidential reports whether credentials may be sent over c, as an *Error of kind Denied that says what to do instead. Protocols that
// ask for credentials check it before they ask.
func (s *Server) Confidential(c *Conn) error {
	if s.Auth == nil || s.Cleartext || c.Private() {
		return nil
	}
	return postern.Errorf(postern.Denied, postern.HopRelay,
		"credentials are not accepted in clear; connect with TLS to the same port, or set cleartext: true for the listener")
}

// agentOf is the agent that a client wants, if it may reach it.
func agentOf(w Wish, id *postern.Identity) (postern.AgentID, error) {
	agent := w.Agent
	if agent == "" && id != nil && len(id.Agents) == 1 && !strings.ContainsAny(id.Agents[0], `*?[\`) {
		agent = postern.AgentID(id.Agents[0])
	}
	if agent == "" {
		return "", postern.Errorf(postern.Unauthenticated, postern.HopRelay, "no agent was named; the user name is AGENT or USER+AGENT")
	}
	// Without a credential nobody's rights are limited: the agent was fixed by whoever set the ingress up.
	if w.Credential != nil && id != nil && !id.MayReach(agent) {
		return "", postern.Errorf(postern.Denied, postern.HopRelay, "the credential is not for the agent %q", string(agent))
	}
	return agent, nil
}

// AgentOf returns the agent that a proxy user name stands for: what follows its last plus, or all of it. The error is an *Error
// of kind BadAddress.
func AgentOf(user string) (postern.AgentID, error) {
	return postern.ParseAgentID(user[strings.LastIndexByte(user, '+')+1:])
}
