package pki_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern/internal/pki"
)

func localNames() []string { return []string{"localhost", "127.0.0.1", "::1"} }

func create(t *testing.T, dir string, names ...string) *pki.CA {
	t.Helper()
	ca, err := pki.Create(dir, append(localNames(), names...))
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func leaf(t *testing.T, ca *pki.CA) *x509.Certificate {
	t.Helper()
	c, err := ca.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return c.Leaf
}

func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(b)
	}
	return files
}

func TestAnEmptyFolderGetsAllItNeeds(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "data")
	ca := create(t, dir, "relay.example.com")
	for name, mode := range map[string]fs.FileMode{".": fs.ModeDir | 0o700, pki.CAFile: 0o644, pki.CAKey: 0o600, pki.RelayFile: 0o644, pki.RelayKey: 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: mode %v, %v; want %v", name, info.Mode(), err, mode)
		}
	}
	l := leaf(t, ca)
	for _, host := range []string{"relay.example.com", "localhost", "127.0.0.1", "::1"} {
		if err := l.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	if life := time.Until(ca.Certificate().NotAfter); life < 9*365*24*time.Hour || !ca.Certificate().IsCA {
		t.Errorf("the CA is good for %v", life)
	}
	if len(content(t, dir)) != 4 {
		t.Errorf("files were left over: %v", len(content(t, dir)))
	}
}

func TestASecondStartChangesNothing(t *testing.T) {
	dir := t.TempDir()
	pin := create(t, dir).Pin()
	before := content(t, dir)
	if again := create(t, dir); again.Pin() != pin {
		t.Error("the pin changed")
	}
	loaded, err := pki.Load(dir)
	if err != nil || loaded.Pin() != pin {
		t.Errorf("loading: %v", err)
	}
	after := content(t, dir)
	for name := range before {
		if before[name] != after[name] {
			t.Errorf("%s changed", name)
		}
	}
}

func TestANewNameRenewsTheLeafAlone(t *testing.T) {
	dir := t.TempDir()
	create(t, dir)
	before := content(t, dir)
	ca := create(t, dir, "new.example.com")
	if err := leaf(t, ca).VerifyHostname("new.example.com"); err != nil {
		t.Error(err)
	}
	for name, old := range before {
		if changed := content(t, dir)[name] != old; changed != (name == pki.RelayFile) {
			t.Errorf("%s changed: %v", name, changed)
		}
	}
}

