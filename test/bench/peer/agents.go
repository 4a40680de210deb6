//go:build linux

package peer

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/agent"
	"github.com/postern-dev/postern/auth/jwt"
	"github.com/postern-dev/postern/config"
	"github.com/postern-dev/postern/internal/datadir"
)

// ManyAgents is the command agents: it runs many idle agents in this process and writes a line once all of them have a session. Its
// arguments are the relay's address, its data folder, the transport, a name, how many, and a folder.
func ManyAgents(ctx context.Context, stdout io.Writer, args []string) error {
	if len(args) != 6 {
		return fmt.Errorf("agents wants RELAY DATA TRANSPORT NAME COUNT DIR, not %q", args)
	}
	n, err := strconv.Atoi(args[4])
	if err != nil {
		return err
	}
	data, err := datadir.Load(args[1])
	if err != nil {
		return err
	}
	ready := filepath.Join(args[5], args[3]+"-ready")
	if err := os.Mkdir(ready, 0o700); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for i := range n {
		id := fmt.Sprintf("%s-%d", args[3], i)
		a, err := idleAgent(data, args[0], args[2], id, filepath.Join(ready, id))
		if err != nil {
			return err
		}
		group.Go(func() error { return a.Run(ctx) })
		// The relay bounds how many strangers from one address may be at the door.
		if err := sessions(ctx, ready, i-100); err != nil {
			return err
		}
	}
	if err := sessions(ctx, ready, n); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(stdout, "all are connected"); err != nil {
		return err
	}
	return group.Wait()
}

// idleAgent is an agent with a token of its own that serves nothing.
func idleAgent(data *datadir.Dir, relay, transport, id, readyFile string) (*agent.Agent, error) {
	token, err := jwt.Sign(data.TokenKey, jwt.Claims{
		Role: postern.RoleAgent, AgentID: postern.AgentID(id), Expires: time.Now().Add(24 * time.Hour),
	})
	if err != nil {
		return nil, err
	}
	cfg := config.DefaultAgent()
	cfg.Relay, cfg.CA, cfg.Token = []string{relay}, filepath.Join(data.Path, "ca.pem"), config.Secret(token)
	cfg.Transport, cfg.ReadyFile, cfg.Grace = []string{transport}, readyFile, 0
	return agent.New(cfg, agent.Options{Version: "bench"})
}

// sessions waits until so many agents have written their ready file.
func sessions(ctx context.Context, dir string, n int) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		files, err := os.ReadDir(dir)
		if err != nil || len(files) >= n {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
