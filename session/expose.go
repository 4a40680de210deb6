package session

import (
	"context"

	"github.com/postern-dev/postern"
)

// Expose is an agent's wish for a public port on the relay.
type Expose struct {
	Network postern.Network // TCP
	Port    uint16          // 0: any free one
	Target  postern.Target  // what the port leads to, on the agent's side
}

// Expose asks the relay to open a public port for as long as the session lives, and returns its address. Errors are *Error: Denied
// when the token does not allow the port, Conflict when somebody holds it, BadCommand when the relay has none.
func (s *Session) Expose(ctx context.Context, e Expose) (address string, err error) {
	m := &control{Type: ctlExpose, Network: string(e.Network), Port: e.Port, Target: e.Target.Address()}
	r, err := s.request(ctx, m)
	if err != nil {
		return "", err
	}
	if err := errorFromWire(r.Kind, string(postern.HopRelay), r.Detail); err != nil {
		return "", err
	}
	return r.Address, nil
}

// expose answers an Expose of the far end.
func (s *Session) expose(ctx context.Context, m control) error {
	r := &control{Type: ctlExposed, ID: m.ID}
	target, err := postern.ParseTarget(m.Target)
	if err == nil && s.onExpose == nil {
		err = postern.Errorf(postern.BadCommand, postern.HopRelay, "this side opens no ports")
	}
	if err == nil {
		r.Address, err = s.onExpose(ctx, Expose{Network: postern.Network(m.Network), Port: m.Port, Target: target})
	}
	if err != nil {
		a := answerTo(err, postern.HopRelay)
		r.Kind, r.Detail = a.Kind, a.Detail
	}
	return s.send(r)
}