func TestAHalfMadeFolderIsCompletedOrRefused(t *testing.T) {
	foreign := t.TempDir()
	create(t, foreign)
	for name, c := range map[string]struct {
		remove []string
		copy   []string // from another relay's folder
		want   string   // part of the error; empty: completed, with the same pin
	}{
		"no ca.pem":               {remove: []string{pki.CAFile}},
		"no relay.pem":            {remove: []string{pki.RelayFile}},
		"no relay.key":            {remove: []string{pki.RelayKey}},
		"neither relay file":      {remove: []string{pki.RelayKey, pki.RelayFile}},
		"no ca.key":               {remove: []string{pki.CAKey}, want: "its key"},
		"another relay's ca.key":  {copy: []string{pki.CAKey}, want: "not the certificate of the key"},
		"another relay's ca.pem":  {copy: []string{pki.CAFile}, want: "not the certificate of the key"},
		"another relay's leaf":    {copy: []string{pki.RelayFile, pki.RelayKey}, want: "relay.pem is not signed by ca.pem"},
		"another relay's leafkey": {copy: []string{pki.RelayKey}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			pin := create(t, dir).Pin()
			for _, f := range c.remove {
				if err := os.Remove(filepath.Join(dir, f)); err != nil {
					t.Fatal(err)
				}
			}
			for _, f := range c.copy {
				b, err := os.ReadFile(filepath.Join(foreign, f))
				if err == nil {
					err = os.WriteFile(filepath.Join(dir, f), b, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			before := content(t, dir)
			_, loadErr := pki.Load(dir)
			if loadErr == nil && name != "no ca.pem" {
				t.Error("Load took it as it is")
			}
			ca, err := pki.Create(dir, localNames())
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %s", err, c.want)
				}
				for f, old := range before {
					if content(t, dir)[f] != old {
						t.Errorf("%s was changed all the same", f)
					}
				}
				return
			}
			if err != nil || ca.Pin() != pin {
				t.Fatalf("not completed: %v", err)
			}
			for _, f := range []string{pki.CAKey, pki.RelayKey} {
				if old, had := before[f]; had && content(t, dir)[f] != old {
					t.Errorf("%s was overwritten", f)
				}
			}
			if err := handshake(t, ca, pki.Trust{Pin: pin}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFilesThatCannotBeReadAreNamed(t *testing.T) {
	for file, want := range map[string]string{
		pki.CAFile: "no certificate in PEM form", pki.CAKey: "no private key in PEM form", pki.RelayFile: "no certificate in PEM form", pki.RelayKey: "no private key in PEM form",
	} {
		dir := t.TempDir()
		create(t, dir)
		if err := os.WriteFile(filepath.Join(dir, file), []byte("half a fi"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := pki.Create(dir, localNames()); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v, want its name and %s", file, err, want)
		}
	}
	dir := t.TempDir()
	create(t, dir)
	if err := os.Chmod(filepath.Join(dir, pki.CAKey), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Create(dir, localNames()); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a CA key that others can read: %v", err)
	}
}

func TestLoadOfNothingSaysWhatIsMissing(t *testing.T) {
	if _, err := pki.Load(t.TempDir()); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), pki.CAFile) {
		t.Errorf("got %v", err)
	}
}

func TestManyStartsOnOneFolderAgree(t *testing.T) {
	dir := t.TempDir()
	pins := make(chan string, 8)
	for range cap(pins) {
		go func() {
			ca, err := pki.Create(dir, localNames())
			if err != nil {
				pins <- err.Error()
				return
			}
			pins <- ca.Pin()
		}()
	}
	first := <-pins
	for range cap(pins) - 1 {
		if p := <-pins; p != first {
			t.Errorf("%s and %s", first, p)
		}
	}
}

func TestTheLeafRenewsItselfWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		ca := create(t, dir)
		first := leaf(t, ca)
		time.Sleep(59 * 24 * time.Hour)
		if leaf(t, ca) != first {
			t.Error("renewed with a third of its life left and more")
		}
		time.Sleep(2 * 24 * time.Hour)
		second := leaf(t, ca)
		if second == first || !second.NotAfter.After(first.NotAfter) {
			t.Error("not renewed with less than a third of its life left")
		}
		block, _ := pem.Decode([]byte(content(t, dir)[pki.RelayFile]))
		if !bytes.Equal(block.Bytes, second.Raw) {
			t.Error("the renewed leaf is not on disk")
		}
		if !slices.Equal(first.DNSNames, second.DNSNames) || second.CheckSignatureFrom(ca.Certificate()) != nil {
			t.Error("the renewed leaf has other names or another CA")
		}
	})
}

func TestALeafThatCannotBeKeptDoesNotStopTheRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "d")
		ca := create(t, dir)
		first := leaf(t, ca)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(80 * 24 * time.Hour)
		if leaf(t, ca) != first {
			t.Error("there is a leaf that is not on disk")
		}
		time.Sleep(20 * 24 * time.Hour)
		if _, err := ca.GetCertificate(nil); err == nil || !strings.Contains(err.Error(), "renew") {
			t.Errorf("an expired leaf is shown: %v", err)
		}
	})
}

func TestEphemeral(t *testing.T) {
	ca, err := pki.Ephemeral(localNames())
	if err != nil {
		t.Fatal(err)
	}
	if err := handshake(t, ca, pki.Trust{Pin: ca.Pin()}); err != nil {
		t.Error(err)
	}
	other, err := pki.Ephemeral(localNames())
	if err != nil || other.Pin() == ca.Pin() {
		t.Errorf("two of them have one key: %v", err)
	}
}

func TestNames(t *testing.T) {
	names, err := pki.Names([]string{"Relay.Example.com:4242", "[2001:db8::7]:4242", "192.0.2.9", "2001:db8::8"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"localhost", "127.0.0.1", "::1", "relay.example.com", "2001:db8::7", "192.0.2.9", "2001:db8::8"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not in %v", want, names)
		}
	}
	sorted := slices.Sorted(slices.Values(names))
	if len(slices.Compact(sorted)) != len(names) {
		t.Errorf("a name stands there twice: %v", names)
	}
	if host, err := os.Hostname(); err == nil && !slices.Contains(names, strings.ToLower(host)) {
		t.Errorf("the host's name %s is not in %v", host, names)
	}
	for _, bad := range []string{"", "a b", "http://x/", "1.2.3", ":4242"} {
		if _, err := pki.Names([]string{bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if _, err := pki.Create(t.TempDir(), names); err != nil {
		t.Errorf("the names of this host do not fit into a certificate: %v", err)
	}
}
