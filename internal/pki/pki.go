// Package pki is a relay's certificate authority of its own, and how others come to trust it: by the pin of the CA's key, by the CA's
// certificate as a file, or by what the machine trusts anyway.
//
//	names, err := pki.Names(advertised)
//	ca, err := pki.Create(dir, names)                      // at the relay; makes what is missing, keeps what is there
//	cfg := &tls.Config{GetCertificate: ca.GetCertificate}
//	fmt.Println(ca.Pin())                                  // sha256:5f0c...
//
//	cfg, err := pki.ClientTLS(pki.Trust{Pin: pin})         // at the agent
//
// The CA lives for ten years and its key is never replaced. The certificate that the relay shows, the leaf, is renewed
// by itself. The transports set the versions of TLS and the application protocols.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// How long certificates are good for. A leaf is renewed when a third of its life is left. They begin a day early for those
// whose clocks are behind.
const (
	caLife     = 10 * 365 * 24 * time.Hour
	leafLife   = 90 * 24 * time.Hour
	renewLeft  = leafLife / 3
	startEarly = 24 * time.Hour
	// retryAfter is how often it is tried, at most: a full disk, or a CA at its own end, must not cost a signature per handshake.
	retryAfter = time.Minute
)

// CA is a certificate authority together with the leaf that it has signed for its relay. All methods may be called concurrently.
type CA struct {
	cert    *x509.Certificate
	key     crypto.Signer // the CA's
	leafKey crypto.Signer
	names   []string // what the leaf is good for
	keep    func(*x509.Certificate) error

	mu    sync.Mutex
	leaf  *tls.Certificate // guarded by mu; replaced, never changed
	tried time.Time        // guarded by mu; when it was last tried to renew the leaf
}

// Ephemeral returns a CA that lives in memory only, with a leaf for names: for a relay without a data folder. Its pin is
// another one after each start.
func Ephemeral(names []string) (*CA, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	leafKey, err := newKey()
	if err != nil {
		return nil, err
	}
	cert, err := selfSign(key)
	if err != nil {
		return nil, err
	}
	ca := &CA{cert: cert, key: key, leafKey: leafKey, names: names, keep: func(*x509.Certificate) error { return nil }}
	return ca, ca.renew()
}

// Certificate returns the CA's certificate, which --ca takes. It must not be changed.
func (ca *CA) Certificate() *x509.Certificate { return ca.cert }

// Pin returns the pin of the CA's key, see Pin.
func (ca *CA) Pin() string { return Pin(ca.cert) }

// GetCertificate returns the leaf and the CA's certificate, for tls.Config.GetCertificate. It renews the leaf when that nears its
// end, at most once a minute; if the new one cannot be kept on disk the old one is used for as long as it is good.
func (ca *CA) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	now := time.Now()
	if fresh(ca.leaf.Leaf, now) || now.Sub(ca.tried) < retryAfter {
		return ca.leaf, nil
	}
	ca.tried = now
	if err := ca.renew(); err != nil && now.After(ca.leaf.Leaf.NotAfter) {
		return nil, fmt.Errorf("renew the relay's certificate: %w", err)
	}
	return ca.leaf, nil
}

// renew signs a new leaf. The caller holds mu or is the only one who knows ca.
func (ca *CA) renew() error {
	cert, err := ca.signLeaf()
	if err != nil {
		return err
	}
	if err := ca.keep(cert); err != nil {
		return fmt.Errorf("keep the renewed certificate: %w", err)
	}
	ca.use(cert)
	return nil
}

func (ca *CA) use(leaf *x509.Certificate) {
	ca.leaf = &tls.Certificate{
		Certificate: [][]byte{leaf.Raw, ca.cert.Raw}, // the CA too: who has only its pin finds it in the chain
		PrivateKey:  ca.leafKey,
		Leaf:        leaf,
	}
}

// fresh reports whether a leaf need not be renewed yet.
func fresh(leaf *x509.Certificate, now time.Time) bool {
	return now.After(leaf.NotBefore) && now.Before(leaf.NotAfter.Add(-renewLeft))
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// selfSign makes the CA's certificate.
func selfSign(key crypto.Signer) (*x509.Certificate, error) {
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "Postern relay CA"},
		NotBefore:             now.Add(-startEarly),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // it signs leaves only
	}
	return sign(template, template, key.Public(), key)
}

func (ca *CA) signLeaf() (*x509.Certificate, error) {
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: "Postern relay"},
		NotBefore:    now.Add(-startEarly),
		NotAfter:     earliest(now.Add(leafLife), ca.cert.NotAfter),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range ca.names {
		if ip, err := netip.ParseAddr(name); err == nil {
			template.IPAddresses = append(template.IPAddresses, ip.AsSlice())
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return sign(template, ca.cert, ca.leafKey.Public(), ca.key)
}

func sign(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// serial is 127 random bits: positive and at most 20 bytes, RFC 5280 §4.1.2.2.
func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // it never returns an error; see its documentation
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b)
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// covers reports whether leaf is good for every one of names.
func covers(leaf *x509.Certificate, names []string) bool {
	have := certNames(leaf)
	for _, name := range names {
		if !slices.Contains(have, name) {
			return false
		}
	}
	return true
}

// certNames lists what a certificate is good for, as Names writes it.
func certNames(cert *x509.Certificate) []string {
	names := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		if addr, ok := netip.AddrFromSlice(ip); ok {
			names = append(names, addr.Unmap().String())
		}
	}
	return names
}

func encodeCerts(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// decodeCerts reads the certificates in PEM data; there is at least one.
func decodeCerts(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d cannot be read: %w", len(certs)+1, err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("there is no certificate in PEM form")
	}
	return certs, nil
}
