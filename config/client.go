package config

// Client is everything that forward, connect and expose can be told about the relay. The yaml tag is the key, the flag and, in capitals
// after POSTERN_, the variable. LoadClient makes it; after that it is never written, so it may be read concurrently.
type Client struct {
	// Relay are the relays to try, in this order: host:port of the agents listener, or a URL of the web listener.
	Relay []string `yaml:"relay" arg:"ADDR" help:"relay to connect to: host:port of its agents listener, or an https:// or http:// URL"`
	// Join is a string of postern join create, or @FILE with one: addresses, pin and token in one.
	Join Secret `yaml:"join" arg:"STRING" help:"string of postern join create, or @FILE: addresses, pin and token in one"`
	// Token proves who we are: a token, or file:PATH, read again before each dial. Empty with a relay of auth none.
	Token Secret `yaml:"token" arg:"TOKEN" help:"token, or file:PATH"`
	// CA is a PEM file of the CAs that the relay's certificate is checked with, in place of the system's.
	CA string `yaml:"ca" arg:"FILE" help:"PEM certificates the relay is checked with, in place of the system's"`
	// Pin is sha256:HEX of a public key that must be in the relay's chain. It stands in for CA.
	Pin string `yaml:"pin" arg:"PIN" help:"sha256:HEX of the relay's CA key"`
	// Data is the data folder of a relay on this machine, which then gives the CA and the token.
	Data string `yaml:"data" arg:"DIR" help:"data folder of a relay on this machine, in place of ca and token"`
	// Transport are the ways to hold the connection, best first: auto, or some of tls, quic, websocket, longpoll.
	Transport []string `yaml:"transport" arg:"LIST" help:"ways to hold the connection, best first: auto, tls, quic, websocket, longpoll"`
	// Proxy is on the way to the relay for everything but quic: http, https or socks5://[user:password@]host:port, or off. Empty:
	// what HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY say.
	Proxy ProxyURL `yaml:"proxy" arg:"URL" help:"proxy on the way to the relay: http, https or socks5://[user:password@]host:port, or off; none given: HTTPS_PROXY and the like"`

	// LogLevel is trace, debug, info, warn or error.
	LogLevel string `yaml:"log-level" arg:"LEVEL" help:"trace, debug, info, warn or error"`
	// LogFormat is text or json. Empty: text on a terminal, json otherwise.
	LogFormat string `yaml:"log-format" arg:"FORMAT" help:"text or json; none given: text on a terminal, else json"`
}

// DefaultClient returns what holds where nothing was said. It is the only place with defaults of a client.
func DefaultClient() *Client {
	return &Client{Transport: []string{"auto"}, LogLevel: "error"}
}
