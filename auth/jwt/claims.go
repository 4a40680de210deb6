package jwt

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/postern-dev/postern"
)

// Claims is what a token says (DESIGN D8). Role and Expires are required.
type Claims struct {
	// Role is the one side the token is good for.
	Role postern.Role
	// AgentID is the agent that a token of role agent stands for, or the one that others may reach.
	AgentID postern.AgentID
	// Agents are the agents that the token may reach, instead of AgentID: ids, with * for any characters. Not for role agent.
	Agents []string
	// Subject is whom the token was made for (sub).
	Subject string
	// Targets are allow-list patterns that every target must pass; empty: no restriction from here.
	Targets []string
	// Ports are the public ports that may be opened with it.
	Ports []postern.PortRange
	// Hosts are the public host names that may be used with it (patterns).
	Hosts []string
	// Audience is whom it is meant for (aud).
	Audience []string
	// ID is the token's own id (jti).
	ID string
	// Issued, NotBefore and Expires are iat, nbf and exp, in whole seconds when signed. Zero: not in the token.
	Issued, NotBefore, Expires time.Time
}

// Peek reads the claims of a token without verifying anything: for its holder, who wants to know what it is
// good for. Never trust what it returns.
func Peek(token string) (Claims, error) {
	p, err := precheck(token)
	if err != nil {
		return Claims{}, fmt.Errorf("the token cannot be read: %w", err)
	}
	c, err := parseClaims(p.payload)
	if err != nil {
		return Claims{}, fmt.Errorf("the token cannot be read: %w", err)
	}
	return c, nil
}

// ClaimsOf returns the claims that make a token for what id is, good until expires: the way to renew one.
func ClaimsOf(id *postern.Identity, expires time.Time) Claims {
	c := Claims{
		Role: id.Role, Subject: id.Subject, Targets: id.Targets, Ports: id.Ports, Hosts: id.Hosts,
		ID: id.TokenID, Expires: expires,
	}
	if id.Role == postern.RoleAgent {
		c.AgentID, c.Subject = id.AgentID(), ""
	} else {
		c.Agents = id.Agents
	}
	return c
}

// parseClaims reads a payload and checks all that does not depend on the time or the relay.
func parseClaims(payload []byte) (Claims, error) {
	members, err := parseObject(payload)
	if err != nil {
		return Claims{}, err
	}
	var c Claims
	for _, claim := range c.readers() {
		raw, there := members[claim.name]
		if !there {
			continue
		}
		if err := claim.read(raw); err != nil {
			return Claims{}, fmt.Errorf("%s: %w", claim.name, err)
		}
	}
	return c, c.check()
}

type claimReader struct {
	name string
	read func(json.RawMessage) error
}

// readers is how each claim is read into c. Members that are not listed here are not looked at.
func (c *Claims) readers() []claimReader {
	return []claimReader{
		{"role", func(raw json.RawMessage) error { return into((*string)(&c.Role), readString, raw) }},
		{"agent_id", func(raw json.RawMessage) error { return into((*string)(&c.AgentID), readString, raw) }},
		{"agents", func(raw json.RawMessage) error { return into(&c.Agents, readStrings, raw) }},
		{"sub", func(raw json.RawMessage) error { return into(&c.Subject, readString, raw) }},
		{"targets", func(raw json.RawMessage) error { return into(&c.Targets, readStrings, raw) }},
		{"ports", func(raw json.RawMessage) error { return into(&c.Ports, readPorts, raw) }},
		{"hosts", func(raw json.RawMessage) error { return into(&c.Hosts, readStrings, raw) }},
		{"aud", func(raw json.RawMessage) error { return into(&c.Audience, readAudience, raw) }},
		{"jti", func(raw json.RawMessage) error { return into(&c.ID, readString, raw) }},
		{"iat", func(raw json.RawMessage) error { return into(&c.Issued, readDate, raw) }},
		{"nbf", func(raw json.RawMessage) error { return into(&c.NotBefore, readDate, raw) }},
		{"exp", func(raw json.RawMessage) error { return into(&c.Expires, readDate, raw) }},
	}
}

