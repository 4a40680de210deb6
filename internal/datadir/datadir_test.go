package datadir_test

import (
	"crypto"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
	"github.com/postern-dev/postern/auth/jwt"
	"github.com/postern-dev/postern/internal/datadir"
)

func create(t *testing.T, path string) *datadir.Dir {
	t.Helper()
	d, err := datadir.Create(path, []string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestATokenMadeBesideTheRelayIsAcceptedByIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	relay := create(t, path)
	beside, err := datadir.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Sign(beside.TokenKey, jwt.Claims{Role: postern.RoleAgent, AgentID: "nas", Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := jwt.ReadPublicKeys(filepath.Join(path, "token.pub"))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []crypto.PublicKey{keys[0], relay.TokenKey.Public()} {
		m, err := jwt.New(jwt.Options{Keys: []crypto.PublicKey{key}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Verify(t.Context(), auth.Credential{Role: postern.RoleAgent, Secret: token}); err != nil {
			t.Error(err)
		}
	}
	if beside.CA.Pin() != relay.CA.Pin() {
		t.Errorf("got %+v", beside)
	}
	if info, err := os.Stat(filepath.Join(path, "token.key")); err != nil || info.Mode() != 0o600 {
		t.Errorf("the mode of token.key is %v, %v", info.Mode(), err)
	}
}

func TestAHalfMadeFolder(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(dir string) error
		want  string // of Create's error; empty: completed
	}{
		"no token.pub": {func(d string) error { return os.Remove(filepath.Join(d, "token.pub")) }, ""},
		"no token files": {func(d string) error {
			return errors.Join(os.Remove(filepath.Join(d, "token.pub")), os.Remove(filepath.Join(d, "token.key")))
		}, ""},
		"no token.key": {func(d string) error { return os.Remove(filepath.Join(d, "token.key")) }, "restore the key"},
		"another key": {func(d string) error {
			key, err := jwt.GenerateKey("EdDSA")
			if err != nil {
				return err
			}
			return jwt.WritePrivateKey(filepath.Join(d, "token.key"), key, true)
		}, "not the public half"},
		"readable key": {func(d string) error { return os.Chmod(filepath.Join(d, "token.key"), 0o644) }, "chmod 600"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			create(t, dir)
			if err := c.spoil(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := datadir.Load(dir); err == nil {
				t.Error("Load took it as it is")
			}
			_, err := datadir.Create(dir, []string{"localhost"})
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestLoadOfAnythingElseHasAHint(t *testing.T) {
	for _, path := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		_, err := datadir.Load(path)
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "postern relay --data "+path) {
			t.Errorf("got %v", err)
		}
		if entries, err := os.ReadDir(path); err == nil && len(entries) > 0 {
			t.Error("Load made files")
		}
	}
}
