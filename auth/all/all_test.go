package all_test

import (
	"crypto"
	"slices"
	"strings"
	"testing"

	"github.com/postern-dev/postern/auth/all"
	"github.com/postern-dev/postern/auth/jwt"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		list string
		want string // of the names, or a part of the error
		fail bool
	}{
		{list: "", want: "jwt"},
		{list: "jwt", want: "jwt"},
		{list: " jwt ", want: "jwt"},
		{list: "none", want: "none"},
		{list: "jwt,key", want: `"key" is not in this version`, fail: true},
		{list: "mtls", want: `"mtls" is not in this version`, fail: true},
		{list: "user", want: `"user" is not in this version`, fail: true},
		{list: "jwt,none", want: "stands alone", fail: true},
		{list: "none,jwt", want: "stands alone", fail: true},
		{list: "jwt,jwt", want: "listed twice", fail: true},
		{list: "JWT", want: `"JWT" is not known`, fail: true},
		{list: "jwt,", want: `"" is not known`, fail: true},
		{list: "noauth", want: `"noauth" is not known`, fail: true},
	} {
		names, err := all.Parse(c.list)
		got := strings.Join(names, ",")
		if c.fail && err != nil {
			got = err.Error()
		}
		if (err != nil) != c.fail || !strings.Contains(got, c.want) {
			t.Errorf("Parse(%q) = %v, %v; want %q, failure %v", c.list, names, err, c.want, c.fail)
		}
	}
}

func TestEveryMethodOfTheTableCanBeMade(t *testing.T) {
	key, err := jwt.GenerateKey("ES256")
	if err != nil {
		t.Fatal(err)
	}
	opts := all.Options{JWT: jwt.Options{Keys: []crypto.PublicKey{key.Public()}}}
	for name := range all.Methods() {
		methods, err := all.New([]string{name}, opts)
		if err != nil || len(methods) != 1 || methods[0] == nil {
			t.Errorf("New(%s) = %v, %v", name, methods, err)
		}
	}
	if !slices.Equal(all.Default(), []string{"jwt"}) {
		t.Errorf("the default is %v", all.Default())
	}
}

func TestJWTWithoutAKeyIsRefusedAtTheStart(t *testing.T) {
	_, err := all.New([]string{"jwt"}, all.Options{})
	if err == nil || !strings.Contains(err.Error(), "no public key") {
		t.Errorf("got %v", err)
	}
	if _, err := all.New([]string{"mtls"}, all.Options{}); err == nil {
		t.Error("a method that is not in the table was made")
	}
}
