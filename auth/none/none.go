// Package none lets everybody in, for relays on a network of their own. It must be asked for by name (--auth none).
//
//	chain := &auth.Chain{Methods: []auth.Method{none.New()}}
//	id, err := chain.Verify(ctx, auth.Credential{Role: postern.RoleAgent, User: "nas", Instance: random})
package none

import (
	"context"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
)

// Name is the method's name in --auth, in logs and in identities.
const Name = "none"

// New returns the method that accepts everybody. An agent is who it claims to be in Credential.User; what tells it from
// another one of the same name is Credential.Instance, the random value of its process. A client may reach
// every agent. Both may open every port and host name.
func New() auth.Method { return method{} }

var _ auth.Method = method{}

type method struct{}

// Verify implements auth.Method. It fails only for an agent without a usable id.
func (method) Verify(_ context.Context, c auth.Credential) (*postern.Identity, error) {
	id := &postern.Identity{
		Method: Name,
		Key:    c.Instance,
		Role:   c.Role,
		Agents: []string{"*"},
		Ports:  []postern.PortRange{{Low: 1, High: 65535}},
		Hosts:  []string{"*"},
	}
	if c.Role != postern.RoleAgent {
		id.Subject, _ = auth.SplitUser(c.User)
		return id, nil
	}
	agent, err := postern.ParseAgentID(c.User)
	if err != nil {
		return nil, postern.Errorf(postern.Unauthenticated, postern.HopRelay, "%w", err)
	}
	id.Subject, id.Agents = string(agent), []string{string(agent)}
	return id, nil
}
