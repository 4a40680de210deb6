package jwt

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
)

// FuzzPrecheck: what passes has one spelling only, a supported algorithm and none of the refused headers, and nothing of the payload
// makes the claims panic.
func FuzzPrecheck(f *testing.F) {
	b := base64.RawURLEncoding.EncodeToString
	for _, header := range []string{
		`{"alg":"ES256"}`, `{"alg":"none"}`, `{"alg":"RS256","typ":"JWT","kid":"x"}`, `{"alg":"EdDSA","crit":["x"]}`, `{"alg":"ES256","alg":"none"}`, `[`, `{"jwk":{}}`,
	} {
		for _, payload := range []string{`{"role":"client","agent_id":"nas","exp":4102444800}`, `{"exp":1e300}`, `{"ports":["1-2"],"aud":["a"]}`, `{"a":{"a":[[[]]]}}`, ``} {
			f.Add(b([]byte(header)) + "." + b([]byte(payload)) + "." + b(make([]byte, 64)))
		}
	}
	f.Add("..")
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		p, err := precheck(token)
		if err != nil {
			return
		}
		if len(token) > maxToken || strings.Count(token, ".") != 2 {
			t.Fatalf("passed with %d bytes and %d dots", len(token), strings.Count(token, "."))
		}
		header, _, _ := strings.Cut(p.signed, ".")
		h, err := base64.RawURLEncoding.DecodeString(header)
		if err != nil {
			t.Fatal(err)
		}
		if again := b(h) + "." + b(p.payload) + "." + b(p.signature); again != token {
			t.Fatalf("two spellings of one token:\n%s\n%s", token, again)
		}
		if p.alg != algES256 && p.alg != algRS256 && p.alg != algEdDSA {
			t.Fatalf("passed with the algorithm %q", p.alg)
		}
		var members map[string]any
		if err := json.Unmarshal(h, &members); err != nil {
			t.Fatalf("passed with a header that is no JSON: %v", err)
		}
		for _, name := range refusedHeaders() {
			if _, there := members[name]; there {
				t.Fatalf("passed with %s", name)
			}
		}
		checkClaims(t, p.payload)
	})
}

// checkClaims: claims that are accepted say the same after being written and read again.
func checkClaims(t *testing.T, payload []byte) {
	c, err := parseClaims(payload)
	if err != nil {
		return
	}
	written, err := json.Marshal(c.wire())
	if err != nil {
		t.Fatal(err)
	}
	again, err := parseClaims(written)
	if c.Expires.Unix() == 0 || c.Issued.Unix() == 0 || c.NotBefore.Unix() == 0 {
		return // the first second of 1970 is not written
	}
	if err != nil {
		t.Fatalf("%s\nbecame\n%s\n%v", payload, written, err)
	}
	rewritten, err := json.Marshal(again.wire())
	if err != nil || !bytes.Equal(written, rewritten) {
		t.Fatalf("%s\nbecame\n%s\n%v", written, rewritten, err)
	}
}
