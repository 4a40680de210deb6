package egress

import (
	"net/netip"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/egress/allow"
)

// policy is all the rules for one request. The zero value permits everything: it is for addresses of declared services.
type policy struct {
	own     *allow.Set   // restricts what is not a declared service; meaningful only if checked
	checked bool         // whether own counts
	others  []*allow.Set // of the relay and the token, none of them empty
}

// newPolicy reads the rule sets of a request. One that cannot be read permits nothing: it may be from a newer relay.
func newPolicy(own *allow.Set, sets [][]string) (policy, error) {
	p := policy{own: own, checked: true}
	for _, patterns := range sets {
		if len(patterns) == 0 {
			continue
		}
		set, err := allow.Parse(patterns)
		if err != nil {
			return policy{}, &postern.Error{
				Kind: postern.Denied, Hop: postern.HopAgent,
				Detail: "the agent cannot read the rules of the relay or the token", Err: err,
			}
		}
		p.others = append(p.others, set)
	}
	return p, nil
}

// may fails when no address of t could be permitted, so that names nobody may reach are not even looked up.
func (p policy) may(t postern.Target) error {
	return p.all(t, func(s *allow.Set) bool { return s.May(t) })
}

// permits decides about the address that is dialled.
func (p policy) permits(t postern.Target, addr netip.Addr) error {
	return p.all(t, func(s *allow.Set) bool { return s.Permits(t, addr) })
}

func (p policy) all(t postern.Target, permitted func(*allow.Set) bool) error {
	if p.checked && t.Network != postern.Service && !permitted(p.own) {
		return postern.Errorf(postern.Denied, postern.HopAgent, "the agent's rules do not allow %s", t)
	}
	for _, set := range p.others {
		if !permitted(set) {
			return postern.Errorf(postern.Denied, postern.HopAgent, "the rules of the relay or the token do not allow %s", t)
		}
	}
	return nil
}
