package cli

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/client"
)

// fwdCmd is postern forward.
type fwdCmd struct {
	Spec []string `arg:"" help:"[LISTEN=]AGENT/TARGET, [LISTEN=]socks AGENT or [LISTEN=]http AGENT"`
	JSON bool     `name:"json" help:"print the open ports as JSON, one a line"`
	keyFlags
}

// Help is the long help.
func (*fwdCmd) Help() string {
	return `LISTEN is a port of 127.0.0.1, host:port, or /path of a unix socket; without it a free port is chosen and printed:

  postern forward 5432=nas/127.0.0.1:5432 6379=nas/redis.service --join @join
  postern forward /run/docker.sock=nas//run/docker.sock --join @join
  postern forward 1080=socks nas --join @join

It runs until it is stopped.`
}

func (c *fwdCmd) run(ctx context.Context, e *env) error {
	forwards, err := client.ParseForwards(c.Spec)
	if err != nil {
		return &usageError{err.Error(), "write it like 5432=nas/127.0.0.1:5432"}
	}
	return c.withClient(ctx, e, func(ctx context.Context, remote *client.Client, log *slog.Logger) error {
		var failed error
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		f := &client.Forwarder{Forwards: forwards, Opener: remote, Log: log}
		f.Ready = func(bound []client.Bound) {
			if failed = c.show(e, bound); failed != nil {
				stop()
			}
		}
		if err := f.Run(ctx); err != nil {
			return err
		}
		return failed
	})
}

// shown is one line of --json.
type shown struct {
	Listen string `json:"listen"`
	Mode   string `json:"mode"`
	Agent  string `json:"agent"`
	Target string `json:"target,omitempty"`
}

// show prints where the forwards listen.
func (c *fwdCmd) show(e *env, bound []client.Bound) error {
	for _, b := range bound {
		s := shown{Listen: b.Addr.String(), Mode: string(b.Mode), Agent: string(b.Agent)}
		if b.Target != (postern.Target{}) {
			s.Target = b.Target.String()
		}
		if c.JSON {
			if err := printLine(e.stdout, s); err != nil {
				return err
			}
			continue
		}
		what := "any target through " + s.Agent + " (" + s.Mode + ")"
		if s.Target != "" {
			what = s.Target + " through " + s.Agent
		}
		if _, err := fmt.Fprintf(e.stdout, "%s leads to %s\n", s.Listen, what); err != nil {
			return err
		}
	}
	return nil
}
