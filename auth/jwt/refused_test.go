package jwt_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
	"github.com/postern-dev/postern/auth/jwt"
)

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

// refusedQuickly bounds what a bad token may cost. On a busy machine one try may be held up by others, five are not.
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
