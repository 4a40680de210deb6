package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write what is, in place of what is wanted")

// TestGolden runs testdata/*.txtar. The comment says what it is about; the files are
//
//	role       relay, agent or client
//	in.yaml    the configuration file, if there is one
//	env        variables, one a line
//	flags      flags, one a line: --key or --key=value
//	want       the effective configuration, less what is as the defaults say
//	error      or everything that is wrong, each with its hint
//	warnings   what the operator is to be told besides
func TestGolden(t *testing.T) {
	cases, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) { golden(t, path) })
	}
}

func golden(t *testing.T, path string) {
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for _, f := range archive.Files {
		files[f.Name] = string(f.Data)
	}
	got := make(map[string]string)
	got["want"], got["error"], got["warnings"] = outcome(t, files)
	if *update {
		rewrite(t, path, archive, got)
		return
	}
	for _, name := range []string{"want", "error", "warnings"} {
		if diff := cmp.Diff(files[name], got[name]); diff != "" {
			t.Errorf("%s (-wanted +got):\n%s", name, diff)
		}
	}
}

// outcome loads what a case says.
func outcome(t *testing.T, files map[string]string) (effective, problems, warnings string) {
	in := Input{Environ: lines(files["env"])}
	dir := t.TempDir()
	if text, ok := files["in.yaml"]; ok {
		in.Path = filepath.Join(dir, "in.yaml")
		if err := os.WriteFile(in.Path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range lines(files["flags"]) {
		key, value, found := strings.Cut(strings.TrimPrefix(line, "--"), "=")
		if !found {
			value = "true"
		}
		in.Flags = append(in.Flags, Given{Key: key, Values: []string{value}})
	}
	printed, result, err := loadAndPrint(Role(strings.TrimSpace(files["role"])), in)
	if err != nil {
		list, ok := errors.AsType[Problems](err)
		if !ok {
			t.Fatalf("the error is %T, want Problems", err)
		}
		for _, p := range list {
			problems += p.Error() + "\n    hint: " + p.Hint + "\n"
		}
	}
	for _, w := range result.Warnings {
		warnings += w + "\n"
	}
	clean := strings.NewReplacer(dir+string(filepath.Separator), "")
	return printed, clean.Replace(problems), clean.Replace(warnings)
}

// loadAndPrint returns the lines of the effective configuration that differ from the defaults.
func loadAndPrint(role Role, in Input) (string, Result, error) {
	var text, plain strings.Builder
	var result Result
	var err error
	switch role {
	case RoleRelay:
		var cfg *Relay
		if cfg, result, err = LoadRelay(in); err == nil {
			err = errors.Join(cfg.Print(&text), DefaultRelay().Print(&plain))
		}
	case RoleAgent:
		var cfg *Agent
		if cfg, result, err = LoadAgent(in); err == nil {
			err = errors.Join(cfg.Print(&text), DefaultAgent().Print(&plain))
		}
	case RoleClient:
		var cfg *Client
		if cfg, result, err = LoadClient(in); err == nil {
			err = errors.Join(cfg.Print(&text), DefaultClient().Print(&plain))
		}
	default:
		err = errors.New("the case has no role")
	}
	var changed strings.Builder
	defaults := lines(plain.String())
	for i, line := range lines(text.String()) {
		if line != defaults[i] {
			changed.WriteString(line + "\n")
		}
	}
	return changed.String(), result, err
}

func rewrite(t *testing.T, path string, archive *txtar.Archive, got map[string]string) {
	var kept []txtar.File
	for _, f := range archive.Files {
		if _, ours := got[f.Name]; !ours {
			kept = append(kept, f)
		}
	}
	for _, name := range []string{"want", "error", "warnings"} {
		if got[name] != "" {
			kept = append(kept, txtar.File{Name: name, Data: []byte(got[name])})
		}
	}
	archive.Files = kept
	if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

func lines(s string) []string {
	if s = strings.TrimSuffix(s, "\n"); s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}
