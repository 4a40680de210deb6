package relay

import (
	"context"
	"fmt"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/egress/allow"
)

// policy is the relay's part of the rules: it refuses what no rule of the relay or of the token could permit, and sends the rules
// along, because only the agent knows the address that a name leads to.
type policy struct {
	rules *allow.Set // the relay's own; empty: what tokens permit
	next  postern.Opener
}

// Open checks req and passes it on with the rules that the agent has to apply.
func (p *policy) Open(ctx context.Context, req *postern.Request) (postern.Stream, error) {
	checked := *req
	checked.Allow = nil
	if id := req.Identity; id != nil {
		// Ingresses have checked the agent that the client's credential names; a program's session names one for each stream.
		if id.Role == postern.RoleClient && !id.MayReach(req.Agent) {
			return nil, postern.Errorf(postern.Denied, postern.HopRelay, "the credential does not permit agent %s", req.Agent)
		}
		if len(id.Targets) > 0 {
			set, err := allow.Parse(id.Targets)
			if err != nil {
				return nil, postern.Errorf(postern.Denied, postern.HopRelay, "the credential has malformed targets: %w", err)
			}
			if err := may(set, req.Target, "the credential does"); err != nil {
				return nil, err
			}
			checked.Allow = append(checked.Allow, id.Targets)
		}
	}
	if !p.rules.Empty() {
		if err := may(p.rules, req.Target, "the relay's rules do"); err != nil {
			return nil, err
		}
		// All of them may be more than an open frame holds; those that cannot decide about this target are of no use there.
		checked.Allow = append(checked.Allow, p.rules.For(req.Target))
	}
	return p.next.Open(ctx, &checked)
}

func may(set *allow.Set, t postern.Target, who string) error {
	if set.May(t) {
		return nil
	}
	return &postern.Error{Kind: postern.Denied, Hop: postern.HopRelay, Detail: fmt.Sprintf("%s not permit %s", who, t)}
}
