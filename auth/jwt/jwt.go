// Package jwt verifies and signs the tokens of Postern: JSON Web Tokens (RFC 7519) in compact form, signed with ES256, RS256 or EdDSA.
//
//	key, err := jwt.GenerateKey("ES256")
//	token, err := jwt.Sign(key, jwt.Claims{Role: postern.RoleAgent, AgentID: "nas", Expires: time.Now().Add(24 * time.Hour)})
//	method, err := jwt.New(jwt.Options{Keys: []crypto.PublicKey{key.Public()}})
//	chain := &auth.Chain{Methods: []auth.Method{method}}
//	id, err := chain.Verify(ctx, auth.Credential{Role: postern.RoleAgent, Secret: token})
//
// What a token is signed with is decided by the relay's keys alone, never by the token: each key has the one algorithm of its type.
// Nothing is ever fetched. Tokens made for reverse-http are accepted.
package jwt

import (
	"context"
	"crypto"
	"errors"
	"slices"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
)

// Name is the method's name in --auth, in logs and in identities.
const Name = "jwt"

// leeway is for exp, nbf and iat alike.
const leeway = postern.ClockLeeway

// Options configure New. Keys is required.
type Options struct {
	// Keys are the public keys whose tokens are accepted: *ecdsa.PublicKey on P-256, *rsa.PublicKey from 2048 bits, ed25519.PublicKey.
	Keys []crypto.PublicKey
	// Audience must be among a token's aud; empty: aud is not looked at. That is laxer than RFC 7519 §4.1.3, which has a
	// recipient without a name refuse tokens with an aud; reverse-http accepts them, and so must we.
	Audience string
	// MaxLifetime is how long a token may be good for, counted from its iat, else its nbf, else now; 0: any time.
	MaxLifetime time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// New returns the method that accepts tokens signed by one of opts.Keys. It fails when there is no key or one cannot be used.
func New(opts Options) (auth.Method, error) {
	if len(opts.Keys) == 0 {
		return nil, errors.New("no public key to verify tokens with")
	}
	m := &method{opts: opts, cache: newCache()}
	if m.opts.Now == nil {
		m.opts.Now = time.Now
	}
	for _, pub := range opts.Keys {
		v, err := newVerifier(pub)
		if err != nil {
			return nil, err
		}
		m.verifiers = append(m.verifiers, v)
	}
	return m, nil
}

var _ auth.Method = (*method)(nil)

type method struct {
	opts      Options
	verifiers []verifier
	cache     *cache
}

// Verify implements auth.Method.
//
// Until the signature has been verified every failure reads the same. After that the holder has proved that the token is ours, and is
// told what is wrong with it.
func (m *method) Verify(_ context.Context, c auth.Credential) (*postern.Identity, error) {
	if len(c.Secret) > maxToken {
		return nil, refusal(errors.New("it is longer than any token"))
	}
	if !looksLikeToken(c.Secret) {
		return nil, auth.ErrNotMine
	}
	now, tag := m.opts.Now(), m.cache.tag(c.Secret)
	known, cached := m.cache.get(tag)
	if !cached {
		var err error
		if known, err = m.open(c.Secret); err != nil {
			return nil, refusal(err)
		}
	}
	if err := known.claims.validAt(now); err != nil {
		if cached && !now.Before(known.claims.Expires.Add(leeway)) {
			m.cache.drop(tag)
		}
		return nil, postern.Errorf(postern.Unauthenticated, postern.HopRelay, "%w", notNow{err})
	}
	if err := m.admit(&known.claims, c.Role, now); err != nil {
		return nil, postern.Errorf(postern.Unauthenticated, postern.HopRelay, "%w", err)
	}
	if !cached {
		m.cache.put(tag, known)
	}
	return known.identity, nil
}

// refusal is what is said of a token that has proved nothing; why stays in the process.
func refusal(why error) error {
	return &postern.Error{Kind: postern.Unauthenticated, Hop: postern.HopRelay, Detail: "the token is not valid", Err: why}
}

// open checks everything about a token that does not change with time and use: form, header, signature, claims.
func (m *method) open(token string) (verified, error) {
	p, err := precheck(token)
	if err != nil {
		return verified{}, err
	}
	key, err := m.verifierOf(p)
	if err != nil {
		return verified{}, err
	}
	claims, err := parseClaims(p.payload)
	if err != nil {
		return verified{}, err
	}
	return verified{claims: claims, identity: claims.identity(key.thumbprint)}, nil
}

// verifierOf returns the key that signed p. A kid picks one of ours; without one, each key of the algorithm is tried.
func (m *method) verifierOf(p parts) (verifier, error) {
	named := false
	for _, v := range m.verifiers {
		if p.hasKid && v.thumbprint != p.kid {
			continue
		}
		named = true
		if v.alg == p.alg && v.verify(p.signed, p.signature) {
			return v, nil
		}
	}
	if !named {
		return verifier{}, errors.New("its kid names no key of this relay")
	}
	return verifier{}, errors.New("no key of this relay has signed it")
}

// notNow is an error that the token's times are the reason for, see auth.ErrNotNow.
type notNow struct{ error }

func (notNow) Is(target error) bool { return target == auth.ErrNotNow }

// admit checks what depends on the relay and the side that the token is used on.
func (m *method) admit(c *Claims, role postern.Role, now time.Time) error {
	if m.opts.Audience != "" && !slices.Contains(c.Audience, m.opts.Audience) {
		return errors.New("the token is for another audience than this relay's")
	}
	if m.opts.MaxLifetime > 0 && c.lifetime(now) > m.opts.MaxLifetime {
		return errors.New("the token is good for longer than this relay permits")
	}
	if c.Role != role {
		return errors.New("the token is for role " + string(c.Role) + ", not for " + string(role))
	}
	return nil
}
