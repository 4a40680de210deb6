package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth/jwt"
	"github.com/postern-dev/postern/internal/control"
	"github.com/postern-dev/postern/internal/datadir"
	"github.com/postern-dev/postern/internal/join"
	"github.com/postern-dev/postern/transport"
)

// joinCmd is postern join.
type joinCmd struct {
	Create joinCreateCmd `cmd:"" help:"make one string with the relay's addresses, its pin and a token"`
}

// joinCreateCmd is postern join create.
type joinCreateCmd struct {
	AgentID string   `required:"" placeholder:"ID" help:"the agent that it is for, or that a client may reach"`
	Role    string   `enum:"agent,client" default:"agent" placeholder:"ROLE" help:"agent or client (default agent)"`
	Data    string   `placeholder:"DIR" help:"the relay's data folder; none given: POSTERN_DATA, ./data, ~/.local/share/postern, /var/lib/postern"`
	Relay   []string `placeholder:"ADDR" help:"address of the relay to write in, of its agents listener or a URL of its web; none given: what the relay advertises"`
	grantFlags
	Out   string `xor:"form" placeholder:"FILE" help:"where to write it, mode 0600; none given: standard output"`
	Force bool   `help:"replace a file that is there"`
	JSON  bool   `xor:"form" name:"json" help:"print it with what it says as JSON"`

	web string // the URL among Relay
}

// Help is the long help.
func (*joinCreateCmd) Help() string {
	return `It asks the relay that runs with the data folder, or signs by itself when none does (then --relay is needed):

  postern join create --data /var/lib/postern --agent-id nas --out nas.join
  postern join create --agent-id desk --ports 20000-20999
  postern join create --agent-id nas --role client --duration 720h
  postern join create --agent-id nas --relay relay.example.com:4242 --relay https://relay.example.com/

The string is a secret. Give it to postern agent, forward, connect or expose: --join STRING, or --join @FILE.`
}

func (c *joinCreateCmd) run(ctx context.Context, e *env) error {
	ports, err := c.check()
	if err != nil {
		return err
	}
	id, err := postern.ParseAgentID(c.AgentID)
	if err != nil {
		return &usageError{"--agent-id: " + err.Error(), "choose up to 64 letters, digits and . _ -"}
	}
	if err := c.addresses(); err != nil {
		return &usageError{"--relay: " + err.Error(), "write host:port of the agents listener, such as relay.example.com:4242, and at most one https://host/ of the web listener"}
	}
	data, err := e.dataFolder(c.Data)
	if err != nil {
		return err
	}
	made, err := control.NewClient(data).Join(ctx, c.request())
	if errors.Is(err, control.ErrNoRelay) {
		made, err = c.sign(data, id, ports)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.stdout, made)
	}
	return e.secret(made.Join, c.Out, c.Force)
}

// addresses completes the addresses, and tells the web listener's from the others.
func (c *joinCreateCmd) addresses() error {
	var agents []string
	for _, a := range c.Relay {
		if !strings.Contains(a, "://") {
			a, err := agentsAddress(a)
			if err != nil {
				return err
			}
			agents = append(agents, a)
			continue
		}
		u, err := transport.ParseWeb(a)
		if err != nil {
			return err
		}
		if c.web != "" {
			return errors.New("there are two URLs")
		}
		c.web = u.String()
	}
	c.Relay = agents
	return nil
}

func (c *joinCreateCmd) request() control.JoinRequest {
	return control.JoinRequest{
		AgentID: c.AgentID, Role: c.Role, Targets: c.Targets, Ports: c.Ports, Hosts: c.Hosts,
		Relay: c.Relay, Web: c.web, Lifetime: control.Duration(c.Duration),
	}
}

// sign makes the string without a relay.
func (c *joinCreateCmd) sign(data string, id postern.AgentID, ports []postern.PortRange) (control.JoinAnswer, error) {
	dir, err := datadir.Load(data)
	if err != nil {
		return control.JoinAnswer{}, misconfigured{err}
	}
	if len(c.Relay) == 0 && c.web == "" {
		return control.JoinAnswer{}, &usageError{
			"no relay runs with " + data + ", so its addresses are not known",
			"start it with postern relay --data DIR, or give --relay host:4242",
		}
	}
	now := time.Now()
	token, err := jwt.Sign(dir.TokenKey, jwt.Claims{
		Role: postern.Role(c.Role), AgentID: id, Targets: c.Targets, Ports: ports, Hosts: c.Hosts,
		Issued: now, Expires: now.Add(c.Duration),
	})
	if err != nil {
		return control.JoinAnswer{}, err
	}
	text, err := join.Join{Addresses: c.Relay, Web: c.web, Pin: dir.CA.Pin(), Token: token}.Encode()
	return control.JoinAnswer{Join: text, Expires: now.Add(c.Duration), Addresses: c.Relay, Web: c.web, Pin: dir.CA.Pin()}, err
}

// agentsAddress adds the agents listener's usual port to a host that has none.
func agentsAddress(s string) (string, error) {
	if _, _, err := net.SplitHostPort(s); err != nil {
		if host, err := postern.CanonicalHost(s); err == nil {
			s = net.JoinHostPort(host, "4242")
		}
	}
	t, err := postern.HostPortTarget(postern.TCP, s)
	return t.Address(), err
}

// dataFolder returns the relay's data folder: the one given, or the first of the usual places that looks like one.
func (e *env) dataFolder(given string) (string, error) {
	if given == "" {
		given = e.getenv("POSTERN_DATA")
	}
	if given != "" {
		if info, err := os.Stat(given); err != nil || !info.IsDir() {
			return "", &usageError{fmt.Sprintf("the data folder %s is not there", given), "give the folder that postern relay --data was started with"}
		}
		return given, nil
	}
	places := []string{"data", "/var/lib/postern"}
	if home := e.getenv("HOME"); home != "" {
		places = []string{"data", filepath.Join(home, ".local", "share", "postern"), "/var/lib/postern"}
	}
	for _, p := range places {
		if _, err := os.Stat(filepath.Join(p, "ca.pem")); err == nil {
			return p, nil
		}
	}
	return "", &usageError{"there is no relay's data folder in the usual places", "name it with --data DIR"}
}
