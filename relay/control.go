package relay

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth/jwt"
	"github.com/postern-dev/postern/internal/control"
	"github.com/postern-dev/postern/internal/join"
	"github.com/postern-dev/postern/session"
)

// serveControl answers the commands that run beside the relay. Without a data folder there is no socket.
func (r *running) serveControl(ctx context.Context, g *errgroup.Group) {
	if r.lns.control == nil {
		return
	}
	g.Go(func() error { return r.lns.control.Serve(ctx, control.Handler(commands{r})) })
}

// commands answers the control socket.
type commands struct{ r *running }

// Agents implements control.Relay.
func (c commands) Agents(context.Context) ([]control.Agent, error) {
	var list []control.Agent
	for _, one := range c.r.router.Sessions() {
		s, ok := one.(*session.Session)
		if !ok {
			continue
		}
		stats, info := s.Stats(), s.Info()
		list = append(list, control.Agent{
			ID: string(s.Agent()), Transport: info.Transport, Address: info.Remote.String(), Version: s.Peer().Software,
			Since: s.Since(), Streams: int64(stats.Streams), Sent: stats.Sent, Received: stats.Received,
		})
	}
	return list, nil
}

// Join implements control.Relay.
func (c commands) Join(_ context.Context, ask control.JoinRequest) (control.JoinAnswer, error) {
	own := c.r.own
	if own.tokenKey == nil {
		return control.JoinAnswer{}, postern.Errorf(postern.BadCommand, postern.HopRelay,
			"this relay signs no tokens: it checks them with --public-key, or lets everybody in; make tokens with: postern auth jwt token --in KEYFILE")
	}
	claims, err := claimsOf(ask)
	if err != nil {
		return control.JoinAnswer{}, err
	}
	if own.audience != "" {
		claims.Audience = []string{own.audience}
	}
	token, err := jwt.Sign(own.tokenKey, claims)
	if err != nil {
		return control.JoinAnswer{}, postern.Errorf(postern.BadCommand, postern.HopRelay, "%w", err)
	}
	j := join.Join{Addresses: c.r.advertised(), Web: c.r.advertisedWeb(), Pin: own.pin, Token: token}
	if len(ask.Relay) > 0 || ask.Web != "" {
		j.Addresses, j.Web = ask.Relay, ask.Web
	}
	text, err := j.Encode()
	if err != nil {
		return control.JoinAnswer{}, postern.Errorf(postern.BadCommand, postern.HopRelay, "%w", err)
	}
	c.r.log.Info("made a join string", "agent", ask.AgentID, "role", string(claims.Role), "expires", claims.Expires.UTC().Format(time.RFC3339))
	return control.JoinAnswer{Join: text, Expires: claims.Expires, Addresses: j.Addresses, Web: j.Web, Pin: j.Pin}, nil
}

// claimsOf checks a request for a join string.
func claimsOf(ask control.JoinRequest) (jwt.Claims, error) {
	id, err := postern.ParseAgentID(ask.AgentID)
	if err != nil {
		return jwt.Claims{}, err
	}
	role := postern.Role(ask.Role)
	if role != postern.RoleAgent && role != postern.RoleClient {
		return jwt.Claims{}, postern.Errorf(postern.BadCommand, postern.HopRelay, "a join string is for role agent or client, not %q", ask.Role)
	}
	life := time.Duration(ask.Lifetime)
	if life == 0 {
		life = tokenLife
	}
	if life < 0 {
		return jwt.Claims{}, postern.Errorf(postern.BadCommand, postern.HopRelay, "the lifetime %v is negative", life)
	}
	claims := jwt.Claims{Role: role, AgentID: id, Targets: ask.Targets, Hosts: ask.Hosts, Expires: time.Now().Add(life)}
	for _, p := range ask.Ports {
		ports, err := postern.ParsePortRange(p)
		if err != nil {
			return jwt.Claims{}, postern.Errorf(postern.BadCommand, postern.HopRelay, "ports: %w", err)
		}
		claims.Ports = append(claims.Ports, ports)
	}
	return claims, nil
}

var _ control.Relay = commands{}
