package jwt

import (
	"crypto"
	"fmt"
	"io/fs"

	"github.com/postern-dev/postern/internal/safefile"
)

// ReadPrivateKey reads the private key in the PEM file at path. A file that others can read is refused, with a hint (PROMISES P-18).
func ReadPrivateKey(path string) (crypto.Signer, error) {
	data, err := safefile.ReadPrivate(path)
	if err != nil {
		return nil, err
	}
	key, err := ParsePrivateKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// ReadPublicKeys reads the public keys in the PEM file at path.
func ReadPublicKeys(path string) ([]crypto.PublicKey, error) {
	data, err := safefile.Read(path)
	if err != nil {
		return nil, err
	}
	keys, err := ParsePublicKeys(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}

// WritePrivateKey writes key to a new file with mode 0600. If there is anything at path the error is fs.ErrExist, unless force says to
// replace it; a symlink is never followed.
func WritePrivateKey(path string, key crypto.Signer, force bool) error {
	data, err := FormatPrivateKey(key)
	if err != nil {
		return err
	}
	return write(path, data, 0o600, force)
}

// WritePublicKey writes pub to a new file with mode 0644, with the same rules as WritePrivateKey.
func WritePublicKey(path string, pub crypto.PublicKey, force bool) error {
	data, err := FormatPublicKey(pub)
	if err != nil {
		return err
	}
	return write(path, data, 0o644, force)
}

func write(path string, data []byte, perm fs.FileMode, force bool) error {
	if force {
		return safefile.Replace(path, data, perm)
	}
	return safefile.Create(path, data, perm)
}
