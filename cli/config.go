package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/postern-dev/postern/agent"
	"github.com/postern-dev/postern/config"
	"github.com/postern-dev/postern/relay"
)

// configCmd is postern config.
type configCmd struct {
	Check configCheckCmd `cmd:"" help:"say everything that is wrong with the configuration; start nothing"`
	Print configPrintCmd `cmd:"" help:"print what holds: defaults, file, variables and --set together, without secrets"`
}

// configFlags say whose configuration is meant and where it comes from.
type configFlags struct {
	Role   string   `arg:"" optional:"" enum:"relay,agent,client," default:"" help:"relay, agent or client; none given: whoever the file speaks to"`
	Config string   `short:"c" placeholder:"FILE" help:"configuration file (YAML); else the usual places are looked at"`
	Set    []string `short:"s" placeholder:"KEY=VALUE" sep:"none" help:"a value as if given by its flag; repeatable"`
}

// loaded is the configuration of one role.
type loaded struct {
	role   config.Role
	result config.Result
	print  func(io.Writer) error
	build  func() error // does what a start does before it opens anything
}

// load loads the configuration of every role that is meant.
func (c *configFlags) load(e *env) ([]loaded, error) {
	in := config.Input{Path: c.Config, Environ: e.environ}
	for _, s := range c.Set {
		key, value, found := strings.Cut(s, "=")
		if !found {
			return nil, &usageError{fmt.Sprintf("--set %s is not KEY=VALUE", key), "write it like --set log-level=debug"}
		}
		in.Flags = append(in.Flags, config.Given{Key: key, Values: []string{value}})
	}
	roles := []config.Role{config.Role(c.Role)}
	if c.Role == "" {
		in.Search = config.Search(config.RoleRelay, e.environ)
		roles = config.RolesIn(in)
	}
	var all []loaded
	var failed config.Problems
	for _, role := range roles {
		in.Search = config.Search(role, e.environ)
		one, err := e.load(role, in)
		if problems, ok := errors.AsType[config.Problems](err); ok {
			failed = append(failed, problems...)
		} else if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	if len(failed) > 0 {
		return nil, failed
	}
	return all, nil
}

func (e *env) load(role config.Role, in config.Input) (loaded, error) {
	switch role {
	case config.RoleAgent:
		cfg, result, err := config.LoadAgent(in)
		build := func() error { _, err := agent.New(cfg, agent.Options{Getenv: e.getenv}); return err }
		return loaded{role, result, cfg.Print, build}, err
	case config.RoleClient:
		cfg, result, err := config.LoadClient(in)
		build := func() error {
			r, err := newRemote(cfg, clientClaims())
			if err == nil {
				_, err = r.client(cfg, e.getenv, nil)
			}
			return err
		}
		return loaded{role, result, cfg.Print, build}, err
	}
	cfg, result, err := config.LoadRelay(in)
	build := func() error { _, err := relay.New(cfg, relay.Options{}); return err }
	return loaded{config.RoleRelay, result, cfg.Print, build}, err
}

// configCheckCmd is postern config check.
type configCheckCmd struct {
	configFlags
}

// Help is the long help.
func (*configCheckCmd) Help() string {
	return `It looks where relay and agent look, and exits with 2 when they would refuse to start:

  postern config check -c /etc/postern/relay.yaml
  postern config check agent --set log-level=debug`
}

func (c *configCheckCmd) run(_ context.Context, e *env) error {
	all, err := c.load(e)
	if err != nil {
		return err
	}
	for _, l := range all {
		for _, w := range l.result.Warnings {
			fmt.Fprintf(e.stderr, "postern: warning: %s\n", w)
		}
		if err := l.build(); err != nil {
			return misconfigured{err}
		}
		where := l.result.File
		if where == "" {
			where = "no file"
		}
		fmt.Fprintf(e.stdout, "%s: good for %s\n", where, l.role)
	}
	return nil
}

// configPrintCmd is postern config print.
type configPrintCmd struct {
	configFlags
}

// Help is the long help.
func (*configPrintCmd) Help() string {
	return `The output is a configuration file by itself, but secrets show as "(set)":

  postern config print relay -c relay.yaml`
}

func (c *configPrintCmd) run(_ context.Context, e *env) error {
	all, err := c.load(e)
	if err != nil {
		return err
	}
	for _, l := range all {
		if len(all) == 1 {
			return l.print(e.stdout)
		}
		var text strings.Builder
		if err := l.print(&text); err != nil {
			return err
		}
		indented := strings.ReplaceAll(strings.TrimSuffix(text.String(), "\n"), "\n", "\n  ")
		if _, err := fmt.Fprintf(e.stdout, "%s:\n  %s\n", l.role, indented); err != nil {
			return err
		}
	}
	return nil
}
