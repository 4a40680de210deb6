package cli

import (
	"log/slog"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/agent"
	"github.com/postern-dev/postern/auth/jwt"
	"github.com/postern-dev/postern/client"
	"github.com/postern-dev/postern/config"
	"github.com/postern-dev/postern/internal/datadir"
	"github.com/postern-dev/postern/internal/join"
	"github.com/postern-dev/postern/internal/pki"
	"github.com/postern-dev/postern/internal/viaproxy"
	"github.com/postern-dev/postern/transport"
)

// localRelay is where a relay on this machine is when only its data folder is known.
const localRelay = "127.0.0.1:4242"

// localLife is how long a token lives that is made beside a relay for one run of a command; one is made for each dial.
const localLife = time.Hour

// remote is the relay that forward, connect and expose speak to.
type remote struct {
	relays []string  // as --relay takes them
	join   join.Join // where they are if nothing else says it
	local  bool      // it is the one on this machine, which no proxy leads to
	trust  pki.Trust
	// token returns the credential for the next dial; nil: there is none.
	token func() (string, error)
}

// newRemote finds out where the relay is, how to know it, and what to show it, from flags, a join string, or the data folder of a relay
// on this machine. claims say what a token shall say that is made from such a folder. It dials nothing.
func newRemote(cfg *config.Client, claims jwt.Claims) (*remote, error) {
	r := &remote{relays: cfg.Relay, trust: pki.Trust{CAFile: cfg.CA, Pin: cfg.Pin}}
	if !cfg.Join.IsZero() {
		j, err := join.Read(cfg.Join)
		if err != nil {
			return nil, withHint(err, "postern join create --role %s makes one, beside the relay", claims.Role)
		}
		r.join = j
		r.fill(j.Pin, func() (string, error) { return j.Token, nil })
	}
	if cfg.Data != "" {
		dir, err := datadir.Load(cfg.Data)
		if err != nil {
			return nil, err
		}
		if len(r.relays) == 0 && cfg.Join.IsZero() {
			r.relays, r.local = []string{localRelay}, true
		}
		r.fill(dir.CA.Pin(), func() (string, error) {
			claims.Expires = time.Now().Add(localLife)
			return jwt.Sign(dir.TokenKey, claims)
		})
	}
	if !cfg.Token.IsZero() {
		r.token = cfg.Token.Read
	}
	return r, nil
}

// fill sets what nothing stronger has set.
func (r *remote) fill(pin string, token func() (string, error)) {
	if r.trust == (pki.Trust{}) {
		r.trust.Pin = pin
	}
	if r.token == nil {
		r.token = token
	}
}

// client returns a client for the relay. It dials nothing. getenv reads the variables that name proxies.
func (r *remote) client(cfg *config.Client, getenv func(string) string, log *slog.Logger) (*client.Client, error) {
	relays, webs, err := agent.Relays(r.relays, r.join)
	if err != nil {
		return nil, err
	}
	if r.local {
		getenv = nil
	}
	proxies, err := viaproxy.New(string(cfg.Proxy), getenv)
	if err != nil {
		return nil, err
	}
	verify, err := pki.ClientTLS(r.trust)
	if err != nil {
		return nil, err
	}
	ladder, err := agent.Ladder(cfg.Transport, transport.ALPNClient, webs, transport.DialOptions{TLS: verify, Proxies: proxies, Log: log})
	if err != nil {
		return nil, err
	}
	return client.New(client.Options{
		Relays: relays, Transports: ladder, Token: r.token,
		Software: "postern/" + version().Version, Log: log,
	})
}

// clientClaims are what a client may do that was started beside the relay: reach every agent.
func clientClaims() jwt.Claims { return jwt.Claims{Role: postern.RoleClient, Agents: []string{"*"}} }
