package jwt

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// maxToken is the longest token that is looked into (PROMISES P-8).
const maxToken = 8 << 10

// parts is a token taken apart, nothing of it verified.
type parts struct {
	alg       string
	kid       string
	hasKid    bool
	payload   []byte
	signed    string // header.payload, what the signature is over
	signature []byte
}

// looksLikeToken reports whether s has exactly the two dots of a compact token (RFC 7515 §7.1).
func looksLikeToken(s string) bool { return strings.Count(s, ".") == 2 }

// precheck takes a token apart and refuses what needs no key to be refused. Strangers choose its input.
func precheck(token string) (parts, error) {
	if len(token) > maxToken {
		return parts{}, fmt.Errorf("it has %d bytes, at most %d are looked into", len(token), maxToken)
	}
	if !looksLikeToken(token) {
		return parts{}, errors.New("it does not have three parts")
	}
	lastDot := strings.LastIndexByte(token, '.')
	header64, payload64, _ := strings.Cut(token[:lastDot], ".")
	header, err := decode(header64)
	if err != nil {
		return parts{}, fmt.Errorf("header: %w", err)
	}
	p := parts{signed: token[:lastDot]}
	if err := p.readHeader(header); err != nil {
		return parts{}, fmt.Errorf("header: %w", err)
	}
	if p.payload, err = decode(payload64); err != nil {
		return parts{}, fmt.Errorf("payload: %w", err)
	}
	if p.signature, err = decode(token[lastDot+1:]); err != nil {
		return parts{}, fmt.Errorf("signature: %w", err)
	}
	return p, nil
}

// decode reads base64url without padding. encoding/base64 passes over line ends, which would give a token many spellings.
func decode(s string) ([]byte, error) {
	if s == "" {
		return nil, errors.New("it is empty")
	}
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("it has a line end")
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, errors.New("it is not base64url")
	}
	return b, nil
}

// refusedHeaders would have us take a key from the token or from the network, or change what is signed (RFC 7515 §4.1, RFC 7797).
// crit names extensions that must be understood; we understand none.
func refusedHeaders() []string {
	return []string{"jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc", "cty"}
}

func (p *parts) readHeader(raw []byte) error {
	h, err := parseObject(raw)
	if err != nil {
		return err
	}
	for _, name := range refusedHeaders() {
		if _, there := h[name]; there {
			return fmt.Errorf("%s is not supported", name)
		}
	}
	if p.alg, err = readString(h["alg"]); err != nil {
		return fmt.Errorf("alg: %w", err)
	}
	switch p.alg {
	case algES256, algRS256, algEdDSA:
	default:
		return errors.New("alg is none of ES256, RS256, EdDSA")
	}
	if raw, there := h["typ"]; there {
		if typ, err := readString(raw); err != nil || !strings.EqualFold(typ, "JWT") {
			return errors.New("typ is not JWT")
		}
	}
	if raw, there := h["kid"]; there {
		p.hasKid = true
		if p.kid, err = readString(raw); err != nil {
			return fmt.Errorf("kid: %w", err)
		}
	}
	return nil
}
