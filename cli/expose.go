package cli

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/agent"
	"github.com/postern-dev/postern/auth/jwt"
	"github.com/postern-dev/postern/config"
	"github.com/postern-dev/postern/session"
)

// exposeCmd is postern expose.
type exposeCmd struct {
	TCP exposeTCPCmd `cmd:"" name:"tcp" help:"open a public TCP port on the relay that leads to a target on this side, for as long as this runs"`
}

// exposeTCPCmd is postern expose tcp.
type exposeTCPCmd struct {
	What    string `arg:"" help:"what it leads to: a port of this machine, host:port, or /path of a unix socket"`
	Port    uint16 `placeholder:"PORT" help:"the port on the relay; none given: a free one"`
	AgentID string `placeholder:"ID" help:"who we are, for a relay with auth none or with --data"`
	JSON    bool   `name:"json" help:"print the address as JSON"`
	keyFlags
}

// Help is the long help.
func (*exposeTCPCmd) Help() string {
	return `The token must permit the port: postern join create --agent-id desk --ports 20000-20999 makes one that does.

  postern expose tcp 22 --join @join
  postern expose tcp 10.0.0.7:5432 --port 20432 --join @join

The address is printed once the port is open, and again when it changes. The port is closed when this ends.`
}

func (c *exposeTCPCmd) run(ctx context.Context, e *env) error {
	target, err := localTarget(c.What)
	if err != nil {
		return &usageError{err.Error(), "write a port of this machine, host:port, or /path of a unix socket"}
	}
	cfg, result, err := config.LoadClient(c.input(e))
	if err != nil {
		return err
	}
	log := e.newLog(cfg.LogLevel, cfg.LogFormat)
	warn(log, result)
	inner, err := c.agent(cfg)
	if err != nil {
		return misconfigured{err}
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	a, err := agent.New(inner, agent.Options{
		Log: log, Version: version().Version, Getenv: e.getenv,
		Expose:    []session.Expose{{Network: postern.TCP, Port: c.Port, Target: target}},
		OnExposed: func(x session.Expose, address string) { stopOn(stop, c.show(e, x, address)) },
	})
	if err != nil {
		return misconfigured{err}
	}
	if err := a.Run(ctx); err != nil {
		return err
	}
	return unprinted(ctx)
}

// errOutput is the cause of an end because nobody can be told the address.
type errOutput struct{ error }

func stopOn(stop context.CancelCauseFunc, err error) {
	if err != nil {
		stop(errOutput{err})
	}
}

// unprinted returns the error of printing that ended ctx, if that was it.
func unprinted(ctx context.Context) error {
	if failed, ok := context.Cause(ctx).(errOutput); ok {
		return fmt.Errorf("print the address: %w", failed.error)
	}
	return nil
}

// agent is the configuration of the agent that holds the port open.
func (c *exposeTCPCmd) agent(cfg *config.Client) (*config.Agent, error) {
	inner := config.DefaultAgent()
	inner.Relay, inner.Join, inner.Token, inner.CA, inner.Pin = cfg.Relay, cfg.Join, cfg.Token, cfg.CA, cfg.Pin
	inner.Transport, inner.Proxy, inner.AgentID = cfg.Transport, cfg.Proxy, c.AgentID
	inner.Grace = 0 // whoever stops it wants the port closed
	if cfg.Data == "" {
		return inner, nil
	}
	if c.AgentID == "" {
		return nil, withHint(fmt.Errorf("--data needs --agent-id here"), "choose a name for this end: --agent-id desk")
	}
	ports := postern.PortRange{Low: 1, High: 65535}
	if c.Port != 0 {
		ports = postern.PortRange{Low: c.Port, High: c.Port}
	}
	r, err := newRemote(cfg, jwt.Claims{Role: postern.RoleAgent, AgentID: postern.AgentID(c.AgentID), Ports: []postern.PortRange{ports}})
	if err != nil {
		return nil, err
	}
	token, err := r.token()
	if err != nil {
		return nil, err
	}
	inner.Relay, inner.CA, inner.Pin, inner.Token = r.relays, r.trust.CAFile, r.trust.Pin, config.Secret(token)
	return inner, nil
}

// localTarget reads what a port leads to; a bare port is one of this machine.
func localTarget(s string) (postern.Target, error) {
	if _, err := strconv.ParseUint(s, 10, 16); err == nil {
		s = net.JoinHostPort("127.0.0.1", s)
	}
	return postern.ParseTarget(s)
}

func (c *exposeTCPCmd) show(e *env, x session.Expose, address string) error {
	if c.JSON {
		return printLine(e.stdout, struct {
			Network string `json:"network"`
			Address string `json:"address"`
			Target  string `json:"target"`
		}{string(x.Network), address, x.Target.Address()})
	}
	_, err := fmt.Fprintf(e.stdout, "%s leads to %s\n", address, x.Target)
	return err
}
