package jwt

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// The types of PEM blocks that keys come in (RFC 7468 §10, §13; openssl's older forms).
const (
	pemPKCS8     = "PRIVATE KEY"
	pemSEC1      = "EC PRIVATE KEY"
	pemPKCS1     = "RSA PRIVATE KEY"
	pemEncrypted = "ENCRYPTED PRIVATE KEY"
	pemPKIX      = "PUBLIC KEY"
	pemPKCS1Pub  = "RSA PUBLIC KEY"
)

// ParsePrivateKey reads the one private key in PEM data: PKCS#8, SEC 1 (EC) or PKCS#1 (RSA). Blocks that are no keys,
// as openssl's EC PARAMETERS, are passed over. The key is checked to be one that tokens can be signed with.
func ParsePrivateKey(data []byte) (crypto.Signer, error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return nil, errors.New("there is no private key in PEM form")
		}
		if block.Headers["DEK-Info"] != "" || block.Type == pemEncrypted {
			return nil, errors.New("the private key is encrypted; write it without a passphrase: openssl pkey -in FILE -out NEW")
		}
		switch block.Type {
		case pemPKCS8, pemSEC1, pemPKCS1:
			return parsePrivateBlock(block)
		}
	}
}

func parsePrivateBlock(block *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch block.Type {
	case pemSEC1:
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case pemPKCS1:
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		// x509's own text may name another function of Go, but never a part of the key.
		return nil, fmt.Errorf("the block %s cannot be read: %w", block.Type, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot sign", key)
	}
	if _, err := methodOf(signer.Public()); err != nil {
		return nil, err
	}
	return signer, nil
}

// ParsePublicKeys reads the public keys in PEM data: PKIX or PKCS#1, one or several. Each is checked to be one that tokens can be
// verified with.
func ParsePublicKeys(data []byte) ([]crypto.PublicKey, error) {
	var keys []crypto.PublicKey
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		var key any
		var err error
		switch block.Type {
		case pemPKIX:
			key, err = x509.ParsePKIXPublicKey(block.Bytes)
		case pemPKCS1Pub:
			key, err = x509.ParsePKCS1PublicKey(block.Bytes)
		case pemPKCS8, pemSEC1, pemPKCS1, pemEncrypted:
			return nil, errors.New("it holds a private key where a public one belongs; make one: postern auth key public --in FILE")
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("the block %s cannot be read: %w", block.Type, err)
		}
		if _, err := methodOf(key); err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no public key in PEM form")
	}
	return keys, nil
}

// FormatPrivateKey writes key as PEM, PKCS#8.
func FormatPrivateKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("write the private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemPKCS8, Bytes: der}), nil
}

// FormatPublicKey writes pub as PEM, PKIX.
func FormatPublicKey(pub crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("write the public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemPKIX, Bytes: der}), nil
}
