package jwt_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
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

// reverseHTTP makes a token as grepplabs/reverse-http does (SEEDS §5.2).
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

func TestForgedTokensAreRefusedAndReadTheSame(t *testing.T) {
	key, other, rsa := newKey(t, "ES256"), newKey(t, "ES256"), newKey(t, "RS256")
	m := newMethod(t, jwt.Options{}, key, rsa)
	b := base64.RawURLEncoding.EncodeToString
	good := sign(t, key, clientClaims())
	parts := strings.Split(good, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	pub, err := jwt.FormatPublicKey(rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	hmac := b([]byte(`{"alg":"HS256"}`)) + "." + parts[1]
	mac, err := gojwt.SigningMethodHS256.Sign(hmac, pub)
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"alg none, no signature":            b([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".",
		"alg None, a signature":             b([]byte(`{"alg":"None"}`)) + "." + parts[1] + "." + parts[2],
		"alg nOnE":                          raw(t, key, `{"alg":"nOnE"}`, string(payload)),
		"no alg":                            raw(t, key, `{"typ":"JWT"}`, string(payload)),
		"alg es256":                         raw(t, key, `{"alg":"es256"}`, string(payload)),
		"alg of another key":                raw(t, key, `{"alg":"RS256"}`, string(payload)),
		"alg ES384":                         raw(t, key, `{"alg":"ES384"}`, string(payload)),
		"HMAC with the public key":          hmac + "." + b(mac),
		"alg twice":                         raw(t, key, `{"alg":"none","alg":"ES256"}`, string(payload)),
		"alg is a list":                     raw(t, key, `{"alg":["ES256"]}`, string(payload)),
		"jku":                               raw(t, other, `{"alg":"ES256","jku":"http://127.0.0.1:1/k"}`, string(payload)),
		"jwk":                               raw(t, other, `{"alg":"ES256","jwk":{"kty":"EC"}}`, string(payload)),
		"x5u":                               raw(t, key, `{"alg":"ES256","x5u":"http://127.0.0.1:1/k"}`, string(payload)),
		"x5c":                               raw(t, key, `{"alg":"ES256","x5c":["x"]}`, string(payload)),
		"crit":                              raw(t, key, `{"alg":"ES256","crit":["exp"]}`, string(payload)),
		"b64 false":                         raw(t, key, `{"alg":"ES256","b64":false}`, string(payload)),
		"typ of something else":             raw(t, key, `{"alg":"ES256","typ":"dpop+jwt"}`, string(payload)),
		"kid is a path":                     raw(t, key, `{"alg":"ES256","kid":"../../dev/null"}`, string(payload)),
		"kid is SQL":                        raw(t, key, `{"alg":"ES256","kid":"' OR 1=1"}`, string(payload)),
		"kid is a URL":                      raw(t, key, `{"alg":"ES256","kid":"http://127.0.0.1:1/"}`, string(payload)),
		"kid is empty":                      raw(t, key, `{"alg":"ES256","kid":""}`, string(payload)),
		"wrong key":                         sign(t, other, clientClaims()),
		"signature of another token":        parts[0] + "." + parts[1] + "." + strings.Split(sign(t, key, jwt.Claims{Role: "client", AgentID: "x", Expires: inAnHour()}), ".")[2],
		"signature of zeros":                parts[0] + "." + parts[1] + "." + b(make([]byte, 64)),
		"signature cut":                     good[:len(good)-4],
		"signature too long":                good + "AAAA",
		"line end inside":                   parts[0] + "." + parts[1] + ".\n" + parts[2],
		"padding":                           good + "==",
		"standard base64":                   strings.ReplaceAll(strings.ReplaceAll(good, "-", "+"), "_", "/") + "+",
		"9 KiB":                             parts[0] + "." + strings.Repeat("A", 9<<10) + "." + parts[2],
		"four parts, the last ones swapped": parts[0] + "." + parts[1] + "." + parts[1],
	} {
		id, err := verify(t, m, postern.RoleClient, token)
		if err == nil {
			t.Errorf("%s: accepted as %+v", name, id)
			continue
		}
		e, ok := errors.AsType[*postern.Error](err)
		if !ok || e.Kind != postern.Unauthenticated || e.Detail != "the token is not valid" {
			t.Errorf("%s: it reads different: %v", name, err)
		}
		refusedQuickly(t, m, name, token)
	}
	if _, err := verify(t, m, postern.RoleClient, good); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

// refusedQuickly checks AUT-11's bound. On a busy machine one try may be held up by others, five are not.
func refusedQuickly(t *testing.T, m auth.Method, name, token string) {
	t.Helper()
	best := time.Hour
	for range 5 {
		start := time.Now()
		_, _ = verify(t, m, postern.RoleClient, token) // refused, as was checked before
		if best = min(best, time.Since(start)); best <= 50*time.Millisecond {
			return
		}
	}
	t.Errorf("%s: refusing took %v", name, best)
}

func TestOddClaimsAreRefused(t *testing.T) {
	key := newKey(t, "ES256")
	m := newMethod(t, jwt.Options{}, key)
	const exp = `"exp":4102444800`
	for name, payload := range map[string]string{
		"no exp":                  `{"role":"client","agent_id":"nas"}`,
		"exp is a string":         `{"role":"client","agent_id":"nas","exp":"4102444800"}`,
		"exp is 1e300":            `{"role":"client","agent_id":"nas","exp":1e300}`,
		"exp is 1e10":             `{"role":"client","agent_id":"nas","exp":1e10}`,
		"exp is negative":         `{"role":"client","agent_id":"nas","exp":-1}`,
		"exp is 2^63":             `{"role":"client","agent_id":"nas","exp":9223372036854775808}`,
		"exp is beyond year 9999": `{"role":"client","agent_id":"nas","exp":253402300800}`,
		"exp is null":             `{"role":"client","agent_id":"nas","exp":null}`,
		"exp is zero":             `{"role":"client","agent_id":"nas","exp":0}`,
		"nbf is a string":         `{"role":"client","agent_id":"nas","nbf":"0",` + exp + `}`,
		"iat is in the future":    `{"role":"client","agent_id":"nas","iat":4102444000,` + exp + `}`,
		"no role":                 `{"agent_id":"nas",` + exp + `}`,
		"role Client":             `{"role":"Client","agent_id":"nas",` + exp + `}`,
		"name Role":               `{"Role":"client","agent_id":"nas",` + exp + `}`,
		"role with a space":       `{"role":"client ","agent_id":"nas",` + exp + `}`,
		"role is a list":          `{"role":["client"],"agent_id":"nas",` + exp + `}`,
		"role is null":            `{"role":null,"agent_id":"nas",` + exp + `}`,
		"no agent":                `{"role":"client",` + exp + `}`,
		"name AGENT_ID":           `{"role":"client","AGENT_ID":"nas",` + exp + `}`,
		"agent_id twice":          `{"role":"client","agent_id":"x","agent_id":"nas",` + exp + `}`,
		"agent_id twice, escaped": `{"role":"client","agent_id":"x","agent\u005fid":"nas",` + exp + `}`,
		"twice further down":      `{"role":"client","agent_id":"nas","x":[{"a":1,"a":2}],` + exp + `}`,
		"agent_id is a pattern":   `{"role":"client","agent_id":"*",` + exp + `}`,
		"agent_id is a number":    `{"role":"client","agent_id":1,` + exp + `}`,
		"agent_id too long":       `{"role":"client","agent_id":"` + strings.Repeat("a", 65) + `",` + exp + `}`,
		"agent_id with line ends": `{"role":"client","agent_id":"a\r\nset x 0 0 1",` + exp + `}`,
		"both agent_id, agents":   `{"role":"client","agent_id":"nas","agents":["nas"],` + exp + `}`,
		"agents empty":            `{"role":"client","agents":[],` + exp + `}`,
		"agents a string":         `{"role":"client","agents":"*",` + exp + `}`,
		"agents with magic":       `{"role":"client","agents":["[a-z]"],` + exp + `}`,
		"targets empty":           `{"role":"client","agent_id":"nas","targets":[],` + exp + `}`,
		"targets null":            `{"role":"client","agent_id":"nas","targets":null,` + exp + `}`,
		"targets a string":        `{"role":"client","agent_id":"nas","targets":"*",` + exp + `}`,
		"targets with null":       `{"role":"client","agent_id":"nas","targets":[null],` + exp + `}`,
		"ports a number":          `{"role":"client","agent_id":"nas","ports":[8080],` + exp + `}`,
		"ports reversed":          `{"role":"client","agent_id":"nas","ports":["2-1"],` + exp + `}`,
		"ports zero":              `{"role":"client","agent_id":"nas","ports":["0-80"],` + exp + `}`,
		"ports too high":          `{"role":"client","agent_id":"nas","ports":["1-65536"],` + exp + `}`,
		"ports with plus":         `{"role":"client","agent_id":"nas","ports":["+80"],` + exp + `}`,
		"sub with a bidi mark":    `{"role":"client","agent_id":"nas","sub":"a\u202eb",` + exp + `}`,
		"sub with half a pair":    `{"role":"client","agent_id":"nas","sub":"\ud800",` + exp + `}`,
		"aud is a number":         `{"role":"client","agent_id":"nas","aud":1,` + exp + `}`,
		"not UTF-8":               `{"role":"client","agent_id":"nas","sub":"` + "\xff" + `",` + exp + `}`,
		"deep":                    `{"role":"client","agent_id":"nas",` + exp + `,"x":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + `}`,
		"deep objects":            `{"role":"client","agent_id":"nas",` + exp + `,"x":` + strings.Repeat(`{"a":`, 900) + "1" + strings.Repeat("}", 900) + `}`,
		"a list":                  `[{"role":"client","agent_id":"nas",` + exp + `}]`,
		"two objects":             `{"role":"client","agent_id":"nas",` + exp + `}{}`,
		"cut":                     `{"role":"client","agent_id":"nas",` + exp,
		"null":                    `null`,
		"a comma too many":        `{"role":"client","agent_id":"nas",` + exp + `,}`,
	} {
		token := raw(t, key, `{"alg":"ES256"}`, payload)
		id, err := verify(t, m, postern.RoleClient, token)
		if err == nil || postern.KindOf(err) != postern.Unauthenticated {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
		refusedQuickly(t, m, name, token)
	}
	for name, payload := range map[string]string{
		"a fraction in exp":       `{"role":"client","agent_id":"nas","exp":4102444800.5}`,
		"the last second of 9999": `{"role":"client","agent_id":"nas","exp":253402300799}`,
		"claims of others":        `{"role":"client","agent_id":"nas","realm":{"roles":["a","b"],"n":1e300},"iss":"x",` + exp + `}`,
		"role viewer needs none":  `{"role":"viewer",` + exp + `}`,
	} {
		role := postern.RoleClient
		if strings.Contains(payload, "viewer") {
			role = postern.RoleViewer
		}
		if _, err := verify(t, m, role, raw(t, key, `{"alg":"ES256","typ":"JWT","x-unknown":1}`, payload)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnAgentsTokenNamesExactlyOneAgent(t *testing.T) {
	key := newKey(t, "ES256")
	m := newMethod(t, jwt.Options{}, key)
	for _, payload := range []string{
		`{"role":"agent","agents":["nas"],"exp":4102444800}`,
		`{"role":"agent","sub":"nas","exp":4102444800}`,
		`{"role":"agent","agent_id":"nas","agents":["*"],"exp":4102444800}`,
	} {
		if id, err := verify(t, m, postern.RoleAgent, raw(t, key, `{"alg":"ES256"}`, payload)); err == nil {
			t.Errorf("%s became %+v", payload, id)
		}
	}
}

func TestTheKidSelectsAmongTheRelaysKeys(t *testing.T) {
	first, second := newKey(t, "ES256"), newKey(t, "ES256")
	m := newMethod(t, jwt.Options{}, first, second)
	payload := `{"role":"client","agent_id":"nas","exp":4102444800}`
	kid, err := jwt.Thumbprint(second.Public())
	if err != nil {
		t.Fatal(err)
	}
	header := `{"alg":"ES256","kid":"` + kid + `"}`
	if id, err := verify(t, m, postern.RoleClient, raw(t, second, header, payload)); err != nil || id.Key != kid {
		t.Errorf("the key that it names: %+v, %v", id, err)
	}
	if _, err := verify(t, m, postern.RoleClient, raw(t, first, header, payload)); err == nil {
		t.Error("signed by another key than the one it names, and accepted")
	}
	if id, err := verify(t, m, postern.RoleClient, raw(t, second, `{"alg":"ES256"}`, payload)); err != nil || id.Key != kid {
		t.Errorf("without kid: %+v, %v", id, err)
	}
}

func TestTimesHaveFiveSecondsOfLeeway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := newKey(t, "ES256")
		m := newMethod(t, jwt.Options{}, key)
		now := time.Now()
		c := clientClaims()
		c.Issued, c.NotBefore, c.Expires = now.Add(10*time.Second), now.Add(10*time.Second), now.Add(30*time.Second)
		token := sign(t, key, c)
		passed := time.Duration(0)
		for _, step := range []struct {
			at   time.Duration
			want string // "" is accepted
		}{{0, "not good before"}, {4 * time.Second, "not good before"}, {5 * time.Second, ""}, {34 * time.Second, ""}, {35 * time.Second, "expired at"}, {time.Hour, "expired at"}} {
			time.Sleep(step.at - passed)
			passed = step.at
			for range 2 { // the second time from the cache, if it is in there
				_, err := verify(t, m, postern.RoleClient, token)
				if step.want == "" && err != nil || step.want != "" && (err == nil || !strings.Contains(err.Error(), step.want)) {
					t.Errorf("after %v: %v, want %q", step.at, err, step.want)
				}
				if step.want != "" && !errors.Is(err, auth.ErrNotNow) {
					t.Errorf("after %v: %v counts as guessing", step.at, err)
				}
			}
		}
	})
}

func TestACachedTokenIsStillCheckedForRoleAndTime(t *testing.T) {
	key := newKey(t, "ES256")
	now := time.Now()
	m := newMethod(t, jwt.Options{Now: func() time.Time { return now }}, key)
	token := sign(t, key, clientClaims())
	first, err := verify(t, m, postern.RoleClient, token)
	if err != nil {
		t.Fatal(err)
	}
	second, err := verify(t, m, postern.RoleClient, token)
	if err != nil || first != second {
		t.Errorf("the second use did not come from the cache: %v", err)
	}
	if _, err := verify(t, m, postern.RoleAgent, token); err == nil || !strings.Contains(err.Error(), "for role client, not for agent") {
		t.Errorf("used as an agent's: %v", err)
	}
	now = now.Add(2 * time.Hour)
	if _, err := verify(t, m, postern.RoleClient, token); err == nil {
		t.Error("accepted from the cache after it expired")
	}
	if _, err := verify(t, m, postern.RoleClient, sign(t, newKey(t, "ES256"), jwt.Claims{Role: postern.RoleClient, AgentID: "nas", Expires: now.Add(-time.Hour)})); errors.Is(err, auth.ErrNotNow) {
		t.Errorf("an expired token of another key counts as genuine: %v", err)
	}
}

func TestTheLifetimeIsCapped(t *testing.T) {
	key := newKey(t, "ES256")
	m := newMethod(t, jwt.Options{MaxLifetime: 24 * time.Hour}, key)
	now := time.Now()
	for name, c := range map[string]struct {
		issued, notBefore time.Time
		life              time.Duration
		want              bool
	}{
		"a day from iat":        {issued: now, life: 24 * time.Hour, want: true},
		"more than a day":       {issued: now, life: 25 * time.Hour},
		"issued long ago":       {issued: now.Add(-48 * time.Hour), life: time.Hour},
		"without iat":           {life: 23 * time.Hour, want: true},
		"without iat, too long": {life: 25 * time.Hour},
		"from nbf":              {notBefore: now.Add(-23 * time.Hour), life: 2 * time.Hour},
	} {
		claims := clientClaims()
		claims.Issued, claims.NotBefore, claims.Expires = c.issued, c.notBefore, now.Add(c.life)
		if _, err := verify(t, m, postern.RoleClient, sign(t, key, claims)); (err == nil) != c.want {
			t.Errorf("%s: %v, want success %v", name, err, c.want)
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

func TestParsePorts(t *testing.T) {
	for s, want := range map[string]string{
		"8080": "8080", "20000-20999": "20000-20999", "80-80": "80", "1-65535": "1-65535",
		"": "", "-": "", "80-": "", "-80": "", "080": "", "80-080": "", "80 -90": "", "90-80": "", "0": "", "65536": "", "1-2-3": "", "http": "",
	} {
		r, err := jwt.ParsePorts(s)
		if (err == nil) != (want != "") || err == nil && r.String() != want {
			t.Errorf("ParsePorts(%q) = %v, %v; want %q", s, r, err, want)
		}
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
