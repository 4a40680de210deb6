package jwt_test

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth/jwt"
)

func rsaKey(t *testing.T, modulus string, e int) *rsa.PublicKey {
	t.Helper()
	n, err := base64.RawURLEncoding.DecodeString(modulus)
	if err != nil {
		t.Fatal(err)
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: e}
}

func TestKeysSurviveTheirFiles(t *testing.T) {
	for _, algo := range []string{"ES256", "RS256", "EdDSA"} {
		t.Run(algo, func(t *testing.T) {
			dir, key := t.TempDir(), newKey(t, algo)
			private, public := filepath.Join(dir, "k.pem"), filepath.Join(dir, "k.pub")
			if err := errors.Join(jwt.WritePrivateKey(private, key, false), jwt.WritePublicKey(public, key.Public(), false)); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(private)
			if err != nil || info.Mode() != 0o600 {
				t.Errorf("the private key's mode is %v, %v", info.Mode(), err)
			}
			read, err := jwt.ReadPrivateKey(private)
			if err != nil {
				t.Fatal(err)
			}
			pubs, err := jwt.ReadPublicKeys(public)
			if err != nil || len(pubs) != 1 {
				t.Fatalf("%d keys, %v", len(pubs), err)
			}
			m, err := jwt.New(jwt.Options{Keys: pubs})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := verify(t, m, postern.RoleClient, sign(t, read, clientClaims())); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestExistingKeysAreNotOverwrittenAndSymlinksNotFollowed(t *testing.T) {
	dir := t.TempDir()
	path, link, victim := filepath.Join(dir, "k.pem"), filepath.Join(dir, "link.pem"), filepath.Join(dir, "victim")
	if err := errors.Join(os.WriteFile(victim, []byte("mine"), 0o644), os.Symlink(victim, link), jwt.WritePrivateKey(path, newKey(t, "ES256"), false)); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, link} {
		if err := jwt.WritePrivateKey(p, newKey(t, "ES256"), false); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s was written over: %v", filepath.Base(p), err)
		}
		if err := jwt.WritePrivateKey(p, newKey(t, "ES256"), true); err != nil {
			t.Errorf("%s, by force: %v", filepath.Base(p), err)
		}
	}
	after, err := os.ReadFile(path)
	if err != nil || bytes.Equal(before, after) {
		t.Errorf("force did not replace the key: %v", err)
	}
	if content, err := os.ReadFile(victim); err != nil || string(content) != "mine" {
		t.Errorf("the symlink was followed: %q, %v", content, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 3 {
		t.Errorf("temporary files were left: %v, %v", left, err)
	}
}

func TestAPrivateKeyThatOthersCanReadIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k.pem")
	if err := jwt.WritePrivateKey(path, newKey(t, "ES256"), false); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []fs.FileMode{0o644, 0o640, 0o604, 0o620} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := jwt.ReadPrivateKey(path); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
}

func TestKeyFilesThatCannotBeUsedSayWhy(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "k.pem")
	private, err := jwt.FormatPrivateKey(newKey(t, "ES256"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ content, private, public string }{
		"empty":           {"", "no private key in PEM form", "no public key in PEM form"},
		"not PEM":         {"hello", "no private key in PEM form", "no public key in PEM form"},
		"encrypted":       {"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", "without a passphrase", "private key where a public one belongs"},
		"damaged":         {"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be read", "private key where a public one belongs"},
		"private":         {string(private), "", "postern auth key public"},
		"damaged, public": {"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no private key", "cannot be read"},
	} {
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := jwt.ReadPrivateKey(path); c.private != "" && (err == nil || !strings.Contains(err.Error(), c.private)) {
			t.Errorf("%s as a private key: %v, want %s", name, err, c.private)
		}
		if _, err := jwt.ReadPublicKeys(path); err == nil || !strings.Contains(err.Error(), c.public) {
			t.Errorf("%s as a public key: %v, want %s", name, err, c.public)
		}
	}
	if _, err := jwt.ReadPrivateKey(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a folder: %v", err)
	}
	if _, err := jwt.ReadPrivateKey(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// The files that openssl writes, in its older forms too, are what users of reverse-http have.
func TestKeysMadeByOpenSSLAreRead(t *testing.T) {
	for name, c := range map[string]struct {
		make []string // arguments of openssl that write the private key to its output
		bad  string   // why it is refused
	}{
		"SEC 1 with parameters": {make: []string{"ecparam", "-genkey", "-name", "prime256v1"}},
		"SEC 1":                 {make: []string{"ecparam", "-genkey", "-noout", "-name", "prime256v1"}},
		"PKCS#8 EC":             {make: []string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"}},
		"PKCS#8 RSA":            {make: []string{"genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"}},
		"PKCS#1 RSA":            {make: []string{"genrsa", "-traditional", "2048"}},
		"Ed25519":               {make: []string{"genpkey", "-algorithm", "ED25519"}},
		"RSA of 1024 bits":      {make: []string{"genrsa", "1024"}, bad: "1024 bits"},
		"P-384":                 {make: []string{"ecparam", "-genkey", "-noout", "-name", "secp384r1"}, bad: "P-384"},
		"X25519":                {make: []string{"genpkey", "-algorithm", "X25519"}, bad: "cannot sign"},
	} {
		t.Run(name, func(t *testing.T) {
			private := openssl(t, nil, c.make...)
			key, err := jwt.ParsePrivateKey(private)
			if c.bad != "" {
				if err == nil || !strings.Contains(err.Error(), c.bad) {
					t.Errorf("got %v, want %s", err, c.bad)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			keys, err := jwt.ParsePublicKeys(openssl(t, private, "pkey", "-pubout"))
			if err != nil || len(keys) != 1 {
				t.Fatalf("%d keys, %v", len(keys), err)
			}
			if !key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(keys[0]) {
				t.Error("the public key is another one")
			}
		})
	}
	rsaKey := openssl(t, nil, "genrsa", "-traditional", "2048")
	both := append(openssl(t, rsaKey, "rsa", "-RSAPublicKey_out"), openssl(t, rsaKey, "pkey", "-pubout")...)
	if keys, err := jwt.ParsePublicKeys(both); err != nil || len(keys) != 2 {
		t.Errorf("PKCS#1 and PKIX in one file: %d keys, %v", len(keys), err)
	}
	if _, err := jwt.ParsePrivateKey(openssl(t, rsaKey, "rsa", "-traditional", "-aes128", "-passout", "pass:x")); err == nil || !strings.Contains(err.Error(), "passphrase") {
		t.Errorf("encrypted PKCS#1: %v", err)
	}
}

func openssl(t *testing.T, stdin []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "openssl", args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl %v: %v\n%s", args, err, stderr.String())
	}
	return out
}

func TestGenerateKeyNamesTheAlgorithms(t *testing.T) {
	if _, err := jwt.GenerateKey("HS256"); err == nil || !strings.Contains(err.Error(), "ES256, RS256 and EdDSA") {
		t.Errorf("got %v", err)
	}
}
