package config

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func writeFile(t *testing.T, path, text string, perm os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), perm); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, perm); err != nil {
		t.Fatal(err)
	}
}

func TestSearchOrder(t *testing.T) {
	environ := []string{"HOME=/home/x"}
	want := map[Role][]string{
		RoleRelay:  {"postern.yaml", "/home/x/.config/postern/relay.yaml", "/home/x/.config/postern/postern.yaml", "/etc/postern/relay.yaml", "/etc/postern/postern.yaml"},
		RoleAgent:  {"postern.yaml", "/home/x/.config/postern/agent.yaml", "/home/x/.config/postern/postern.yaml", "/etc/postern/agent.yaml", "/etc/postern/postern.yaml"},
		RoleClient: {"/home/x/.config/postern/client.yaml", "/etc/postern/client.yaml"},
	}
	for role, paths := range want {
		if diff := cmp.Diff(paths, Search(role, environ)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", role, diff)
		}
	}
	if got := Search(RoleRelay, nil); len(got) != 3 {
		t.Errorf("without HOME: %v", got)
	}
}

func TestFirstFileThatExistsIsRead(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
	writeFile(t, second, "data: /second\n", 0o600)
	in := Input{Search: []string{dir, first, second}}
	_, result, err := LoadRelay(in)
	if err != nil || result.File != second {
		t.Fatalf("file %q, err %v; want %s", result.File, err, second)
	}
	writeFile(t, first, "data: /first\n", 0o600)
	if cfg, _, err := LoadRelay(in); err != nil || cfg.Data != "/first" {
		t.Errorf("data %v, err %v; want that of the first file", cfg, err)
	}
	in.Environ = []string{"POSTERN_CONFIG=" + second}
	if cfg, _, err := LoadRelay(in); err != nil || cfg.Data != "/second" {
		t.Errorf("data %v, err %v; want that of POSTERN_CONFIG", cfg, err)
	}
	in.Path = first
	if cfg, _, err := LoadRelay(in); err != nil || cfg.Data != "/first" {
		t.Errorf("data %v, err %v; want that of the file named", cfg, err)
	}
}

func TestFileThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big.yaml")
	writeFile(t, big, strings.Repeat("#", maxFile+1), 0o600)
	for path, want := range map[string]string{
		filepath.Join(dir, "none.yaml"): "no such file",
		dir:                             "is a directory",
		big:                             "has more than",
	} {
		_, _, err := LoadRelay(Input{Path: path})
		problems, ok := errors.AsType[Problems](err)
		if !ok || len(problems) != 1 || !strings.Contains(problems[0].Error(), want) || problems[0].Where != path {
			t.Errorf("%s: %v; want one problem with %q", path, err, want)
		}
	}
}

func TestManyRules(t *testing.T) {
	path := filepath.Join(t.TempDir(), "relay.yaml")
	writeFile(t, path, "data: d\nallow:\n"+strings.Repeat("  - 10.0.0.0/8:22\n", 100_000), 0o600)
	cfg, _, err := LoadRelay(Input{Path: path})
	if err != nil || len(cfg.Allow) != 100_000 {
		t.Fatalf("%v", err)
	}
}

// TestRelayRulesMustFitIntoAFrame: they are sent along to agents, so too many must not only show when a name is asked for.
func TestRelayRulesMustFitIntoAFrame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "relay.yaml")
	for text, want := range map[string]bool{
		"  - 10.%d.%d.0/24\n": false,
		"  - h%d-%d.test\n":   true, // a name travels only when it is asked for
	} {
		var file strings.Builder
		file.WriteString("data: d\nallow:\n")
		for i := range 5000 {
			fmt.Fprintf(&file, text, i/250, i%250)
		}
		writeFile(t, path, file.String(), 0o600)
		_, _, err := LoadRelay(Input{Path: path})
		if (err == nil) != want || !want && !strings.Contains(err.Error(), path+":3:") {
			t.Errorf("5000 times %q: %v", text, err)
		}
	}
}

