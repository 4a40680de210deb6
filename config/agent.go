package config

import "time"

// Agent is everything an operator can say to an agent. The yaml tag is the key, the flag and, in capitals after POSTERN_, the variable.
// LoadAgent makes it; after that it is never written, so it may be read concurrently.
type Agent struct {
	// Relay are the relays to hold a session with: host:port of the agents listener, or a URL of the web listener.
	Relay []string `yaml:"relay" arg:"ADDR" help:"relay to connect to: host:port of its agents listener, or an https:// or http:// URL"`
	// RelaysActive is how many different relays to hold a session with at once; the others stand by.
	RelaysActive int `yaml:"relays-active" arg:"N" help:"how many different relays to hold a session with at once; the others stand by"`
	// AgentID is the agent's name where the relay runs with auth none; elsewhere the token says it. With Data and no token it
	// says which of the tokens there is meant.
	AgentID string `yaml:"agent-id" arg:"ID" help:"the agent's name where the relay has auth none; elsewhere its token says it"`
	// Token proves who the agent is: a token, or file:PATH, read again before each dial.
	Token Secret `yaml:"token" arg:"TOKEN" help:"agent token, or file:PATH"`
	// Data is the folder where fresh tokens from the relay are kept, and which relay and transport worked in which network. Empty: with
	// Join the first of $STATE_DIRECTORY, $XDG_STATE_HOME/postern and ~/.local/state/postern that the environment gives; without it they
	// are kept in memory only.
	Data string `yaml:"data" arg:"DIR" help:"folder for tokens that the relay renews, and for what worked in which network; made when missing; none given: ~/.local/state/postern with join, else memory only"`
	// CA is a PEM file of the CAs that the relay's certificate is checked with, in place of the system's.
	CA string `yaml:"ca" arg:"FILE" help:"PEM certificates the relay is checked with, in place of the system's"`
	// Pin is sha256:HEX of a public key that must be in the relay's chain. It stands in for CA.
	Pin string `yaml:"pin" arg:"PIN" help:"sha256:HEX of the relay's CA key"`
	// Join is a string of postern join create, or @FILE with one: addresses, pin and token in one.
	Join Secret `yaml:"join" arg:"STRING" help:"string of postern join create, or @FILE: addresses, pin and token in one"`
	// Transport are the ways to hold the connection, best first: auto, or some of tls, quic, websocket, longpoll.
	Transport []string `yaml:"transport" arg:"LIST" help:"ways to hold the connection, best first: auto, tls, quic, websocket, longpoll"`
	// Proxy is on the way to the relay for everything but quic: http, https or socks5://[user:password@]host:port, or off. Empty:
	// what HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY say.
	Proxy ProxyURL `yaml:"proxy" arg:"URL" help:"proxy on the way to the relay: http, https or socks5://[user:password@]host:port, or off; none given: HTTPS_PROXY and the like"`

	// Allow are patterns of targets that clients may ask for. Empty: nothing but services.
	Allow []string `yaml:"allow" arg:"PATTERN" help:"targets that clients may reach (host, host:port, *.zone, CIDR, *); none given: services only"`
	// Service are targets with a name, in the order given.
	Service []Service `yaml:"service" arg:"NAME=URL" help:"target with a name: tcp://host:port, udp://host:port, http://host:port, unix:///path, file:///dir"`
	// Selftest declares the hidden service selftest: echo, discard, source, delay, status, abort.
	Selftest bool `yaml:"selftest" help:"offer the hidden service selftest: echo, discard, source, delay, status, abort"`

	// Admin has metrics and health.
	Admin Addr `yaml:"admin" arg:"ADDR" help:"listener for metrics and health"`
	// Grace is how long a stopping agent lets its streams go on. 0: not at all.
	Grace time.Duration `yaml:"grace" arg:"DURATION" help:"how long streams may go on while stopping"`

	// LogLevel is trace, debug, info, warn or error.
	LogLevel string `yaml:"log-level" arg:"LEVEL" help:"trace, debug, info, warn or error"`
	// LogFormat is text or json. Empty: text on a terminal, json otherwise.
	LogFormat string `yaml:"log-format" arg:"FORMAT" help:"text or json; none given: text on a terminal, else json"`
	// ReadyFile is written once the first session is up, and again whenever that changes.
	ReadyFile string `yaml:"ready-file" arg:"FILE" help:"JSON file with the sessions, written once the first is up and on every change"`
}

// Service is a target that an agent has given a name.
type Service struct {
	Name string // follows the rules of agent ids, in lower case
	URL  string // tcp://host:port, udp://host:port, http://host:port, unix:///path or file:///dir
}

// String is NAME=URL, as in the flag.
func (s Service) String() string { return s.Name + "=" + s.URL }

// DefaultAgent returns what holds where nothing was said. It is the only place with defaults of an agent.
func DefaultAgent() *Agent {
	return &Agent{
		RelaysActive: 1,
		Transport:    []string{"auto"},
		Admin:        Off,
		Grace:        30 * time.Second,
		LogLevel:     "info",
	}
}
