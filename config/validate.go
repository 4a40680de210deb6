package config

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/egress/allow"
	"github.com/postern-dev/postern/internal/pki"
	"github.com/postern-dev/postern/transport"
)

// Validate looks at what goes together. It returns nil or Problems: everything that is wrong, each with its key and a remedy.
func (c *Relay) Validate() error {
	var ps Problems
	add := ps.add
	checkAddr("agents", c.Agents, add)
	checkAddr("proxy", c.Proxy, add)
	checkAddr("socks", c.Socks, add)
	checkAddr("web", c.Web, add)
	checkAddr("http", c.HTTP, add)
	checkAddr("admin", c.Admin, add)
	if c.Agents.IsOff() {
		add("agents", "a relay needs its listener for agents", "write an address, such as :4242")
	}
	c.checkKeys(add)
	checkAuth(c.Auth, add)
	checkDuration("park", c.Park, add)
	checkDuration("idle", c.Idle, add)
	checkDuration("grace", c.Grace, add)
	checkPatterns(c.Allow, add)
	checkTravelling(c.Allow, add)
	for i, a := range c.Advertise {
		if err := checkHost(a); err != nil {
			add(item("advertise", i), err.Error(), "write a name or an address, with or without a port")
		}
	}
	checkLog(c.LogLevel, c.LogFormat, add)
	return ps.err()
}

// adder notes a problem of a key.
type adder func(key, text, hint string)

func (ps *Problems) add(key, text, hint string) {
	*ps = append(*ps, Problem{Key: key, Text: text, Hint: hint})
}

func checkAddr(key string, a Addr, add adder) {
	if err := a.Check(); err != nil {
		add(key, err.Error(), addrHint)
	}
}

func checkDuration(key string, d time.Duration, add adder) {
	if d < 0 {
		add(key, "the duration is negative", durationHint)
	}
}

// checkPatterns reports every malformed pattern: none is ever skipped (PROMISES P-2).
func checkPatterns(patterns []string, add adder) {
	for i, pattern := range patterns {
		if _, err := allow.Parse([]string{pattern}); err != nil {
			text, hint := err.Error(), "write host, host:port, host:low-high, *.zone, an address, a CIDR, or *"
			if e, ok := errors.AsType[*allow.PatternError](err); ok {
				text, hint = fmt.Sprintf("%q is not a pattern: %s", clip(e.Pattern), e.Problem), e.Remedy
			}
			add(item("allow", i), text, hint)
		}
	}
}

// maxTravelling is how many bytes a relay's patterns with addresses may have: where a name is asked for, all of them travel in the open
// frame (32 KiB), beside those of the token.
const maxTravelling = 24 << 10

// checkTravelling sees to it that the patterns of a relay can be sent to agents.
func checkTravelling(patterns []string, add adder) {
	set, err := allow.Parse(patterns)
	if err != nil {
		return // checkPatterns says why
	}
	size := 0
	for _, pattern := range set.ForNames() {
		size += len(pattern) + 2 // as CBOR has it
	}
	if size > maxTravelling {
		add("allow", fmt.Sprintf("the patterns with addresses have %d bytes, at most %d can be sent along to agents", size, maxTravelling),
			"join neighbouring ranges into larger ones, such as 10.0.0.0/8")
	}
}

// checkKeys sees to it that a relay has what proves others; a certificate for itself it can always make.
func (c *Relay) checkKeys(add adder) {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		add("tls-cert", "tls-cert and tls-key go together, and one is missing", "give both, or neither")
		return
	}
	if c.Data == "" && c.PublicKey == "" && !slices.Equal(c.Auth, []string{"none"}) {
		add("data", "the relay has no key to check tokens with", "give --data DIR, where it makes one, or --public-key FILE")
	}
}

// authMethods are the words of the key auth but none.
func authMethods() []string { return []string{"jwt", "key", "mtls", "user"} }

func checkAuth(methods []string, add adder) {
	const hint = "write some of jwt, key, mtls, user; or none, alone, which lets everybody in"
	if len(methods) == 0 {
		add("auth", "the list is empty", hint)
		return
	}
	if slices.Contains(methods, "none") && len(methods) > 1 {
		add("auth", "none stands beside other methods", hint)
		return
	}
	present := methods[0] == "none"
	for i, m := range methods {
		if m != "none" && !slices.Contains(authMethods(), m) {
			add(item("auth", i), fmt.Sprintf("%q is not a method", clip(m)), didYouMean(m, append(authMethods(), "none"), hint))
			return
		}
		present = present || InThisVersion("auth", m)
	}
	if !present {
		add("auth", "none of these methods is in this version", "add jwt")
	}
}

