package pki_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-dev/postern/internal/pki"
)

// handshake lets a client that trusts as t says meet a relay with ca, and returns what the client says of it.
func handshake(t *testing.T, ca *pki.CA, trust pki.Trust) error {
	t.Helper()
	return handshakeWith(t, &tls.Config{GetCertificate: ca.GetCertificate}, trust)
}

func handshakeWith(t *testing.T, server *tls.Config, trust pki.Trust) error {
	t.Helper()
	client, err := pki.ClientTLS(trust)
	if err != nil {
		t.Fatal(err)
	}
	return meet(t, server, client)
}

func meet(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s := tls.Server(b, server)
		if s.HandshakeContext(t.Context()) == nil {
			_, _ = s.Write([]byte("x")) // so that the client gets session tickets too; it may be gone
		}
		_ = b.Close()
	}()
	c := tls.Client(a, client)
	err := c.HandshakeContext(t.Context())
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	_ = a.Close()
	<-done
	return err
}

// forge signs a certificate as nobody's relay would.
func forge(t *testing.T, template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	template.SerialNumber, template.Subject = big.NewInt(7), pkix.Name{CommonName: "forged"}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func shows(key *ecdsa.PrivateKey, chain ...*x509.Certificate) *tls.Config {
	c := tls.Certificate{PrivateKey: key}
	for _, cert := range chain {
		c.Certificate = append(c.Certificate, cert.Raw)
	}
	return &tls.Config{Certificates: []tls.Certificate{c}}
}

func TestThePinIsEnoughWhateverTheName(t *testing.T) {
	ca := create(t, t.TempDir())
	for _, name := range []string{"", "localhost", "elsewhere.example.com"} {
		for _, pin := range []string{ca.Pin(), "SHA256:" + strings.ToUpper(strings.TrimPrefix(ca.Pin(), "sha256:"))} {
			if err := handshake(t, ca, pki.Trust{Pin: pin, ServerName: name}); err != nil {
				t.Errorf("name %q: %v", name, err)
			}
		}
	}
}

func TestAnotherRelayIsNotThePinnedOne(t *testing.T) {
	ca, other := create(t, t.TempDir()), create(t, t.TempDir())
	err := handshake(t, other, pki.Trust{Pin: ca.Pin()})
	if err == nil || !strings.Contains(err.Error(), other.Pin()) || !strings.Contains(err.Error(), "not the pinned one") {
		t.Errorf("got %v", err)
	}
	if why := pki.Explain(err); !strings.Contains(why, "new join string") {
		t.Errorf("it is explained as %q", why)
	}
}

// The CA's certificate is public: whoever sends it along has not proved that the CA signed anything.
func TestThePinnedCertificateMustHaveSignedTheLeaf(t *testing.T) {
	ca := create(t, t.TempDir())
	key, now := ecKey(t), time.Now()
	template := &x509.Certificate{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	selfSigned := forge(t, template, template, key, key)
	for name, server := range map[string]*tls.Config{
		"a leaf of its own and the CA":          shows(key, selfSigned, ca.Certificate()),
		"a leaf of its own, the real leaf, CA":  shows(key, selfSigned, leaf(t, ca), ca.Certificate()),
		"a leaf that names the CA as its maker": shows(key, forge(t, template, &x509.Certificate{RawSubject: ca.Certificate().RawSubject, SubjectKeyId: ca.Certificate().SubjectKeyId}, key, key), ca.Certificate()),
	} {
		if err := handshakeWith(t, server, pki.Trust{Pin: ca.Pin()}); err == nil {
			t.Errorf("%s: trusted", name)
		}
	}
}

func TestAPinnedChainMustBeGoodForServersAndInTime(t *testing.T) {
	caKey, key, now := ecKey(t), ecKey(t), time.Now()
	caTemplate := &x509.Certificate{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	ca := forge(t, caTemplate, caTemplate, caKey, caKey)
	server := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for name, c := range map[string]struct {
		template *x509.Certificate
		want     bool
	}{
		"good":        {&x509.Certificate{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), ExtKeyUsage: server}, true},
		"expired":     {&x509.Certificate{NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour), ExtKeyUsage: server}, false},
		"not yet":     {&x509.Certificate{NotBefore: now.Add(time.Hour), NotAfter: now.Add(2 * time.Hour), ExtKeyUsage: server}, false},
		"for clients": {&x509.Certificate{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, false},
	} {
		err := handshakeWith(t, shows(key, forge(t, c.template, ca, key, caKey), ca), pki.Trust{Pin: pki.Pin(ca)})
		if (err == nil) != c.want {
			t.Errorf("%s: %v, want success %v", name, err, c.want)
		}
		if name == "expired" && !strings.Contains(pki.Explain(err), "is the clock") {
			t.Errorf("%s is explained as %q", name, pki.Explain(err))
		}
	}
	self := forge(t, &x509.Certificate{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), ExtKeyUsage: server}, ca, caKey, caKey)
	if err := handshakeWith(t, shows(caKey, self), pki.Trust{Pin: pki.Pin(self)}); err != nil {
		t.Errorf("the pin of the leaf's own key: %v", err)
	}
}

func TestAResumedSessionIsVerifiedByPinToo(t *testing.T) {
	ca, other := create(t, t.TempDir()), create(t, t.TempDir())
	server := &tls.Config{GetCertificate: ca.GetCertificate}
	good, err := pki.ClientTLS(pki.Trust{Pin: ca.Pin(), ServerName: "relay"})
	if err != nil {
		t.Fatal(err)
	}
	bad, err := pki.ClientTLS(pki.Trust{Pin: other.Pin(), ServerName: "relay"})
	if err != nil {
		t.Fatal(err)
	}
	good.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	bad.ClientSessionCache = good.ClientSessionCache
	for range 2 {
		if err := meet(t, server, good); err != nil {
			t.Fatal(err)
		}
	}
	if err := meet(t, server, bad); err == nil {
		t.Error("a ticket got around the pin")
	}
}

func TestACAFileNeedsTheName(t *testing.T) {
	dir := t.TempDir()
	ca, other := create(t, dir), create(t, t.TempDir())
	both := filepath.Join(t.TempDir(), "both.pem")
	if err := os.WriteFile(both, append(inPEM(other), inPEM(ca)...), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ca         *pki.CA
		file, name string
		want       string // in the explanation; empty: trusted
	}{
		{ca, filepath.Join(dir, pki.CAFile), "localhost", ""},
		{ca, filepath.Join(dir, pki.CAFile), "127.0.0.1", ""},
		{ca, both, "localhost", ""},
		{other, both, "::1", ""},
		{ca, both, "relay.example.com", "good for localhost, 127.0.0.1, ::1, not for relay.example.com"},
		{other, filepath.Join(dir, pki.CAFile), "localhost", "--pin"},
		{ca, "", "localhost", "--pin"}, // the machine's own roots
	} {
		err := handshake(t, c.ca, pki.Trust{CAFile: c.file, ServerName: c.name})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(pki.Explain(err), c.want) {
			t.Errorf("%s by %s: %v, explained as %q, want %q", c.name, filepath.Base(c.file), err, pki.Explain(err), c.want)
		}
	}
}

func TestBadTrustIsNamed(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for want, trust := range map[string]pki.Trust{
		"exclude each other":         {Pin: "sha256:00", CAFile: empty},
		"64 hex digits":              {Pin: "sha256:00"},
		"no certificate in PEM form": {CAFile: empty},
		"nowhere.pem":                {CAFile: "nowhere.pem"},
	} {
		if _, err := pki.ClientTLS(trust); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", trust, err, want)
		}
	}
	for _, bad := range []string{"", "sha256:", "sha1:" + strings.Repeat("0", 64), strings.Repeat("0", 64), "sha256:" + strings.Repeat("g", 64), "sha256:" + strings.Repeat("0", 66)} {
		if _, err := pki.ParsePin(bad); err == nil {
			t.Errorf("%q is a pin", bad)
		}
	}
	if pki.Explain(errors.New("other")) != "" {
		t.Error("an error about something else is explained")
	}
}

// inPEM is a CA's certificate as --ca takes it.
func inPEM(ca *pki.CA) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate().Raw})
}
