package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/big"

	gojwt "github.com/golang-jwt/jwt/v5"
)

// The algorithms of RFC 7518 §3.1 and RFC 8037 that are supported. A key has exactly one.
const (
	algES256 = "ES256"
	algRS256 = "RS256"
	algEdDSA = "EdDSA"
)

// RSA keys below the minimum are refused (RFC 7518 §3.3); above the maximum verifying would be a way to keep us busy.
const (
	minRSA = 2048
	maxRSA = 8192
	newRSA = 3072
)

// GenerateKey makes a private key for algo: ES256, RS256 or EdDSA.
func GenerateKey(algo string) (crypto.Signer, error) {
	switch algo {
	case algES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case algRS256:
		return rsa.GenerateKey(rand.Reader, newRSA)
	case algEdDSA:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("the algorithm %q is not known; there are ES256, RS256 and EdDSA", algo)
}

// Thumbprint names a public key as RFC 7638 does: the SHA-256 of its JWK in base64url. It is Identity.Key of whoever
// shows a token signed by it, and what a token's kid may say.
func Thumbprint(pub crypto.PublicKey) (string, error) {
	v, err := newVerifier(pub)
	return v.thumbprint, err
}

// verifier is a public key with the one algorithm it is good for.
type verifier struct {
	pub        crypto.PublicKey
	alg        string
	method     gojwt.SigningMethod
	thumbprint string
}

func newVerifier(pub crypto.PublicKey) (verifier, error) {
	method, err := methodOf(pub)
	if err != nil {
		return verifier{}, err
	}
	jwk, err := canonicalJWK(pub)
	if err != nil {
		return verifier{}, err
	}
	sum := sha256.Sum256([]byte(jwk))
	return verifier{pub: pub, alg: method.Alg(), method: method, thumbprint: b64(sum[:])}, nil
}

// verify reports whether signature is the key's own over signed.
func (v verifier) verify(signed string, signature []byte) bool {
	return v.method.Verify(signed, signature, v.pub) == nil
}

// methodOf returns the one algorithm that a key is used with, or why it cannot be used.
func methodOf(pub crypto.PublicKey) (gojwt.SigningMethod, error) {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		if pub.Curve != elliptic.P256() {
			return nil, fmt.Errorf("the key is on the curve %s; ES256 needs P-256", pub.Curve.Params().Name)
		}
		return gojwt.SigningMethodES256, nil
	case *rsa.PublicKey:
		if bits := pub.N.BitLen(); bits < minRSA || bits > maxRSA {
			return nil, fmt.Errorf("the RSA key has %d bits; %d to %d are supported", bits, minRSA, maxRSA)
		}
		return gojwt.SigningMethodRS256, nil
	case ed25519.PublicKey:
		if len(pub) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("the Ed25519 key has %d bytes instead of %d", len(pub), ed25519.PublicKeySize)
		}
		return gojwt.SigningMethodEdDSA, nil
	}
	return nil, fmt.Errorf("a key of type %T cannot verify tokens; use an ECDSA P-256, RSA or Ed25519 key", pub)
}

// canonicalJWK writes the required members of a key's JWK in the order of RFC 7638 §3.2.
func canonicalJWK(pub crypto.PublicKey) (string, error) {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		point, err := pub.Bytes() // 4, then x and y of 32 bytes each (SEC 1 §2.3.3)
		if err != nil {
			return "", fmt.Errorf("the ECDSA key is not a point of its curve: %w", err)
		}
		return fmt.Sprintf(`{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, b64(point[1:33]), b64(point[33:])), nil
	case *rsa.PublicKey:
		return fmt.Sprintf(`{"e":"%s","kty":"RSA","n":"%s"}`, b64(big.NewInt(int64(pub.E)).Bytes()), b64(pub.N.Bytes())), nil
	case ed25519.PublicKey:
		return fmt.Sprintf(`{"crv":"Ed25519","kty":"OKP","x":"%s"}`, b64(pub)), nil
	}
	return "", fmt.Errorf("a key of type %T has no thumbprint", pub)
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
