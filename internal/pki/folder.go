package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/postern-dev/postern/internal/safefile"
)

// The files of a CA in its relay's data folder (DESIGN §3).
const (
	CAFile    = "ca.pem"    // the CA's certificate, what --ca takes
	CAKey     = "ca.key"    // its private key, 0600
	RelayFile = "relay.pem" // the leaf, followed by the CA's certificate
	RelayKey  = "relay.key" // the leaf's private key, 0600
)

// Create returns the CA in the folder dir. What is missing is made: the folder (0700), the CA, a leaf for names. The leaf is renewed
// when it nears its end or lacks one of names. A key that exists is never overwritten; a folder whose files do not
// fit each other is an error that says which.
func Create(dir string, names []string) (*CA, error) {
	if err := safefile.Dir(dir); err != nil {
		return nil, err
	}
	// Keys come first: what is missing besides them can be made again without changing the pin.
	if err := makeCA(dir); err != nil {
		return nil, err
	}
	if err := makeKey(filepath.Join(dir, RelayKey)); err != nil {
		return nil, err
	}
	ca, err := loadCA(dir)
	if err != nil {
		return nil, err
	}
	ca.names = names
	leaf, err := ca.loadLeaf(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errOtherKey):
		return ca, ca.renew()
	case err != nil:
		return nil, err
	case !fresh(leaf, time.Now()) || !covers(leaf, names):
		return ca, ca.renew()
	}
	ca.use(leaf)
	return ca, nil
}

// Load returns the CA in the folder dir as it is; anything missing is an error. Its leaf keeps its names.
func Load(dir string) (*CA, error) {
	ca, err := loadCA(dir)
	if err != nil {
		return nil, err
	}
	leaf, err := ca.loadLeaf(dir)
	if err != nil {
		return nil, err
	}
	ca.names = certNames(leaf)
	ca.use(leaf)
	return ca, nil
}

// makeCA makes the key and the certificate of the CA where they are missing.
func makeCA(dir string) error {
	keyPath, certPath := filepath.Join(dir, CAKey), filepath.Join(dir, CAFile)
	if exists(certPath) && !exists(keyPath) {
		return fmt.Errorf("%s is there but its key %s is not: restore the key, or remove both to begin with a new CA, whose pin is another", certPath, keyPath)
	}
	if err := makeKey(keyPath); err != nil {
		return err
	}
	if exists(certPath) {
		return nil
	}
	key, err := readKey(keyPath)
	if err != nil {
		return err
	}
	cert, err := selfSign(key)
	if err != nil {
		return err
	}
	return ignoreExist(safefile.Create(certPath, encodeCerts(cert), 0o644))
}

// makeKey makes a private key at path, unless there is one.
func makeKey(path string) error {
	if exists(path) {
		return nil
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("write the key %s: %w", path, err)
	}
	return ignoreExist(safefile.Create(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
}

// ignoreExist lets another process that makes the same folder at the same time win: what it made is read next.
func ignoreExist(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// loadCA reads both keys and the CA's certificate.
func loadCA(dir string) (*CA, error) {
	certPath := filepath.Join(dir, CAFile)
	certs, err := readCerts(certPath)
	if err != nil {
		return nil, err
	}
	key, err := readKey(filepath.Join(dir, CAKey))
	if err != nil {
		return nil, err
	}
	leafKey, err := readKey(filepath.Join(dir, RelayKey))
	if err != nil {
		return nil, err
	}
	cert := certs[0]
	switch {
	case !sameKey(cert.PublicKey, key):
		return nil, fmt.Errorf("%s is not the certificate of the key %s: restore the right one", certPath, CAKey)
	case !cert.IsCA:
		return nil, fmt.Errorf("%s is not the certificate of a CA", certPath)
	case time.Now().After(cert.NotAfter):
		return nil, fmt.Errorf("%s expired at %s: remove it and start the relay, which makes a new one with the same key and pin", certPath, cert.NotAfter.UTC().Format(time.DateOnly))
	}
	ca := &CA{cert: cert, key: key, leafKey: leafKey}
	ca.keep = func(leaf *x509.Certificate) error {
		return safefile.Replace(filepath.Join(dir, RelayFile), encodeCerts(leaf, ca.cert), 0o644)
	}
	return ca, nil
}

// errOtherKey is about a leaf of ours for a key that is gone: a new one is signed.
var errOtherKey = errors.New("the certificate is for another key than " + RelayKey)

// loadLeaf reads the leaf and checks that it is one of ours: a certificate that somebody put there is not overwritten.
func (ca *CA) loadLeaf(dir string) (*x509.Certificate, error) {
	path := filepath.Join(dir, RelayFile)
	certs, err := readCerts(path)
	if err != nil {
		return nil, err
	}
	if err := certs[0].CheckSignatureFrom(ca.cert); err != nil {
		return nil, fmt.Errorf("%s is not signed by %s: remove it and start the relay, which makes a new one (%w)", path, CAFile, err)
	}
	if !sameKey(certs[0].PublicKey, ca.leafKey) {
		return nil, fmt.Errorf("%s: %w; start the relay, which makes a new one", path, errOtherKey)
	}
	return certs[0], nil
}

func readCerts(path string) ([]*x509.Certificate, error) {
	data, err := safefile.Read(path)
	if err != nil {
		return nil, err
	}
	certs, err := decodeCerts(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return certs, nil
}

// readKey reads a key that this package wrote.
func readKey(path string) (crypto.Signer, error) {
	data, err := safefile.ReadPrivate(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s: there is no private key in PEM form", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: the private key cannot be read: %w", path, err)
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: a key of type %T, but an ECDSA key is needed", path, key)
	}
	return signer, nil
}

func sameKey(pub any, key crypto.Signer) bool {
	p, ok := pub.(*ecdsa.PublicKey)
	return ok && p.Equal(key.Public())
}

// exists reports whether there is anything at path. What cannot be looked at exists: making it anew would be wrong.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
