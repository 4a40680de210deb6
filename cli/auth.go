package cli

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth/jwt"
	"github.com/postern-dev/postern/egress/allow"
	"github.com/postern-dev/postern/internal/datadir"
	"github.com/postern-dev/postern/internal/safefile"
)

// authCmd is postern auth.
type authCmd struct {
	Key struct {
		Private keyPrivateCmd `cmd:"" help:"make a private key that signs tokens"`
		Public  keyPublicCmd  `cmd:"" help:"write the public half of a private key, for the relay's --public-key"`
	} `cmd:"" help:"keys"`
	JWT struct {
		Token tokenCmd `cmd:"" help:"make a token for an agent, a client or the API"`
	} `cmd:"" name:"jwt" help:"tokens"`
}

// keyPrivateCmd is postern auth key private.
type keyPrivateCmd struct {
	Algo  string `enum:"ES256,RS256,EdDSA" default:"ES256" placeholder:"NAME" help:"ES256, RS256 or EdDSA (default ES256)"`
	Out   string `default:"auth-key-private.pem" placeholder:"FILE" help:"where to write it, mode 0600 (default auth-key-private.pem); - is standard output"`
	Force bool   `help:"replace a file that is there"`
}

func (c *keyPrivateCmd) run(_ context.Context, e *env) error {
	key, err := jwt.GenerateKey(c.Algo)
	if err != nil {
		return err
	}
	if c.Out == "-" {
		text, err := jwt.FormatPrivateKey(key)
		return e.print(string(text), err)
	}
	return c.done(e, jwt.WritePrivateKey(c.Out, key, c.Force))
}

func (c *keyPrivateCmd) done(e *env, err error) error {
	if err != nil {
		return existing(err)
	}
	_, err = fmt.Fprintf(e.stderr, "the private key is in %s: keep it secret\n", c.Out)
	return err
}

// existing adds the way out where a file is there already.
func existing(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return withHint(err, "choose another --out FILE, or replace it with --force")
	}
	return err
}

// print writes text to standard output, unless making it has failed.
func (e *env) print(text string, err error) error {
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(e.stdout, text)
	return err
}

// keyPublicCmd is postern auth key public.
type keyPublicCmd struct {
	In    string `default:"auth-key-private.pem" placeholder:"FILE" help:"the private key (default auth-key-private.pem)"`
	Out   string `default:"auth-key-public.pem" placeholder:"FILE" help:"where to write it (default auth-key-public.pem); - is standard output"`
	Force bool   `help:"replace a file that is there"`
}

func (c *keyPublicCmd) run(_ context.Context, e *env) error {
	key, err := jwt.ReadPrivateKey(c.In)
	if err != nil {
		return misconfigured{noKey(err, c.In)}
	}
	if c.Out == "-" {
		text, err := jwt.FormatPublicKey(key.Public())
		return e.print(string(text), err)
	}
	return existing(jwt.WritePublicKey(c.Out, key.Public(), c.Force))
}

// noKey adds the way out where a private key is missing.
func noKey(err error, file string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return withHint(err, "postern auth key private --out %s makes one", file)
	}
	return err
}

// grantFlags say what a token permits.
type grantFlags struct {
	Targets  []string      `placeholder:"PATTERN" sep:"none" help:"targets it permits (host, host:port, *.zone, CIDR, *); none given: no restriction"`
	Ports    []string      `placeholder:"LOW-HIGH" help:"public ports it may open on the relay; none given: none"`
	Hosts    []string      `placeholder:"PATTERN" help:"public host names it may use; none given: none"`
	Duration time.Duration `default:"24h" placeholder:"DURATION" help:"how long it is good (default 24h)"`
}

// check reads what the flags say, or tells everything that is wrong with them.
func (g *grantFlags) check() (ports []postern.PortRange, err error) {
	var wrong []error
	for _, s := range g.Ports {
		r, err := postern.ParsePortRange(s)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("--ports: %w", err))
		}
		ports = append(ports, r)
	}
	if _, err := allow.Parse(g.Targets); err != nil {
		wrong = append(wrong, fmt.Errorf("--targets: %w", err))
	}
	if g.Duration <= 0 {
		wrong = append(wrong, fmt.Errorf("--duration: %s is no time at all", g.Duration))
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, &usageError{err.Error(), "write ports as LOW-HIGH, targets as host:port, *.zone or CIDR, and durations as 24h"}
	}
	return ports, nil
}

