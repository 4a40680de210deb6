package all_test

import (
	"crypto"
	"strings"
	"testing"

	"github.com/postern-dev/postern/auth/all"
	"github.com/postern-dev/postern/auth/jwt"
)

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