func TestSecretInReadableFileWarns(t *testing.T) {
	dir := t.TempDir()
	path, shared, private := filepath.Join(dir, "agent.yaml"), filepath.Join(dir, "shared"), filepath.Join(dir, "private")
	writeFile(t, shared, "abc", 0o640)
	writeFile(t, private, "abc", 0o600)
	for _, c := range []struct {
		text string
		perm os.FileMode
		want bool
	}{
		{"relay: a:1\ntoken: abc\n", 0o644, true},
		{"relay: a:1\ntoken: abc\n", 0o600, false},
		{"relay: a:1\ntoken: file:/nowhere/token\n", 0o644, false},
		{"relay: a:1\ntoken: file:" + shared + "\n", 0o600, true},
		{"relay: a:1\njoin: \"@" + shared + "\"\n", 0o600, true},
		{"relay: a:1\ntoken: file:" + private + "\n", 0o644, false},
	} {
		writeFile(t, path, c.text, c.perm)
		_, result, err := LoadAgent(Input{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(strings.Join(result.Warnings, "\n"), "chmod 600"); got != c.want {
			t.Errorf("%q with mode %v: warned %v, want %v", c.text, c.perm, got, c.want)
		}
	}
}

func TestSecretNeverTells(t *testing.T) {
	const value = "hunter2-hunter2"
	cfg, _, err := LoadAgent(Input{Environ: []string{"POSTERN_TOKEN=" + value, "POSTERN_JOIN=" + value}})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	log := slog.New(slog.NewJSONHandler(&out, nil))
	log.Info("x", "token", cfg.Token, "cfg", cfg)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "token", cfg.Token, "cfg", cfg)
	if err := cfg.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		out.WriteString(fmt.Sprintf(format, cfg) + fmt.Sprintf(format, cfg.Token))
	}
	if strings.Contains(out.String(), value) {
		t.Errorf("the secret shows:\n%s", out.String())
	}
	if got, err := cfg.Token.Read(); err != nil || got != value {
		t.Errorf("Read: %q, %v", got, err)
	}
}

// TestPasswordInAURLNeverTells: nobody is asked for one there, and yet people write them.
func TestPasswordInAURLNeverTells(t *testing.T) {
	const value = "hunter2-hunter2"
	path := filepath.Join(t.TempDir(), "postern.yaml")
	writeFile(t, path, "data: d\ndirectory: redis://:"+value+"@h/\ntunnels: etcd://u:"+value+"@h/\n", 0o600)
	cfg, result, err := LoadRelay(Input{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := cfg.Print(&out); err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, "relay: [\"https://u:"+value+"@h/\"]\nservice: [\"a=http://u:"+value+"@h:bad/ %zz\", \"b=http://u:"+value+"@h/\"]\n", 0o600)
	_, _, err = LoadAgent(Input{Path: path})
	if text := out.String() + fmt.Sprint(result, err); strings.Contains(text, value) {
		t.Errorf("the password shows:\n%s", text)
	}
}

func TestSecretFromFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list.jwt")
	for _, s := range []Secret{Secret("file:" + path), Secret("@" + path)} {
		if _, err := s.Read(); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v without its file: %v", s, err)
		}
	}
	writeFile(t, path, "  first \n", 0o600)
	for _, s := range []Secret{Secret("file:" + path), Secret("@" + path)} {
		if got, err := s.Read(); err != nil || got != "first" {
			t.Errorf("%v: %q, %v", s, got, err)
		}
	}
	writeFile(t, path, "second", 0o600)
	if got, err := Secret("file:" + path).Read(); err != nil || got != "second" {
		t.Errorf("read again: %q, %v", got, err)
	}
	writeFile(t, path, " \n", 0o600)
	if _, err := Secret("file:" + path).Read(); err == nil {
		t.Error("an empty file is a secret")
	}
}

// TestEveryKeySpeaksThroughEverySource sets each key by file, variable and flag and wants the same.
func TestEveryKeySpeaksThroughEverySource(t *testing.T) {
	values := map[string]string{
		"yes or no": "true", "number": "7", "duration": "7s", "address": "127.0.0.1:7", "ports": "7-9", "services": "x=tcp://127.0.0.1:7",
		"text": "x", "list": "x", "secret": "x", "proxy": "socks5://x:1",
	}
	for _, role := range Roles() {
		for _, k := range Keys(role) {
			value := values[k.Type]
			if k.Name == "log-level" {
				value = "trace"
			}
			path := filepath.Join(t.TempDir(), "c.yaml")
			writeFile(t, path, k.Name+": "+value+"\n", 0o600)
			for source, in := range map[string]Input{
				"file": {Path: path},
				"env":  {Environ: []string{k.Env + "=" + value}},
				"flag": {Flags: []Given{{Key: k.Name, Values: []string{value}}}},
			} {
				cfg := newOf(role)
				l := load(cfg, role, in)
				got, _ := field(cfg, k.Name)
				if len(l.problems) > 0 || strings.Contains(strings.Join(format(got), ""), k.Default) && k.Default != "" {
					t.Errorf("%s %s by %s: %v, %v", role, k.Name, source, got, l.problems)
				}
				if reflect.DeepEqual(got.Interface(), reflect.Zero(got.Type()).Interface()) {
					t.Errorf("%s %s by %s was not set", role, k.Name, source)
				}
			}
		}
	}
}