// tokenCmd is postern auth jwt token.
type tokenCmd struct {
	AgentID  string `placeholder:"ID" help:"the agent that it stands for, or that a client may reach; a client's may have *"`
	Role     string `enum:"agent,client,admin,operator,viewer" default:"client" placeholder:"ROLE" help:"agent, client, admin, operator or viewer (default client)"`
	Audience string `placeholder:"NAME" help:"the audience it names"`
	grantFlags
	In    string `placeholder:"FILE" help:"the private key that signs it"`
	Data  string `placeholder:"DIR" help:"a relay's data folder, whose key signs it"`
	Out   string `placeholder:"FILE" help:"where to write it, mode 0600; none given: standard output"`
	Force bool   `help:"replace a file that is there"`
}

// Help is the long help.
func (*tokenCmd) Help() string {
	return `A token is good with the relay that has the public half of the key:

  postern auth jwt token --data /var/lib/postern --agent-id nas --role agent --out nas.token
  postern auth jwt token --in auth-key-private.pem --agent-id nas --role client --duration 720h --targets 10.0.0.0/8:22

Clients give it as the password of the proxy, with the agent's id as the user.`
}

func (c *tokenCmd) run(_ context.Context, e *env) error {
	claims, err := c.claims()
	if err != nil {
		return err
	}
	key, err := c.key()
	if err != nil {
		return err
	}
	token, err := jwt.Sign(key, claims)
	if err != nil {
		return err
	}
	if len(token) > jwt.MaxPassword && claims.Role == postern.RoleClient {
		e.complain(fmt.Sprintf("warning: the token has %d bytes and does not fit into SOCKS5's %d", len(token), jwt.MaxPassword), "sign it with an ES256 or EdDSA key, and leave out what is not needed")
	}
	return e.secret(token, c.Out, c.Force)
}

// secret writes a secret to standard output or, for its owner alone, to a file.
func (e *env) secret(text, file string, force bool) error {
	if file == "" || file == "-" {
		return e.print(text+"\n", nil)
	}
	write := safefile.Create
	if force {
		write = safefile.Replace
	}
	return existing(write(file, []byte(text+"\n"), 0o600))
}

// claims are what the token says.
func (c *tokenCmd) claims() (jwt.Claims, error) {
	ports, err := c.check()
	if err != nil {
		return jwt.Claims{}, err
	}
	now := time.Now()
	claims := jwt.Claims{
		Role: postern.Role(c.Role), Targets: c.Targets, Ports: ports, Hosts: c.Hosts,
		Issued: now, Expires: now.Add(c.Duration),
	}
	if c.Audience != "" {
		claims.Audience = []string{c.Audience}
	}
	if c.AgentID == "" && claims.Role != postern.RoleAgent && claims.Role != postern.RoleClient {
		return claims, nil
	}
	if strings.Contains(c.AgentID, "*") && claims.Role != postern.RoleAgent {
		claims.Agents = []string{c.AgentID}
		return claims, nil
	}
	claims.AgentID, err = postern.ParseAgentID(c.AgentID)
	if err != nil {
		return jwt.Claims{}, &usageError{"--agent-id: " + err.Error(), "choose up to 64 letters, digits and . _ -"}
	}
	return claims, nil
}

// key is what signs the token.
func (c *tokenCmd) key() (crypto.Signer, error) {
	switch {
	case (c.In == "") == (c.Data == ""):
		return nil, &usageError{"one of --in and --data must say which key signs the token", "give --data DIR of the relay, or --in KEYFILE"}
	case c.In != "":
		key, err := jwt.ReadPrivateKey(c.In)
		if err != nil {
			return nil, misconfigured{noKey(err, c.In)}
		}
		return key, nil
	}
	dir, err := datadir.Load(c.Data)
	if err != nil {
		return nil, misconfigured{err}
	}
	return dir.TokenKey, nil
}