// Validate looks at what goes together. It returns nil or Problems: everything that is wrong, each with its key and a remedy.
func (c *Agent) Validate() error {
	var ps Problems
	add := ps.add
	if len(c.Relay) == 0 && c.Join.IsZero() {
		add("relay", "the agent has no relay to connect to", "give --join STRING, or --relay host:4242")
	}
	checkRelays(c.Relay, add)
	if c.RelaysActive < 1 || c.RelaysActive > maxRelaysActive {
		add("relays-active", fmt.Sprintf("%d is not from 1 to %d", c.RelaysActive, maxRelaysActive), "leave it out for 1")
	}
	if c.Token.IsZero() && c.Join.IsZero() && c.AgentID == "" && c.Data == "" {
		add("token", "the agent has nothing to prove itself with", "give --join STRING, --token file:PATH, or --agent-id ID for a relay with auth none")
	}
	if c.AgentID != "" {
		if _, err := postern.ParseAgentID(c.AgentID); err != nil {
			add("agent-id", err.Error(), "choose up to 64 letters, digits and . _ -")
		}
	}
	checkTrust(c.Pin, c.CA, add)
	checkTransports(c.Transport, add)
	checkPatterns(c.Allow, add)
	checkServices(c.Service, add)
	checkAddr("admin", c.Admin, add)
	checkDuration("grace", c.Grace, add)
	checkLog(c.LogLevel, c.LogFormat, add)
	return ps.err()
}

// Validate looks at what goes together. It returns nil or Problems: everything that is wrong, each with its key and a remedy.
func (c *Client) Validate() error {
	var ps Problems
	add := ps.add
	if len(c.Relay) == 0 && c.Join.IsZero() && c.Data == "" {
		add("relay", "there is no relay to connect to", "give --join STRING, or --relay host:4242")
	}
	checkRelays(c.Relay, add)
	checkTrust(c.Pin, c.CA, add)
	checkTransports(c.Transport, add)
	checkLog(c.LogLevel, c.LogFormat, add)
	return ps.err()
}

// maxRelaysActive is more than a cluster has relays that one agent is any use to.
const maxRelaysActive = 16

func checkRelays(relays []string, add adder) {
	for i, r := range relays {
		if err := checkRelay(r); err != nil {
			add(item("relay", i), err.Error(), "write host:port of the relay's agents listener, such as relay.example.com:4242, or https://host/ of its web listener")
		}
	}
}

func checkTrust(pin, ca string, add adder) {
	if pin == "" {
		return
	}
	if _, err := pki.ParsePin(pin); err != nil {
		add("pin", fmt.Sprintf("%q is not a pin", clip(pin)), err.Error())
	}
	if ca != "" {
		add("ca", "ca and pin exclude each other", "give one of the two")
	}
}

func checkTransports(list []string, add adder) {
	all := []string{"auto", "tls", "quic", "websocket", "longpoll"}
	const hint = "write auto, or some of tls, quic, websocket, longpoll, best first"
	if len(list) == 0 {
		add("transport", "the list is empty", hint)
		return
	}
	present := false
	for i, t := range list {
		if !slices.Contains(all, t) {
			add(item("transport", i), fmt.Sprintf("%q is not a transport", clip(t)), didYouMean(t, all, hint))
			return
		}
		present = present || InThisVersion("transport", t)
	}
	if slices.Contains(list, "auto") && len(list) > 1 {
		add("transport", "auto stands beside other transports", hint)
	} else if !present {
		add("transport", "none of these transports is in this version", "add tls or quic")
	}
}

func checkServices(services []Service, add adder) {
	names := make(map[string]bool)
	for i, s := range services {
		if names[s.Name] {
			add(item("service", i), fmt.Sprintf("the name %q is taken twice", s.Name), "give every service a name of its own")
		}
		names[s.Name] = true
		if s.Name == "selftest" {
			add(item("service", i), `the name "selftest" is kept for --selftest`, "choose another name")
		}
		if _, err := ParseService(s.String()); err != nil {
			add(item("service", i), err.Error(), serviceHint)
		}
	}
}

// checkRelay takes host:port, https://host[:port][/path] and http://host[:port][/path].
func checkRelay(s string) error {
	if !strings.Contains(s, "://") {
		if _, err := postern.HostPortTarget(postern.TCP, s); err != nil {
			return fmt.Errorf("%q is not host:port", clip(s))
		}
		return nil
	}
	if _, err := transport.ParseWeb(s); err != nil && strings.Contains(s, "@") {
		return errors.New("the URL of a relay has no user and no password") // which are not repeated here
	} else if err != nil {
		return fmt.Errorf("%q is not an https:// or http:// URL of a relay", clip(s))
	}
	return nil
}

// checkHost takes a name or an address, with or without a port.
func checkHost(s string) error {
	host := s
	if h, _, err := net.SplitHostPort(s); err == nil {
		host = h
		if _, err := postern.HostPortTarget(postern.TCP, s); err != nil {
			return err
		}
	}
	_, err := postern.CanonicalHost(host)
	return err
}

func checkLog(level, format string, add adder) {
	levels, formats := []string{"trace", "debug", "info", "warn", "error"}, []string{"text", "json"}
	if !slices.Contains(levels, level) {
		add("log-level", fmt.Sprintf("%q is not a level", clip(level)), didYouMean(level, levels, "write trace, debug, info, warn or error"))
	}
	if format != "" && !slices.Contains(formats, format) {
		add("log-format", fmt.Sprintf("%q is not a format", clip(format)), didYouMean(format, formats, "write text or json"))
	}
}

// item names one item of a list.
func item(key string, i int) string { return fmt.Sprintf("%s[%d]", key, i) }
