// Package control is how commands speak with the relay that runs beside them: HTTP with JSON over a unix socket in
// the relay's data folder, which nobody but its owner may open. Paths, requests and answers stand here for both sides.
//
//	l, err := control.Listen(ctx, control.Path(dir)) // the relay
//	err = l.Serve(ctx, control.Handler(relay))
//
//	agents, err := control.NewClient(dir).Agents(ctx) // a command
//	if errors.Is(err, control.ErrNoRelay) {
//		// nobody runs with that folder
//	}
package control

import (
	"context"
	"errors"
	"path/filepath"
	"time"
)

// The paths, with the method of each. A change that an older side cannot understand gets a new number.
const (
	PathAgents = "/v1/agents" // GET: Agents
	PathJoin   = "/v1/join"   // POST JoinRequest: JoinAnswer
)

// socketName is the socket's name in the data folder.
const socketName = "control.sock"

// Path is where the socket of a relay with that data folder is.
func Path(dataDir string) string { return filepath.Join(dataDir, socketName) }

// ErrNoRelay says that no relay runs with the data folder.
var ErrNoRelay = errors.New("no relay runs with this data folder")

// Relay is what a relay can be asked. Both methods may be called concurrently. Errors of type *postern.Error reach the
// command with their kind and detail; of others it learns only that something is broken.
type Relay interface {
	// Agents lists the sessions of now, in the order of their ids.
	Agents(ctx context.Context) ([]Agent, error)
	// Join makes a join string.
	Join(ctx context.Context, r JoinRequest) (JoinAnswer, error)
}

// Agents is the answer to PathAgents.
type Agents struct {
	Agents []Agent `json:"agents"`
}

// Agent is one session of an agent.
type Agent struct {
	ID        string    `json:"id"`
	Transport string    `json:"transport"` // "tls", "quic", ...
	Address   string    `json:"address"`   // where it comes from, host:port
	Version   string    `json:"version,omitempty"`
	Since     time.Time `json:"since"`
	Streams   int64     `json:"streams"`  // open now
	Sent      int64     `json:"sent"`     // bytes to the agent
	Received  int64     `json:"received"` // bytes from the agent
}

// JoinRequest asks for a join string.
type JoinRequest struct {
	AgentID  string   `json:"agent_id"`
	Role     string   `json:"role"`               // "agent" or "client"
	Targets  []string `json:"targets,omitempty"`  // allow-list patterns; empty: no restriction from the token
	Ports    []string `json:"ports,omitempty"`    // "80" or "20000-20999"; empty: none
	Hosts    []string `json:"hosts,omitempty"`    // patterns of public host names; empty: none
	Relay    []string `json:"relay,omitempty"`    // addresses to write in; empty, and no Web: the relay's own
	Web      string   `json:"web,omitempty"`      // URL of the web listener to write in
	Lifetime Duration `json:"lifetime,omitempty"` // of the token inside; 0: 24 h
}

// JoinAnswer has the join string. It is a secret: it must not be logged.
type JoinAnswer struct {
	Join      string    `json:"join"`
	Expires   time.Time `json:"expires"`
	Addresses []string  `json:"addresses"`
	Web       string    `json:"web,omitempty"`
	Pin       string    `json:"pin"`
}

// Duration is a time.Duration that JSON shows as "24h0m0s".
type Duration time.Duration

// MarshalText writes it as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = Duration(parsed)
	return err
}

// failure is the answer when something went wrong.
type failure struct {
	Kind   uint8  `json:"kind"`
	Hop    string `json:"hop"`
	Detail string `json:"detail"`
}

// maxBody bounds a request and an answer to a join; lists of agents may be longer.
const (
	maxBody = 64 << 10
	maxList = 64 << 20
)
