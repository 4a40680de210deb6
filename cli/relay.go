package cli

import (
	"context"
	"log/slog"

	"github.com/postern-dev/postern/agent"
	"github.com/postern-dev/postern/config"
	"github.com/postern-dev/postern/relay"
)

// relayCmd is postern relay.
type relayCmd struct {
	keyFlags
}

// Help is the long help.
func (*relayCmd) Help() string {
	return `On an empty data folder the relay makes its own CA, certificate and signing key:

  postern relay --data /var/lib/postern --advertise relay.example.com
  postern join create --data /var/lib/postern --agent-id nas

Every flag is also a key of the file and a variable: --log-level, log-level: and POSTERN_LOG_LEVEL.
A flag is stronger than a variable, and that is stronger than the file.
SIGTERM and SIGINT let streams finish within --grace; a second one ends at once.`
}

func (c *relayCmd) run(ctx context.Context, e *env) error {
	cfg, result, err := config.LoadRelay(c.input(e))
	if err != nil {
		return err
	}
	log := e.newLog(cfg.LogLevel, cfg.LogFormat)
	warn(log, result)
	r, err := relay.New(cfg, relay.Options{Log: log, Version: version().Version})
	if err != nil {
		return misconfigured{err}
	}
	return r.Run(ctx)
}

// agentCmd is postern agent.
type agentCmd struct {
	keyFlags
}

// Help is the long help.
func (*agentCmd) Help() string {
	return `A join string is all an agent needs; the folder keeps the tokens that the relay renews, which without --data
are in $STATE_DIRECTORY, $XDG_STATE_HOME/postern or ~/.local/state/postern:

  postern agent --join @nas.join --allow localhost
  postern agent --join @/etc/postern/join --data /var/lib/postern-agent --allow 10.0.0.0/8:22
  postern agent --relay relay.example.com:4242 --pin sha256:... --token file:token --service web=http://127.0.0.1:3000

Without --allow clients reach its services only. "*" allows everything but link-local, metadata and multicast addresses; write it in quotes.
Every flag is also a key of the file and a variable: --agent-id, agent-id: and POSTERN_AGENT_ID.`
}

func (c *agentCmd) run(ctx context.Context, e *env) error {
	cfg, result, err := config.LoadAgent(c.input(e))
	if err != nil {
		return err
	}
	log := e.newLog(cfg.LogLevel, cfg.LogFormat)
	warn(log, result)
	a, err := agent.New(cfg, agent.Options{Log: log, Version: version().Version, Getenv: e.getenv})
	if err != nil {
		return misconfigured{err}
	}
	return a.Run(ctx)
}

// warn logs what config has to say besides.
func warn(log *slog.Logger, result config.Result) {
	for _, w := range result.Warnings {
		log.Warn(w)
	}
	if result.File != "" {
		log.Info("configuration read", "file", result.File)
	}
}
