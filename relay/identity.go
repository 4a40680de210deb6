package relay

import (
	"crypto"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
	authall "github.com/postern-dev/postern/auth/all"
	"github.com/postern-dev/postern/auth/jwt"
	"github.com/postern-dev/postern/config"
	"github.com/postern-dev/postern/internal/datadir"
	"github.com/postern-dev/postern/internal/pki"
	"github.com/postern-dev/postern/internal/safefile"
)

// identity is how a relay proves itself and others.
type identity struct {
	tls      *tls.Config
	pin      string        // of the CA; empty with a certificate of the operator's own
	inMemory bool          // the CA is as old as the process
	chain    *auth.Chain   // verifies agents and clients
	tokenKey crypto.Signer // signs tokens; nil without a data folder, or when others sign
	tokenID  string        // thumbprint of tokenKey
	resetKey *[32]byte     // see transport.ListenOptions; nil without a data folder
	audience string
}

// anyone reports whether the relay lets everybody in.
func anyone(cfg *config.Relay) bool { return slices.Contains(cfg.Auth, "none") }

// checkIdentity reads what the operator gave, so that a wrong file is found before anything is opened.
func checkIdentity(cfg *config.Relay) error {
	var errs []error
	if cfg.PublicKey != "" {
		if _, err := jwt.ReadPublicKeys(cfg.PublicKey); err != nil {
			errs = append(errs, fmt.Errorf("public-key: %w", err))
		}
	}
	if cfg.TLSCert != "" {
		if _, err := ownCertificate(cfg); err != nil {
			errs = append(errs, err)
		}
	}
	if _, err := pki.Names(cfg.Advertise); err != nil {
		errs = append(errs, fmt.Errorf("advertise: %w", err))
	}
	return errors.Join(errs...)
}

// ownCertificate reads the operator's certificate, and its key if nobody else can read that (PROMISES P-18).
func ownCertificate(cfg *config.Relay) (tls.Certificate, error) {
	cert, err := safefile.Read(cfg.TLSCert)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("tls-cert: %w", err)
	}
	key, err := safefile.ReadPrivate(cfg.TLSKey)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("tls-key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("tls-cert %s, tls-key %s: %w", cfg.TLSCert, cfg.TLSKey, err)
	}
	return pair, nil
}

// openIdentity makes the data folder complete and returns what is in it, or what stands in for it.
func openIdentity(cfg *config.Relay, log *slog.Logger) (*identity, error) {
	id := &identity{audience: cfg.Audience}
	if err := id.openCertificate(cfg); err != nil {
		return nil, err
	}
	return id, id.openAuth(cfg, log)
}

// openCertificate finds the relay's certificate: the operator's, the data folder's, or one that lives as long as the process.
func (id *identity) openCertificate(cfg *config.Relay) error {
	names, err := pki.Names(cfg.Advertise)
	if err != nil {
		return fmt.Errorf("advertise: %w", err)
	}
	var ca *pki.CA
	if cfg.Data != "" {
		dir, err := datadir.Create(cfg.Data, names)
		if err != nil {
			return fmt.Errorf("data: %w", err)
		}
		ca, id.tokenKey = dir.CA, dir.TokenKey
		if id.resetKey, err = deriveResetKey(dir.TokenKey); err != nil {
			return err
		}
	}
	if cfg.TLSCert != "" {
		pair, err := ownCertificate(cfg)
		if err != nil {
			return err
		}
		id.tls = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
		return nil
	}
	if ca == nil {
		if ca, err = pki.Ephemeral(names); err != nil {
			return err
		}
		id.inMemory = true
	}
	id.tls = &tls.Config{GetCertificate: ca.GetCertificate, MinVersion: tls.VersionTLS12}
	id.pin = ca.Pin()
	return nil
}

// deriveResetKey makes a key of the data folder's secret, so that it is the same after each start.
func deriveResetKey(secret crypto.Signer) (*[32]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		return nil, err
	}
	key, err := hkdf.Key(sha256.New, der, nil, "postern stateless reset", 32)
	if err != nil {
		return nil, err
	}
	return (*[32]byte)(key), nil
}

// openAuth makes the chain of auth methods.
func (id *identity) openAuth(cfg *config.Relay, log *slog.Logger) error {
	var keys []crypto.PublicKey
	switch {
	case cfg.PublicKey != "":
		var err error
		if keys, err = jwt.ReadPublicKeys(cfg.PublicKey); err != nil {
			return fmt.Errorf("public-key: %w", err)
		}
		// Tokens that this relay signed would not pass its own check.
		id.tokenKey = nil
	case id.tokenKey != nil:
		keys = []crypto.PublicKey{id.tokenKey.Public()}
	}
	if id.tokenKey != nil {
		var err error
		if id.tokenID, err = jwt.Thumbprint(id.tokenKey.Public()); err != nil {
			return err
		}
	}
	names := slices.DeleteFunc(slices.Clone(cfg.Auth), func(name string) bool { return !config.InThisVersion("auth", name) })
	methods, err := authall.New(names, authall.Options{JWT: jwt.Options{Keys: keys, Audience: cfg.Audience}})
	if err != nil {
		return err
	}
	id.chain = &auth.Chain{Methods: methods, Guard: new(auth.Guard), Log: log}
	return nil
}

// tokenLife is how long a token lives that comes in a join string or renews one.
const tokenLife = 24 * time.Hour

// renew makes a fresh token for an agent whose token this relay signed itself.
func (id *identity) renew(old *postern.Identity) (string, *postern.Identity, error) {
	if id.tokenKey == nil || old.Method != jwt.Name || old.Key != id.tokenID {
		return "", nil, nil
	}
	claims := jwt.ClaimsOf(old, time.Now().Add(tokenLife))
	if id.audience != "" {
		claims.Audience = []string{id.audience}
	}
	token, err := jwt.Sign(id.tokenKey, claims)
	if err != nil {
		return "", nil, err
	}
	next := *old
	next.Expires = claims.Expires
	return token, &next, nil
}
