package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzFile: whatever stands in a file, reading it ends, every problem says where and what, and a configuration that is good
// is the same after it was printed and read again.
func FuzzFile(f *testing.F) {
	for _, s := range []string{
		"", "data: x\n", "data: x\nallow: [\"*\", a.b:1-2]\n", "relay:\n  data: x\n", "a: [", "*", "? a\n: b", "<<: *x", "data: &x [*x]\n",
		"data: x\npark: 1s\nports: 1-2\ncleartext: true\nauth: none\n", "\xef\xbb\xbfdata: x", "data: |\n  x\n", "data: x\n---\ndata: y\n",
	} {
		f.Add(s)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		for _, role := range Roles() {
			for _, p := range parseYAML("f", []byte(text), role).problems {
				if !strings.HasPrefix(p.Where, "f") || p.Text == "" {
					t.Errorf("the problem %+v says too little", p)
				}
			}
		}
		path := filepath.Join(dir, "f.yaml")
		writeFile(t, path, text, 0o600)
		cfg, _, err := LoadRelay(Input{Path: path})
		if err != nil {
			return
		}
		var printed strings.Builder
		if err := cfg.Print(&printed); err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, printed.String(), 0o600)
		again, _, err := LoadRelay(Input{Path: path})
		if err != nil {
			t.Fatalf("what was printed cannot be read: %v\n%s", err, printed.String())
		}
		if diff := cmp.Diff(cfg, again); diff != "" {
			t.Errorf("printed and read again it differs (-first +again):\n%s\nof:\n%s", diff, printed.String())
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzService: a service that is taken is taken again as it prints.
func FuzzService(f *testing.F) {
	for _, s := range []string{"x=tcp://h:1", "x=unix:///a", "x=http://h", "x=file:///d", "X=udp://[::1]:1", "=", "x=http://u:p@h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseService(text)
		if err != nil {
			if len(err.Error()) == 0 {
				t.Error("an error without words")
			}
			return
		}
		again, err := ParseService(s.String())
		if err != nil || again != s {
			t.Errorf("%q is %+v, and that is %+v, %v", text, s, again, err)
		}
	})
}
