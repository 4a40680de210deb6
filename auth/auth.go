// Package auth turns a credential into an identity and what it may do.
//
// A method is a folder below this one and a line in auth/all. authtest.Run is the contract as a test.
//
//	chain := &auth.Chain{Methods: []auth.Method{jwtMethod}}
//	id, err := chain.Verify(ctx, auth.Credential{Role: postern.RoleClient, User: "nas", Secret: password, Remote: addr})
package auth

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/postern-dev/postern"
)

// Credential is what somebody shows to prove who they are. Secret is never logged.
type Credential struct {
	// Role is the side it is used on: RoleAgent for a session's hello, RoleClient for an ingress, others for the API.
	Role postern.Role
	// User is the name that goes with it: the proxy user name, or the id that an agent claims. For clients it is
	// AGENT or USER+AGENT, as the client wrote it.
	User string
	// Secret is a token, a key or a password.
	Secret string
	// Instance is the random value of the peer's process, from a session's hello.
	Instance string
	// TLS is the state of the connection it came over; nil without TLS.
	TLS *tls.ConnectionState
	// Remote is where it came from.
	Remote net.Addr
}

// Method verifies one kind of credential. Methods may be used concurrently.
type Method interface {
	// Verify returns who it is. ErrNotMine means that the credential is of another kind and the next method shall try; every other
	// error is final and an *Error of kind Unauthenticated whose detail may be shown to the peer: it must not tell
	// whether a name exists. The identity's Role equals c.Role, and for RoleAgent it stands for exactly one agent.
	Verify(ctx context.Context, c Credential) (*postern.Identity, error)
}