func TestEveryKeyIsDescribed(t *testing.T) {
	for _, role := range Roles() {
		for _, k := range Keys(role) {
			if k.Name == "" || k.Help == "" || strings.ContainsAny(k.Help, "\n\"$") || k.Switch() != (k.Arg == "") {
				t.Errorf("%s: the key %+v lacks something", role, k)
			}
		}
	}
	if Keys("nobody") != nil {
		t.Error("an unknown role has keys")
	}
}

func TestDefaultsAreThoseOfTheDesign(t *testing.T) {
	r, a := DefaultRelay(), DefaultAgent()
	want := &Relay{
		Agents: ":4242", Proxy: ":3128", Socks: "127.0.0.1:1080", Web: ":8080", HTTP: "off", Admin: "127.0.0.1:9090",
		Auth: []string{"jwt", "key"}, Park: 2 * time.Second, Grace: 30 * time.Second, LogLevel: "info",
	}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("relay (-want +got):\n%s", diff)
	}
	if !a.Admin.IsOff() || len(a.Allow) != 0 || a.Selftest {
		t.Errorf("an agent offers something by default: %+v", a)
	}
}

func TestAddr(t *testing.T) {
	for _, c := range []struct {
		addr         Addr
		ok, off, any bool
		hostPort     string
	}{
		{":4242", true, false, false, ":4242"},
		{"127.0.0.1:0", true, false, true, "127.0.0.1:0"},
		{"[::1]:80", true, false, false, "[::1]:80"},
		{"off", true, true, false, ""},
		{"", true, true, false, ""},
		{"4242", false, false, false, "4242"},
		{":", false, false, false, ":"},
		{":65536", false, false, false, ":65536"},
		{":+1", false, false, false, ":+1"},
		{":http", false, false, false, ":http"},
		{"::1:80", false, false, false, "::1:80"},
	} {
		if got := c.addr.Check() == nil; got != c.ok {
			t.Errorf("%q: ok %v, want %v", c.addr, got, c.ok)
		}
		if c.addr.IsOff() != c.off || c.addr.AnyPort() != c.any || c.addr.HostPort() != c.hostPort {
			t.Errorf("%q: off %v, any port %v, %q", c.addr, c.addr.IsOff(), c.addr.AnyPort(), c.addr.HostPort())
		}
	}
}

func TestSimilar(t *testing.T) {
	words := []string{"relay", "agents", "proxy", "log-level", "ports"}
	for s, want := range map[string]string{
		"rely": "relay", "agnets": "agents", "prxy": "proxy", "loglevel": "log-level", "port": "ports",
		"xyz": "", "": "", strings.Repeat("a", 1000): "", "frobnicate": "",
	} {
		if got := Similar(s, words); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}

func TestRolesIn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	for text, want := range map[string][]Role{
		"":                          {RoleRelay},
		"data: x\n":                 {RoleRelay},
		"proxy: x\nagents: y\n":     {RoleRelay},
		"selftest: true\nrelay: x":  {RoleAgent},
		"agent-id: x\ntokn: y\n":    {RoleAgent},
		"relay:\n  data: x\n":       {RoleRelay},
		"agent: {}\nrelay: {}\n":    {RoleRelay, RoleAgent},
		"agent: {}\nagent: {}\n":    {RoleAgent},
		"client:\n  relay: [x:1]\n": {RoleClient},
		"\"":                        {RoleRelay},
		"- x":                       {RoleRelay},
	} {
		writeFile(t, path, text, 0o600)
		if diff := cmp.Diff(want, RolesIn(Input{Path: path})); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}
