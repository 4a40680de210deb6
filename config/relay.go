package config

import (
	"time"

	"github.com/postern-dev/postern"
)

// Relay is everything an operator can say to a relay. The yaml tag is the key, the flag and, in capitals after POSTERN_, the variable.
// LoadRelay makes it; after that it is never written, so it may be read concurrently.
type Relay struct {
	// Data is the folder with the relay's CA, certificate, signing key, records and control socket. Empty: keep nothing;
	// then keys and certificates are to be given.
	Data string `yaml:"data" arg:"DIR" help:"folder for keys, certificates, records and the control socket; made when missing"`

	// Agents is where agents, postern connect and postern forward come in: TLS on TCP and QUIC on UDP, same number.
	Agents Addr `yaml:"agents" arg:"ADDR" help:"listener for agents: TLS on TCP and QUIC on UDP, same number"`
	// Proxy is the HTTP proxy: CONNECT and absolute-form requests.
	Proxy Addr `yaml:"proxy" arg:"ADDR" help:"listener of the HTTP proxy"`
	// Socks is the SOCKS5 proxy.
	Socks Addr `yaml:"socks" arg:"ADDR" help:"listener of the SOCKS5 proxy"`
	// Web carries /servers/, the API, the pages, and agents on websocket and longpoll.
	Web Addr `yaml:"web" arg:"ADDR" help:"listener for browsers, the API, and agents on websocket and longpoll"`
	// HTTP answers ACME HTTP-01 and redirects everything else to https.
	HTTP Addr `yaml:"http" arg:"ADDR" help:"listener for ACME HTTP-01 and the redirect to https"`
	// Admin answers health checks.
	Admin Addr `yaml:"admin" arg:"ADDR" help:"listener for health checks: /healthz and /readyz"`

	// Ports are the public ports that agents may open here, within what their tokens permit. Zero: what tokens permit.
	Ports postern.PortRange `yaml:"ports" arg:"LOW-HIGH" help:"public ports that agents may open; none given: what their tokens permit"`

	// Auth are the ways to prove who one is, in the order they are tried: jwt, key, mtls, user; or none, alone.
	Auth []string `yaml:"auth" arg:"LIST" help:"ways to prove who one is: jwt, key, mtls, user; or none, alone"`
	// PublicKey is a PEM file that tokens are checked with, in place of the data folder's own key.
	PublicKey string `yaml:"public-key" arg:"FILE" help:"PEM public key that tokens are checked with, in place of the data folder's"`
	// Audience is what tokens must carry in aud. Empty: not looked at.
	Audience string `yaml:"audience" arg:"NAME" help:"audience that tokens must name"`
	// ClientCA is a PEM file of the CAs that client certificates are checked with (auth mtls).
	ClientCA string `yaml:"client-ca" arg:"FILE" help:"PEM certificates of the CAs for client certificates"`
	// ClientCRL is a file with the revocation list of ClientCA.
	ClientCRL string `yaml:"client-crl" arg:"FILE" help:"revocation list that goes with client-ca"`

	// Allow are patterns of targets that may be asked for through this relay. Empty: what tokens permit.
	Allow []string `yaml:"allow" arg:"PATTERN" help:"targets that may be asked for (host, host:port, *.zone, CIDR, *); none given: what tokens permit"`

	// Directory is where the relays of a cluster write down which of them holds which agent.
	Directory string `yaml:"directory" arg:"URL" help:"where a cluster keeps which relay holds which agent"`
	// ClusterKey is the file with the key that the relays of a cluster share.
	ClusterKey string `yaml:"cluster-key" arg:"FILE" help:"key that the relays of a cluster share"`
	// Tunnels is where records of tunnels are kept. Empty: in the data folder.
	Tunnels string `yaml:"tunnels" arg:"URL" help:"where records of tunnels are kept"`
	// Advertise are the names and addresses, with or without a port, that agents and clients reach this relay by: they go into its
	// certificate and into join strings.
	Advertise []string `yaml:"advertise" arg:"ADDR" help:"name or address that agents reach this relay by; goes into its certificate and join strings"`

	// TLSCert is the PEM certificate, with its chain, for clients and agents in place of the data folder's.
	TLSCert string `yaml:"tls-cert" arg:"FILE" help:"PEM certificate and chain, in place of the data folder's"`
	// TLSKey is the PEM private key of TLSCert.
	TLSKey string `yaml:"tls-key" arg:"FILE" help:"PEM private key of tls-cert"`
	// Cleartext lets clients from other machines send credentials without TLS.
	Cleartext bool `yaml:"cleartext" help:"let clients on other machines send credentials without TLS"`

	// Park is how long a stream waits for an agent that was here in the last minute. 0: not at all.
	Park time.Duration `yaml:"park" arg:"DURATION" help:"how long a stream waits for an agent that has just gone"`
	// Idle ends streams through which no byte has passed for so long, in either direction. 0: never, which suits ssh sessions.
	Idle time.Duration `yaml:"idle" arg:"DURATION" help:"end streams through which nothing has passed for so long; 0: never"`
	// Grace is how long a stopping relay lets its streams go on. 0: not at all.
	Grace time.Duration `yaml:"grace" arg:"DURATION" help:"how long streams may go on while stopping"`

	// LogLevel is trace, debug, info, warn or error.
	LogLevel string `yaml:"log-level" arg:"LEVEL" help:"trace, debug, info, warn or error"`
	// LogFormat is text or json. Empty: text on a terminal, json otherwise.
	LogFormat string `yaml:"log-format" arg:"FORMAT" help:"text or json; none given: text on a terminal, else json"`
	// ReadyFile is written once every listener is open.
	ReadyFile string `yaml:"ready-file" arg:"FILE" help:"JSON file with the open listeners, written once all of them are"`
}

// DefaultRelay returns what holds where nothing was said. It is the only place with defaults of a relay.
func DefaultRelay() *Relay {
	return &Relay{
		Agents:   ":4242",
		Proxy:    ":3128",
		Socks:    "127.0.0.1:1080",
		Web:      ":8080",
		HTTP:     Off,
		Admin:    "127.0.0.1:9090",
		Auth:     []string{"jwt", "key"},
		Park:     2 * time.Second,
		Grace:    30 * time.Second,
		LogLevel: "info",
	}
}
