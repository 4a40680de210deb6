// Package datadir is the keys in a relay's data folder (DESIGN §3): its CA and certificate, and the key that signs tokens.
//
//	dir, err := datadir.Create(path, names)    // relay: makes what is missing
//	dir, err := datadir.Load(path)             // commands beside it: what is there
//	token, err := jwt.Sign(dir.TokenKey, claims)
package datadir

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/postern-dev/postern/auth/jwt"
	"github.com/postern-dev/postern/internal/pki"
)

// The files of the folder besides those of pki.
const (
	tokenKeyFile = "token.key"
	tokenPubFile = "token.pub"
)

// Dir is a relay's data folder.
type Dir struct {
	// Path is the folder.
	Path string
	// CA is the relay's certificate authority and certificate.
	CA *pki.CA
	// TokenKey signs tokens; its public half is in token.pub, which --public-key takes.
	TokenKey crypto.Signer
}

// Create returns the data folder at path for a relay whose certificate is good for names. What is missing is made;
// keys that exist are never overwritten, and a folder whose files do not fit each other is an error.
func Create(path string, names []string) (*Dir, error) {
	ca, err := pki.Create(path, names)
	if err != nil {
		return nil, err
	}
	key, err := makeTokenKey(path)
	if err != nil {
		return nil, err
	}
	return &Dir{Path: path, CA: ca, TokenKey: key}, nil
}

// Load returns the data folder at path as it is. A folder that no relay has been started on is an error with a hint.
func Load(path string) (*Dir, error) {
	key, err := loadTokenKey(path)
	if err != nil {
		return nil, missing(path, err)
	}
	ca, err := pki.Load(path)
	if err != nil {
		return nil, missing(path, err)
	}
	return &Dir{Path: path, CA: ca, TokenKey: key}, nil
}

func missing(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is not a relay's data folder, or not a whole one: %w; start it once with postern relay --data %s", path, err, path)
	}
	return err
}

// makeTokenKey makes the key that signs tokens and its public half, where they are missing.
func makeTokenKey(path string) (crypto.Signer, error) {
	keyPath, pubPath := filepath.Join(path, tokenKeyFile), filepath.Join(path, tokenPubFile)
	if _, err := os.Lstat(keyPath); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(pubPath); err == nil {
			return nil, fmt.Errorf("%s is there but its key %s is not: restore the key, or remove %s to begin with a new one, which ends all tokens", pubPath, keyPath, tokenPubFile)
		}
		key, err := jwt.GenerateKey("ES256")
		if err != nil {
			return nil, err
		}
		// Another process may have made it in the meantime; whatever is there now is read next.
		if err := jwt.WritePrivateKey(keyPath, key, false); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	key, err := jwt.ReadPrivateKey(keyPath)
	if err != nil {
		return nil, err
	}
	if err := jwt.WritePublicKey(pubPath, key.Public(), false); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return key, checkPair(key, pubPath)
}

func loadTokenKey(path string) (crypto.Signer, error) {
	key, err := jwt.ReadPrivateKey(filepath.Join(path, tokenKeyFile))
	if err != nil {
		return nil, err
	}
	return key, checkPair(key, filepath.Join(path, tokenPubFile))
}

// checkPair makes sure that what key signs is what a relay with the public key at pubPath accepts.
func checkPair(key crypto.Signer, pubPath string) error {
	pubs, err := jwt.ReadPublicKeys(pubPath)
	if err != nil {
		return err
	}
	for _, pub := range pubs {
		if same(pub, key.Public()) {
			return nil
		}
	}
	return fmt.Errorf("%s is not the public half of %s: remove it and start the relay, which writes it again", pubPath, tokenKeyFile)
}

func same(a, b crypto.PublicKey) bool {
	switch a := a.(type) {
	case *ecdsa.PublicKey:
		return a.Equal(b)
	case *rsa.PublicKey:
		return a.Equal(b)
	case ed25519.PublicKey:
		return a.Equal(b)
	}
	return false
}