func into[T any](dst *T, read func(json.RawMessage) (T, error), raw json.RawMessage) (err error) {
	*dst, err = read(raw)
	return err
}

// readAudience reads one string or a list of them (RFC 7519 §4.1.3).
func readAudience(raw json.RawMessage) ([]string, error) {
	if raw[0] == '[' {
		return readStrings(raw)
	}
	one, err := readString(raw)
	return []string{one}, err
}

// readPorts reads a list of "8080" and "20000-20999".
func readPorts(raw json.RawMessage) ([]postern.PortRange, error) {
	list, err := readStrings(raw)
	if err != nil {
		return nil, err
	}
	ranges := make([]postern.PortRange, 0, len(list))
	for _, s := range list {
		r, err := postern.ParsePortRange(s)
		if err != nil {
			return nil, err
		}
		ranges = append(ranges, r)
	}
	return ranges, nil
}

// check says what is wrong with claims whoever uses them and whenever.
func (c *Claims) check() error {
	switch c.Role {
	case postern.RoleAdmin, postern.RoleOperator, postern.RoleViewer:
	case postern.RoleClient:
		if c.AgentID == "" && len(c.Agents) == 0 {
			return errors.New("a client's token needs agent_id or agents")
		}
	case postern.RoleAgent:
		if c.AgentID == "" || len(c.Agents) > 0 {
			return errors.New("an agent's token needs agent_id, and no agents")
		}
	case "":
		return errors.New("role is missing")
	default:
		return errors.New("role is none of admin, operator, viewer, agent, client")
	}
	if c.AgentID != "" {
		if len(c.Agents) > 0 {
			return errors.New("agent_id and agents exclude each other")
		}
		if _, err := postern.ParseAgentID(string(c.AgentID)); err != nil {
			return fmt.Errorf("agent_id: %w", err)
		}
	}
	for _, pattern := range c.Agents {
		// Whatever is an id once its stars are gone is a pattern without the other magic of path.Match.
		if _, err := postern.ParseAgentID(strings.ReplaceAll(pattern, "*", "x")); err != nil {
			return errors.New("agents: an entry is neither an agent id nor a pattern of one")
		}
	}
	if c.Expires.IsZero() {
		return errors.New("exp is missing")
	}
	return nil
}

// validAt checks exp, nbf and iat against now.
func (c *Claims) validAt(now time.Time) error {
	switch {
	case !now.Before(c.Expires.Add(leeway)):
		return errors.New("the token expired at " + c.Expires.UTC().Format(time.RFC3339) + "; ask for a new one")
	case c.NotBefore.After(now.Add(leeway)):
		return errors.New("the token is not good before " + c.NotBefore.UTC().Format(time.RFC3339) + "; are the clocks right?")
	case c.Issued.After(now.Add(leeway)):
		return errors.New("the token was issued in the future, at " + c.Issued.UTC().Format(time.RFC3339) + "; are the clocks right?")
	}
	return nil
}

// lifetime is how long the token is good for, as far as it tells.
func (c *Claims) lifetime(now time.Time) time.Duration {
	start := now
	switch {
	case !c.Issued.IsZero():
		start = c.Issued
	case !c.NotBefore.IsZero():
		start = c.NotBefore
	}
	return c.Expires.Sub(start)
}

// identity is who the token makes its holder.
func (c *Claims) identity(thumbprint string) *postern.Identity {
	id := &postern.Identity{
		Method: Name, Key: thumbprint, Subject: c.Subject, TokenID: c.ID, Role: c.Role,
		Agents: c.Agents, Targets: c.Targets, Ports: c.Ports, Hosts: c.Hosts, Expires: c.Expires,
	}
	if c.AgentID != "" {
		id.Agents = []string{string(c.AgentID)}
	}
	if c.Role == postern.RoleAgent || id.Subject == "" {
		id.Subject = string(c.AgentID)
	}
	return id
}
