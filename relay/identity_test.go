package relay

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
	"github.com/postern-dev/postern/auth/jwt"
	"github.com/postern-dev/postern/config"
	"github.com/postern-dev/postern/internal/pki"
)

// identified opens the identity of a relay with that configuration.
func identified(t *testing.T, change func(*config.Relay)) *identity {
	t.Helper()
	cfg := config.DefaultRelay()
	change(cfg)
	if err := checkIdentity(cfg); err != nil {
		t.Fatal(err)
	}
	id, err := openIdentity(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestWithoutADataFolderTheCertificateLivesInMemory(t *testing.T) {
	t.Chdir(t.TempDir())
	first := identified(t, func(cfg *config.Relay) { cfg.Auth = []string{"none"} })
	second := identified(t, func(cfg *config.Relay) { cfg.Auth = []string{"none"} })
	if _, err := pki.ParsePin(first.pin); err != nil || first.pin == second.pin || !first.inMemory {
		t.Errorf("pins %q and %q, in memory %v; want two that differ", first.pin, second.pin, first.inMemory)
	}
	leaf, err := first.tls.GetCertificate(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(leaf.Certificate[0])
	if err != nil || cert.VerifyHostname("127.0.0.1") != nil || cert.VerifyHostname("localhost") != nil {
		t.Errorf("the certificate is for %v, %v", cert.DNSNames, err)
	}
	if files, err := os.ReadDir("."); err != nil || len(files) > 0 {
		t.Errorf("it has written %v (%v)", files, err)
	}
	if token, _, err := first.renew(&postern.Identity{Method: "none", Role: postern.RoleAgent}); token != "" || err != nil {
		t.Errorf("it renews tokens that it cannot sign: %q, %v", token, err)
	}
}

// TestAPublicKeyTakesThePlaceOfTheFolders: what others sign is renewed by them, and what this relay has signed counts no more.
func TestAPublicKeyTakesThePlaceOfTheFolders(t *testing.T) {
	dir := t.TempDir()
	key, err := jwt.GenerateKey("EdDSA")
	if err != nil {
		t.Fatal(err)
	}
	public := filepath.Join(dir, "pub.pem")
	if err := jwt.WritePublicKey(public, key.Public(), false); err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Sign(key, jwt.Claims{Role: postern.RoleAgent, AgentID: "nas", Expires: time.Now().Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"alone": "", "beside a data folder": filepath.Join(dir, "data")} {
		t.Run(name, func(t *testing.T) {
			id := identified(t, func(cfg *config.Relay) { cfg.Auth, cfg.PublicKey, cfg.Data = []string{"jwt"}, public, data })
			who, err := id.chain.Verify(t.Context(), auth.Credential{Role: postern.RoleAgent, Secret: token})
			if err != nil || who.AgentID() != "nas" {
				t.Fatalf("%v, %v", who, err)
			}
			if fresh, _, err := id.renew(who); fresh != "" || err != nil || id.tokenKey != nil {
				t.Errorf("it renews what others sign: %q, %v", fresh, err)
			}
			if id.inMemory != (data == "") {
				t.Errorf("certificate in memory: %v", id.inMemory)
			}
		})
	}
}

func TestAPrivateKeyThatOthersCanReadIsRefused(t *testing.T) {
	dir := t.TempDir()
	if _, err := pki.Create(dir, []string{"localhost"}); err != nil {
		t.Fatal(err)
	}
	cfg := config.DefaultRelay()
	cfg.TLSCert, cfg.TLSKey = filepath.Join(dir, pki.RelayFile), filepath.Join(dir, pki.RelayKey)
	if err := checkIdentity(cfg); err != nil {
		t.Errorf("mode 0600: %v", err)
	}
	if err := os.Chmod(cfg.TLSKey, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := checkIdentity(cfg); err == nil || !strings.Contains(err.Error(), "tls-key: ") || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("mode 0640: %v", err)
	}
}
