package safefile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-dev/postern/internal/safefile"
)

func TestCreateNeverOverwritesAndReplaceDoes(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := safefile.Create(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := safefile.Create(path, []byte("two"), 0o600); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("a second Create: %v", err)
	}
	expect(t, path, "one", 0o600)
	if err := safefile.Replace(path, []byte("two"), 0o644); err != nil {
		t.Error(err)
	}
	expect(t, path, "two", 0o644)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("temporary files were left: %v, %v", entries, err)
	}
}

func expect(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	b, err := safefile.Read(path)
	if err != nil || string(b) != content {
		t.Errorf("got %q, %v; want %q", b, err, content)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != mode {
		t.Errorf("mode %v, %v; want %v", info.Mode(), err, mode)
	}
}

func TestSymlinksAreNotFollowedInWriting(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	dangling, link := filepath.Join(dir, "dangling"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(victim, []byte("mine"), 0o600), os.Symlink(victim, link), os.Symlink(filepath.Join(dir, "new"), dangling)); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{link, dangling} {
		if err := safefile.Create(p, []byte("x"), 0o600); !errors.Is(err, fs.ErrExist) {
			t.Errorf("Create through %s: %v", filepath.Base(p), err)
		}
		if err := safefile.Replace(p, []byte("x"), 0o600); err != nil {
			t.Error(err)
		}
		expect(t, p, "x", 0o600)
	}
	expect(t, victim, "mine", 0o600)
	if _, err := os.Stat(filepath.Join(dir, "new")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the dangling link was followed")
	}
}

func TestAFolderIsMadeForItsOwnerAlone(t *testing.T) {
	root := t.TempDir()
	mode := func(path string) fs.FileMode {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode() & (fs.ModePerm | fs.ModeSticky)
	}
	fresh := filepath.Join(root, "a", "b")
	if err := safefile.Dir(fresh); err != nil || mode(fresh) != 0o700 {
		t.Errorf("%v, mode %v", err, mode(fresh))
	}
	for _, c := range []struct {
		name  string
		mode  fs.FileMode
		empty bool
		after fs.FileMode // 0: refused
	}{
		{"ours", 0o755, false, 0o755},
		{"empty, of a lax umask", 0o775, true, 0o700},
		{"others write", 0o777, false, 0},
		{"the group writes", 0o770, false, 0},
		{"shared by all", 0o777 | fs.ModeSticky, true, 0},
	} {
		path := filepath.Join(root, c.name)
		if err := errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, c.mode)); err != nil {
			t.Fatal(err)
		}
		if !c.empty {
			if err := os.WriteFile(filepath.Join(path, "f"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		err := safefile.Dir(path)
		if c.after != 0 && (err != nil || mode(path) != c.after) {
			t.Errorf("%s: %v, mode %v", c.name, err, mode(path))
		}
		if c.after == 0 && (err == nil || !strings.Contains(err.Error(), "chmod 700") || mode(path) != c.mode) {
			t.Errorf("%s: %v, mode %v", c.name, err, mode(path))
		}
	}
}
