package pki

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// pinPrefix names the hash of a pin.
const pinPrefix = "sha256:"

// Pin names the key of a certificate: sha256: and the hex of the SHA-256 of its SubjectPublicKeyInfo (as in RFC 7469 §2.4).
func Pin(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return pinPrefix + hex.EncodeToString(sum[:])
}

// ParsePin returns the hash in a pin. Upper case and colons between bytes, as openssl writes them, are fine.
func ParsePin(pin string) ([sha256.Size]byte, error) {
	var sum [sha256.Size]byte
	digits, ok := strings.CutPrefix(strings.ToLower(pin), pinPrefix)
	if ok {
		raw, err := hex.DecodeString(strings.ReplaceAll(digits, ":", ""))
		if ok = err == nil && len(raw) == len(sum); ok {
			copy(sum[:], raw)
		}
	}
	if !ok {
		return sum, errors.New("a pin is sha256: and 64 hex digits, as the relay prints it when it starts")
	}
	return sum, nil
}

// Trust says which relay is the right one. With neither Pin nor CAFile it is one with a certificate that this machine trusts.
type Trust struct {
	// Pin is the pin of the relay's CA (or of its own key). The relay's names do not matter then.
	Pin string
	// CAFile is a PEM file of the only CAs to trust. Not together with Pin.
	CAFile string
	// ServerName is what the certificate must be good for; empty: the host that is dialled. With Pin it is only sent (SNI).
	ServerName string
}

// ClientTLS returns the configuration that verifies a relay as t says. Where the server name matters and is empty, whoever dials sets
// ServerName to the host.
func ClientTLS(t Trust) (*tls.Config, error) {
	switch {
	case t.Pin != "" && t.CAFile != "":
		return nil, errors.New("a pin and a CA file exclude each other: give one of --pin and --ca")
	case t.Pin != "":
		pin, err := ParsePin(t.Pin)
		if err != nil {
			return nil, err
		}
		// The standard verification wants names and roots; verifyPin does all the rest that it does, also
		// when a session is resumed.
		return &tls.Config{
			ServerName:         t.ServerName,
			InsecureSkipVerify: true,
			VerifyConnection:   func(cs tls.ConnectionState) error { return verifyPin(pin, cs.PeerCertificates) },
		}, nil
	case t.CAFile != "":
		certs, err := readCerts(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		pool := x509.NewCertPool()
		for _, c := range certs {
			pool.AddCert(c)
		}
		return &tls.Config{ServerName: t.ServerName, RootCAs: pool}, nil
	}
	return &tls.Config{ServerName: t.ServerName}, nil
}

// verifyPin accepts a chain in which a certificate has the pinned key, and whose leaf verifies against that one as the only
// root: signature, dates, constraints, and that it is meant for servers. Anybody can send the CA's certificate along; only its key
// can sign a leaf.
func verifyPin(pin [sha256.Size]byte, chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errors.New("the relay showed no certificate")
	}
	others := x509.NewCertPool()
	var pinned *x509.Certificate
	for i, c := range chain {
		sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
		switch {
		case pinned == nil && subtle.ConstantTimeCompare(sum[:], pin[:]) == 1:
			pinned = c
		case i > 0:
			others.AddCert(c)
		}
	}
	if pinned == nil {
		return &pinError{Pin(chain[len(chain)-1])}
	}
	roots := x509.NewCertPool()
	roots.AddCert(pinned)
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: others, CurrentTime: time.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: chain, Err: err}
	}
	return nil
}

// pinError says that the relay is another one than the pin's.
type pinError struct{ pin string }

// Error names the pin that the relay has.
func (e *pinError) Error() string {
	return "the relay is not the pinned one: its CA has the pin " + e.pin
}

// Explain says a failed verification to a person: what does not fit and what to do. It returns "" if err is about
// something else.
func Explain(err error) string {
	if _, ok := errors.AsType[*pinError](err); ok {
		return "if the relay was set up anew, get a new join string or pin from its owner; else somebody else answers at its address"
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Sprintf("the relay's certificate is good for %s, not for %s; dial one of those, add --advertise %s at the relay, or use its pin",
			strings.Join(certNames(e.Certificate), ", "), e.Host, e.Host)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the relay's certificate is signed by a CA that is not trusted here; give the relay's pin (--pin) or its ca.pem (--ca)"
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return fmt.Sprintf("the relay's certificate is good from %s to %s; is the clock of this machine right?",
			e.Cert.NotBefore.UTC().Format(time.DateOnly), e.Cert.NotAfter.UTC().Format(time.DateOnly))
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the relay's certificate cannot be trusted: " + e.Err.Error()
	}
	return ""
}
