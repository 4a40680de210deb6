package cli

import (
	"context"
	"log/slog"
	"sync"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/client"
	"github.com/postern-dev/postern/config"
)

// connCmd is postern connect.
type connCmd struct {
	Agent  string `arg:"" help:"the agent's id"`
	Target string `arg:"" help:"host:port, /path of a unix socket, or NAME.service"`
	keyFlags
}

// Help is the long help.
func (*connCmd) Help() string {
	return `For ssh, in ~/.ssh/config:

  Host *.nas
    ProxyCommand postern connect --join @$HOME/.config/postern/join nas %h:%p

It ends when the target has said everything. The exit code tells why it could not connect.`
}

func (c *connCmd) run(ctx context.Context, e *env) error {
	agent, err := postern.ParseAgentID(c.Agent)
	if err != nil {
		return &usageError{err.Error(), "write the agent's id first, then the target: postern connect nas 127.0.0.1:22"}
	}
	target, err := postern.ParseTarget(c.Target)
	if err != nil {
		return &usageError{err.Error(), kindHint(postern.BadAddress, "")}
	}
	return c.withClient(ctx, e, func(ctx context.Context, remote *client.Client, _ *slog.Logger) error {
		return client.Connect(ctx, remote, agent, target, e.stdin, e.stdout)
	})
}

// withClient runs do with a client of the relay that the flags name, and ends the client after it.
func (f *keyFlags) withClient(ctx context.Context, e *env, do func(context.Context, *client.Client, *slog.Logger) error) error {
	cfg, result, err := config.LoadClient(f.input(e))
	if err != nil {
		return err
	}
	log := e.newLog(cfg.LogLevel, cfg.LogFormat)
	warn(log, result)
	r, err := newRemote(cfg, clientClaims())
	if err != nil {
		return misconfigured{err}
	}
	remote, err := r.client(cfg, e.getenv, log)
	if err != nil {
		return misconfigured{err}
	}
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	running.Go(func() {
		// Run returns when ctx ends and has no other end; its error is always nil.
		_ = remote.Run(ctx)
	})
	return do(ctx, remote, log)
}
