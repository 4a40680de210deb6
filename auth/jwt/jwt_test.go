package jwt_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
	"github.com/postern-dev/postern/auth/authtest"
	"github.com/postern-dev/postern/auth/jwt"
)

func newKey(t testing.TB, algo string) crypto.Signer {
	t.Helper()
	key, err := jwt.GenerateKey(algo)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newMethod(t testing.TB, o jwt.Options, keys ...crypto.Signer) auth.Method {
	t.Helper()
	for _, k := range keys {
		o.Keys = append(o.Keys, k.Public())
	}
	m, err := jwt.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func sign(t testing.TB, key crypto.Signer, c jwt.Claims) string {
	t.Helper()
	token, err := jwt.Sign(key, c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func inAnHour() time.Time { return time.Now().Add(time.Hour) }

func clientClaims() jwt.Claims {
	return jwt.Claims{Role: postern.RoleClient, AgentID: "nas", Expires: inAnHour()}
}

// raw signs any header and payload with key, right or wrong.
func raw(t testing.TB, key crypto.Signer, header, payload string) string {
	t.Helper()
	b := base64.RawURLEncoding.EncodeToString
	signed := b([]byte(header)) + "." + b([]byte(payload))
	sig, err := gojwt.SigningMethodES256.Sign(signed, key)
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + b(sig)
}

func verify(t testing.TB, m auth.Method, role postern.Role, token string) (*postern.Identity, error) {
	t.Helper()
	return m.Verify(t.Context(), auth.Credential{Role: role, User: "nas", Secret: token})
}

func TestContract(t *testing.T) {
	for _, algo := range []string{"ES256", "RS256", "EdDSA"} {
		t.Run(algo, func(t *testing.T) {
			key := newKey(t, algo)
			agent := jwt.Claims{Role: postern.RoleAgent, AgentID: authtest.AgentID, Expires: inAnHour()}
			client := jwt.Claims{Role: postern.RoleClient, AgentID: authtest.AgentID, Expires: inAnHour()}
			authtest.Run(t, func(t *testing.T) authtest.Fixture {
				return authtest.Fixture{
					Method: newMethod(t, jwt.Options{}, key),
					Agent:  auth.Credential{Role: postern.RoleAgent, Secret: sign(t, key, agent)},
					Client: auth.Credential{Role: postern.RoleClient, User: string(authtest.AgentID), Secret: sign(t, key, client)},
				}
			})
		})
	}
}

func TestClaimsBecomeTheIdentity(t *testing.T) {
	key := newKey(t, "ES256")
	thumb, err := jwt.Thumbprint(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	exp := time.Now().Add(time.Hour).Truncate(time.Second)
	c := jwt.Claims{
		Role: postern.RoleClient, Agents: []string{"web-*", "nas"}, Subject: "anne", Targets: []string{"*.lan:22"},
		Ports: []postern.PortRange{{Low: 20000, High: 20999}, {Low: 8080, High: 8080}}, Hosts: []string{"*.example.com"},
		Audience: []string{"r1", "r2"}, ID: "t1", Issued: time.Now(), NotBefore: time.Now(), Expires: exp,
	}
	id, err := verify(t, newMethod(t, jwt.Options{Audience: "r2"}, key), postern.RoleClient, sign(t, key, c))
	if err != nil {
		t.Fatal(err)
	}
	if id.Method != "jwt" || id.Key != thumb || id.Subject != "anne" || id.TokenID != "t1" || !id.Expires.Equal(exp) ||
		!slices.Equal(id.Agents, c.Agents) || !slices.Equal(id.Targets, c.Targets) || !slices.Equal(id.Ports, c.Ports) || !slices.Equal(id.Hosts, c.Hosts) {
		t.Errorf("got %+v", id)
	}
	again := sign(t, key, jwt.ClaimsOf(id, exp.Add(time.Hour)))
	renewed, err := verify(t, newMethod(t, jwt.Options{}, key), postern.RoleClient, again)
	if err != nil || renewed.Credential() != id.Credential() || !renewed.Expires.Equal(exp.Add(time.Hour)) || !slices.Equal(renewed.Targets, id.Targets) {
		t.Errorf("a renewed token is another credential: %+v, %v", renewed, err)
	}
}

func TestARenewedAgentTokenIsTheSameCredential(t *testing.T) {
	key := newKey(t, "ES256")
	m := newMethod(t, jwt.Options{}, key)
	first, err := verify(t, m, postern.RoleAgent, sign(t, key, jwt.Claims{Role: postern.RoleAgent, AgentID: "nas", Subject: "somebody", Expires: inAnHour()}))
	if err != nil {
		t.Fatal(err)
	}
	second, err := verify(t, m, postern.RoleAgent, sign(t, key, jwt.ClaimsOf(first, inAnHour())))
	if err != nil || first.Credential() != second.Credential() || first.Subject != "nas" {
		t.Errorf("%+v and %+v, %v", first, second, err)
	}
}

// reverseHTTP makes a token as grepplabs/reverse-http does.
func reverseHTTP(t *testing.T, method gojwt.SigningMethod, key crypto.Signer, role string, audience ...string) string {
	t.Helper()
	now := time.Now()
	claims := struct {
		AgentID string `json:"agent_id"`
		Role    string `json:"role"`
		gojwt.RegisteredClaims
	}{"nas", role, gojwt.RegisteredClaims{
		Issuer: "reverse-http", Subject: "nas", Audience: audience, IssuedAt: gojwt.NewNumericDate(now), NotBefore: gojwt.NewNumericDate(now),
		ExpiresAt: gojwt.NewNumericDate(now.Add(24 * time.Hour)), ID: "5f1e8f8c-0b6a-4f0e-9a3b-0d8a5b0f6f1e",
	}}
	token, err := gojwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestTokensOfReverseHTTPAreAccepted(t *testing.T) {
	ec, rsa := newKey(t, "ES256"), newKey(t, "RS256")
	m := newMethod(t, jwt.Options{}, ec, rsa)
	strict := newMethod(t, jwt.Options{Audience: "relay"}, ec, rsa)
	for _, s := range []struct {
		method gojwt.SigningMethod
		key    crypto.Signer
	}{{gojwt.SigningMethodES256, ec}, {gojwt.SigningMethodRS256, rsa}} {
		for _, role := range []postern.Role{postern.RoleAgent, postern.RoleClient} {
			id, err := verify(t, m, role, reverseHTTP(t, s.method, s.key, string(role)))
			if err != nil || !slices.Equal(id.Agents, []string{"nas"}) || id.Subject != "nas" {
				t.Errorf("%s %s: %+v, %v", s.method.Alg(), role, id, err)
			}
			if _, err := verify(t, m, role, reverseHTTP(t, s.method, s.key, string(role), "anything")); err != nil {
				t.Errorf("%s %s with an audience that nobody asked for: %v", s.method.Alg(), role, err)
			}
			if _, err := verify(t, strict, role, reverseHTTP(t, s.method, s.key, string(role), "other", "relay")); err != nil {
				t.Errorf("%s %s with the audience in a list: %v", s.method.Alg(), role, err)
			}
			if _, err := verify(t, strict, role, reverseHTTP(t, s.method, s.key, string(role))); err == nil {
				t.Errorf("%s %s without the audience that is asked for was accepted", s.method.Alg(), role)
			}
		}
	}
}

func TestClientTokensFitIntoASOCKS5Password(t *testing.T) {
	for _, algo := range []string{"ES256", "EdDSA"} {
		key := newKey(t, algo)
		for _, c := range []jwt.Claims{
			{Role: postern.RoleClient, AgentID: postern.AgentID(strings.Repeat("a", 62)), Expires: inAnHour()},
			{Role: postern.RoleClient, AgentID: postern.AgentID(strings.Repeat("a", 40)), ID: "0123456789a", Expires: inAnHour()},
		} {
			if token := sign(t, key, c); len(token) > jwt.MaxPassword {
				t.Errorf("%s, an id of %d characters: the token has %d bytes", algo, len(c.AgentID), len(token))
			}
		}
	}
}

func TestSignRefusesWhatVerifyWould(t *testing.T) {
	key := newKey(t, "ES256")
	for name, c := range map[string]jwt.Claims{
		"no exp":            {Role: postern.RoleClient, AgentID: "nas"},
		"no role":           {AgentID: "nas", Expires: inAnHour()},
		"unknown role":      {Role: "root", AgentID: "nas", Expires: inAnHour()},
		"no agent":          {Role: postern.RoleAgent, Expires: inAnHour()},
		"bad agent":         {Role: postern.RoleAgent, AgentID: "a b", Expires: inAnHour()},
		"agent's pattern":   {Role: postern.RoleAgent, AgentID: "*", Expires: inAnHour()},
		"port 0":            {Role: postern.RoleClient, AgentID: "nas", Ports: []postern.PortRange{{}}, Expires: inAnHour()},
		"more than 8 KiB":   {Role: postern.RoleClient, AgentID: "nas", Targets: slices.Repeat([]string{strings.Repeat("x", 200)}, 40), Expires: inAnHour()},
		"exp before 1970":   {Role: postern.RoleClient, AgentID: "nas", Expires: time.Unix(-5, 0)},
		"subject with a \n": {Role: postern.RoleClient, AgentID: "nas", Subject: "a\nb", Expires: inAnHour()},
	} {
		if token, err := jwt.Sign(key, c); err == nil {
			t.Errorf("%s: signed %s", name, token)
		}
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jwt.Sign(p384, clientClaims()); err == nil || !strings.Contains(err.Error(), "P-256") {
		t.Errorf("signed with a P-384 key: %v", err)
	}
	if _, err := jwt.New(jwt.Options{Keys: []crypto.PublicKey{p384.Public()}}); err == nil {
		t.Error("a P-384 key verifies tokens")
	}
}

func TestPeekReadsWithoutVerifying(t *testing.T) {
	c, err := jwt.Peek(sign(t, newKey(t, "EdDSA"), clientClaims()))
	if err != nil || c.AgentID != "nas" || c.Role != postern.RoleClient || c.Expires.IsZero() {
		t.Errorf("got %+v, %v", c, err)
	}
	if _, err := jwt.Peek("not a token"); err == nil {
		t.Error("garbage has claims")
	}
}

// RFC 7638 §3.1 has this key and thumbprint.
func TestThumbprintOfTheRFC(t *testing.T) {
	const modulus = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	got, err := jwt.Thumbprint(rsaKey(t, modulus, 65537))
	if want := "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"; err != nil || got != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
}
