package jwt

import (
	"crypto"
	"encoding/json"
	"fmt"
	"time"
)

// MaxPassword is what fits into the password of SOCKS5 (RFC 1929 §2). A client's token of ES256 or EdDSA does,
// with an agent id of 62 characters and no other claims, or a shorter one and a jti.
const MaxPassword = 255

// wireClaims is the payload that Sign writes, as short as it can be.
type wireClaims struct {
	Role      string   `json:"role"`
	AgentID   string   `json:"agent_id,omitempty"`
	Agents    []string `json:"agents,omitempty"`
	Subject   string   `json:"sub,omitempty"`
	Targets   []string `json:"targets,omitempty"`
	Ports     []string `json:"ports,omitempty"`
	Hosts     []string `json:"hosts,omitempty"`
	Audience  any      `json:"aud,omitempty"`
	ID        string   `json:"jti,omitempty"`
	Issued    int64    `json:"iat,omitempty"`
	NotBefore int64    `json:"nbf,omitempty"`
	Expires   int64    `json:"exp"`
}

// Sign makes a token that says claims, signed by key with the algorithm of its type. Claims that New's method would
// refuse are an error.
func Sign(key crypto.Signer, claims Claims) (string, error) {
	method, err := methodOf(key.Public())
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims.wire())
	if err != nil {
		return "", fmt.Errorf("write the claims: %w", err)
	}
	if claims.Expires.IsZero() {
		return "", fmt.Errorf("the claims are not complete: exp is missing")
	}
	if _, err := parseClaims(payload); err != nil {
		return "", fmt.Errorf("the claims cannot be used: %w", err)
	}
	signed := b64([]byte(`{"alg":"`+method.Alg()+`"}`)) + "." + b64(payload)
	signature, err := method.Sign(signed, key)
	if err != nil {
		return "", fmt.Errorf("sign the token: %w", err)
	}
	token := signed + "." + b64(signature)
	if len(token) > maxToken {
		return "", fmt.Errorf("the token would have %d bytes, at most %d are accepted", len(token), maxToken)
	}
	return token, nil
}

func (c *Claims) wire() wireClaims {
	w := wireClaims{
		Role: string(c.Role), AgentID: string(c.AgentID), Agents: c.Agents, Subject: c.Subject, Targets: c.Targets,
		Hosts: c.Hosts, ID: c.ID,
		Issued: unix(c.Issued), NotBefore: unix(c.NotBefore), Expires: unix(c.Expires),
	}
	for _, r := range c.Ports {
		w.Ports = append(w.Ports, r.String())
	}
	switch len(c.Audience) {
	case 0:
	case 1:
		w.Audience = c.Audience[0]
	default:
		w.Audience = c.Audience
	}
	return w
}

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
