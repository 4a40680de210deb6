package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/agent"
	"github.com/postern-dev/postern/auth/jwt"
	"github.com/postern-dev/postern/config"
	"github.com/postern-dev/postern/internal/control"
	"github.com/postern-dev/postern/internal/datadir"
	"github.com/postern-dev/postern/internal/join"
	"github.com/postern-dev/postern/internal/safefile"
	"github.com/postern-dev/postern/relay"
)

// upCmd is postern up.
type upCmd struct {
	Files    string `placeholder:"DIR" help:"folder that its page shows; none given: a page that says hello"`
	Data     string `placeholder:"DIR" help:"folder for keys and tokens; none given: ~/.local/share/postern/up"`
	LogLevel string `enum:"trace,debug,info,warn,error" default:"warn" placeholder:"LEVEL" help:"trace, debug, info, warn or error (default warn)"`
}

// Help is the long help.
func (*upCmd) Help() string {
	return `It starts a relay and an agent that speak TLS with real tokens over loopback, and prints commands to paste into another
terminal. Nothing but this machine can reach it. It runs until it is stopped.

  postern up
  postern up --files ~/public`
}

// upAgent is the agent's name in postern up.
const upAgent postern.AgentID = "here"

// upLife is how long the client's token lives that postern up prints.
const upLife = 24 * time.Hour

func (c *upCmd) run(ctx context.Context, e *env) error {
	data, err := c.folder(e)
	if err != nil {
		return err
	}
	page, err := newPage(c.Files)
	if err != nil {
		return misconfigured{err}
	}
	defer page.Close()
	log := e.newLog(c.LogLevel, "")
	open := make(chan map[string]string, 1)
	r, err := relay.New(upRelay(data), relay.Options{
		Log: log.With("part", "relay"), Version: version().Version,
		OnReady: func(listeners map[string]string) { open <- listeners },
	})
	if err != nil {
		return misconfigured{err}
	}
	g, ctx := errgroup.WithContext(ctx)
	// The page comes first, so that whoever finds the way to it finds it there.
	address, err := page.serve(ctx, g)
	if err != nil {
		return err
	}
	g.Go(func() error { return r.Run(ctx) })
	g.Go(func() error {
		// The agent's tokens are signed with a key that the relay makes on its first start, so the relay is waited for.
		select {
		case listeners := <-open:
			return c.runAgent(ctx, e, up{data: data, page: address, listeners: listeners}, agent.Options{Log: log.With("part", "agent"), Version: version().Version})
		case <-ctx.Done():
			return nil
		}
	})
	return g.Wait()
}

// folder is where keys and tokens are kept.
func (c *upCmd) folder(e *env) (string, error) {
	data := c.Data
	if home := e.getenv("HOME"); data == "" && home != "" {
		data = filepath.Join(home, ".local", "share", "postern", "up")
	}
	if data == "" {
		return "", &usageError{"there is no home folder to keep keys in", "name a folder with --data DIR"}
	}
	// The commands that are printed are pasted into a shell that stands elsewhere.
	return filepath.Abs(data)
}

// upRelay is the relay's configuration: everything on loopback, on free ports.
func upRelay(data string) *config.Relay {
	cfg := config.DefaultRelay()
	cfg.Data = filepath.Join(data, "relay")
	cfg.Agents, cfg.Proxy, cfg.Socks = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Web, cfg.Admin = config.Off, config.Off
	cfg.Grace = time.Second
	return cfg
}

// up is what is known once the relay is open.
type up struct {
	data      string
	page      string            // address of the page
	listeners map[string]string // addresses of the relay's listeners
	token     string            // a client's
	joinFile  string            // a client's join string
}

// runAgent starts the agent and, with its first session, tells the person what to do.
func (c *upCmd) runAgent(ctx context.Context, e *env, u up, o agent.Options) error {
	dir, err := datadir.Load(filepath.Join(u.data, "relay"))
	if err != nil {
		return err
	}
	if err := u.credentials(dir); err != nil {
		return err
	}
	secret, err := jwt.Sign(dir.TokenKey, jwt.Claims{Role: postern.RoleAgent, AgentID: upAgent, Expires: time.Now().Add(upLife)})
	if err != nil {
		return err
	}
	cfg := config.DefaultAgent()
	cfg.Relay, cfg.Pin, cfg.Token = []string{u.listeners["agents"]}, dir.CA.Pin(), config.Secret(secret)
	cfg.Allow = []string{"localhost"}
	cfg.Service = []config.Service{{Name: "web", URL: "http://" + u.page}}
	cfg.Grace = time.Second
	a, err := agent.New(cfg, o)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.Run(ctx) })
	g.Go(func() error {
		// Commands that are pasted at once must find the agent there.
		if !connected(ctx, dir.Path) {
			return nil
		}
		return e.print(u.block(e.program(), sshHere(ctx)), nil)
	})
	return g.Wait()
}

// connected waits until the relay with that data folder has our agent; it reports false if ctx ended first.
func connected(ctx context.Context, data string) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		agents, err := control.NewClient(data).Agents(ctx)
		if err == nil && slices.ContainsFunc(agents, func(a control.Agent) bool { return a.ID == string(upAgent) }) {
			return true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
}

// credentials makes what the printed commands use.
func (u *up) credentials(dir *datadir.Dir) error {
	var err error
	u.token, err = jwt.Sign(dir.TokenKey, jwt.Claims{Role: postern.RoleClient, AgentID: upAgent, Expires: time.Now().Add(upLife)})
	if err != nil {
		return err
	}
	text, err := join.Join{Addresses: []string{u.listeners["agents"]}, Pin: dir.CA.Pin(), Token: u.token}.Encode()
	if err != nil {
		return err
	}
	u.joinFile = filepath.Join(u.data, "client.join")
	return safefile.Replace(u.joinFile, []byte(text+"\n"), 0o600)
}

// sshHere reports whether an ssh server answers on this machine.
func sshHere(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", "127.0.0.1:22")
	if err != nil {
		return false
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	banner := make([]byte, 4)
	if err := conn.SetReadDeadline(deadline); err != nil {
		return false
	}
	n, err := conn.Read(banner)
	return err == nil && string(banner[:n]) == "SSH-"
}

var errNoFolder = errors.New("it is not a folder")

// orFolder says of a path why it cannot be shown.
func orFolder(path string, err error) error {
	return withHint(fmt.Errorf("--files %s: %w", path, err), "name a folder that this user can read")
}
