package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/alecthomas/kong"
	"go.uber.org/goleak"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/config"
	"github.com/postern-dev/postern/internal/control"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestExitCodes walks every kind at every hop.
func TestExitCodes(t *testing.T) {
	byKind := map[postern.Kind]int{
		postern.Unauthenticated: exitRefused, postern.Denied: exitRefused, postern.Conflict: exitConflict,
		postern.BadAddress: exitMisused, postern.BadCommand: exitMisused, postern.BadAddressType: exitMisused,
	}
	atRelay := map[postern.Kind]int{
		postern.Unreachable: exitUnreachable, postern.Timeout: exitUnreachable, postern.Refused: exitUnreachable,
		postern.NameNotFound: exitUnreachable, postern.Draining: exitUnreachable,
	}
	for _, kind := range postern.Kinds() {
		for _, hop := range []postern.Hop{postern.HopClient, postern.HopRelay, postern.HopAgent, postern.HopTarget} {
			want := exitFailed
			if code, ok := byKind[kind]; ok {
				want = code
			}
			if code, ok := atRelay[kind]; ok && hop == postern.HopRelay {
				want = code
			}
			err := fmt.Errorf("around it: %w", postern.Errorf(kind, hop, "x"))
			if got := exitCode(err); got != want {
				t.Errorf("%v at %s: exit code %d, want %d", kind, hop, got, want)
			}
		}
	}
}

func TestReport(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		code int
		text string
	}{
		"fine":        {nil, 0, ""},
		"failed":      {errors.New("it broke"), 1, "postern: it broke\n"},
		"several":     {errors.Join(errors.New("one"), errors.New("two")), 1, "postern: one\npostern: two\n"},
		"misused":     {&usageError{"bad flag", "good flag"}, 2, "postern: bad flag\nhint: good flag\n"},
		"New":         {misconfigured{withHint(errors.New("bad key"), "good %s", "key")}, 2, "postern: bad key\nhint: good key\n"},
		"config":      {config.Problems{{Where: "f:1:1", Text: "a", Hint: "b"}, {Key: "k", Text: "c"}}, 2, "postern: f:1:1: a\nhint: b\npostern: k: c\n"},
		"no relay":    {fmt.Errorf("ask: %w", control.ErrNoRelay), 5, "postern: ask: " + control.ErrNoRelay.Error() + "\nhint: start it with postern relay --data DIR, or name its folder with --data DIR\n"},
		"port in use": {fmt.Errorf("listen: %w", syscall.EADDRINUSE), 1, "postern: listen: address already in use\nhint: another program listens there; choose another address, or :0 for a free port\n"},
		"its kind":    {postern.Errorf(postern.Conflict, postern.HopRelay, "listen: %w", syscall.EADDRINUSE), 1, "postern: listen: address already in use\nhint: another program listens there; choose another address, or :0 for a free port\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			e := &env{stderr: &stderr}
			if code := e.report(t.Context(), c.err); code != c.code || stderr.String() != c.text {
				t.Errorf("exit code %d and\n%swant %d and\n%s", code, stderr.String(), c.code, c.text)
			}
		})
	}
}

func TestSignalIsTheExitCodeOfWhatItInterrupts(t *testing.T) {
	ctx, stop := context.WithCancelCause(t.Context())
	stop(Stopped{Code: 130})
	var stderr bytes.Buffer
	e := &env{stderr: &stderr}
	for err, want := range map[error]int{ctx.Err(): 130, context.Cause(ctx): 130, errors.New("another"): 1} {
		if got := e.report(ctx, err); got != want {
			t.Errorf("%v: exit code %d, want %d", err, got, want)
		}
	}
	if stderr.String() != "postern: another\n" {
		t.Errorf("it says %q", stderr.String())
	}
}

// model returns every command there is.
func model(t *testing.T) *kong.Application {
	t.Helper()
	k, err := kong.New(newGrammar(), kong.Name("postern"), kong.NoDefaultHelp())
	if err != nil {
		t.Fatal(err)
	}
	return k.Model
}

// TestEveryCommandHelps: each command has one line about it and about each of its flags and arguments, can be run, and shows all of that.
func TestEveryCommandHelps(t *testing.T) {
	root := model(t).Node
	walk(root, func(n *kong.Node) {
		if n == root {
			return
		}
		if n.Help == "" || strings.Contains(n.Help, "\n") {
			t.Errorf("%s: help %q is not one line", n.FullPath(), n.Help)
		}
		if _, ok := n.Target.Addr().Interface().(command); ok == (len(n.Children) > 0) {
			t.Errorf("%s: can be run: %v, with %d commands below", n.FullPath(), ok, len(n.Children))
		}
		var stdout, stderr bytes.Buffer
		args := append(strings.Fields(n.FullPath())[1:], "--help")
		if code := Main(t.Context(), args, nil, &stdout, &stderr, nil); code != 0 || stderr.Len() > 0 {
			t.Errorf("%s --help: exit code %d, %s", n.FullPath(), code, stderr.String())
		}
		for _, group := range n.AllFlags(true) {
			for _, flag := range group {
				if flag.Help == "" || strings.Contains(flag.Help, "\n") || !strings.Contains(stdout.String(), "--"+flag.Name) {
					t.Errorf("%s --%s: help %q", n.FullPath(), flag.Name, flag.Help)
				}
			}
		}
		for _, arg := range n.Positional {
			if arg.Help == "" || !strings.Contains(stdout.String(), arg.Help) {
				t.Errorf("%s %s: help %q", n.FullPath(), arg.Name, arg.Help)
			}
		}
	})
}

// TestEveryKeyIsAFlag: relay and agent take what DESIGN §3 lists, by every spelling.
func TestEveryKeyIsAFlag(t *testing.T) {
	for _, role := range []config.Role{config.RoleRelay, config.RoleAgent} {
		for _, k := range config.Keys(role) {
			given := "--" + k.Name
			if !k.Switch() {
				given += "=a,b"
			}
			g := newGrammar()
			parser, err := kong.New(g, kong.NoDefaultHelp())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parser.Parse([]string{string(role), given}); err != nil {
				t.Errorf("%s %s: %v", role, given, err)
				continue
			}
			flags := map[config.Role]*keyFlags{config.RoleRelay: &g.Relay.keyFlags, config.RoleAgent: &g.Agent.keyFlags}[role]
			got := flags.given()
			if len(got) != 1 || got[0].Key != k.Name || !k.Switch() && got[0].Values[0] != "a,b" {
				t.Errorf("%s %s was understood as %v", role, given, got)
			}
		}
	}
}

func TestSwitchCanBeSwitchedOff(t *testing.T) {
	g := newGrammar()
	parser, err := kong.New(g, kong.NoDefaultHelp())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"relay", "--cleartext=false"}); err != nil {
		t.Fatal(err)
	}
	if got := g.Relay.given(); len(got) != 1 || got[0].Values[0] != "false" {
		t.Errorf("understood as %v", got)
	}
}

func TestLogTellsNoSecrets(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		log := (&env{stderr: &out}).newLog("trace", format)
		log.Info("x", "token", "hunter2", "Proxy-Authorization", "hunter2", slog.Group("g", "password", "hunter2"), "secret", config.Secret("hunter2"))
		log.Log(t.Context(), levelTrace, "very fine")
		if s := out.String(); strings.Contains(s, "hunter2") || !strings.Contains(s, "TR") || !strings.Contains(s, "very fine") {
			t.Errorf("%s: %s", format, s)
		}
	}
}

func TestLogLevel(t *testing.T) {
	var out bytes.Buffer
	log := (&env{stderr: &out}).newLog("warn", "")
	log.Info("quiet")
	log.Warn("loud")
	if s := out.String(); strings.Contains(s, "quiet") || !strings.HasPrefix(s, "{") || !strings.Contains(s, "loud") {
		t.Errorf("to no terminal: %s", s)
	}
}

func TestQuoteIsOneWordOfAShell(t *testing.T) {
	for _, s := range []string{"", "plain", "a b", "it's", `$HOME "x" \`, "@/a/b.join", "a;b", "*", "nas:tok.en"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+quote(s)).Output()
		if err != nil || string(out) != s {
			t.Errorf("%q became %q: %q, %v", s, quote(s), out, err)
		}
	}
}

func TestBlock(t *testing.T) {
	u := &up{data: "/d", page: "127.0.0.1:1", token: "TOKEN", joinFile: "/d d/client.join", listeners: map[string]string{"proxy": "127.0.0.1:2", "socks": "127.0.0.1:3"}}
	with, without := u.block("postern", true), u.block("postern", false)
	for _, want := range []string{"-x http://127.0.0.1:2 --proxy-user here:TOKEN http://web.service/", "--socks5-hostname 127.0.0.1:3", "postern connect --proxy off --join '@/d d/client.join' here 127.0.0.1:1"} {
		if !strings.Contains(with, want) || !strings.Contains(without, want) {
			t.Errorf("there is no %q in\n%s", want, with)
		}
	}
	if !strings.Contains(with, "ssh -o ") || strings.Contains(without, "ssh -o ") {
		t.Errorf("ssh is offered without a server, or not with one:\n%s", with)
	}
	u.listeners["socks"] = ""
	if strings.Contains(u.block("postern", false), "socks5") {
		t.Error("SOCKS5 is offered without its listener")
	}
}

func TestTakeSecretsCopiesTheRest(t *testing.T) {
	args := []string{"agent", "--token", "a", "--join=b", "--token", "file:c", "--join", "@d", "--token"}
	got := takeSecrets(args)
	if strings.Join(got, "|") != "agent|--token|a|--join=b|--token|file:c|--join|@d|--token" {
		t.Errorf("%q", got)
	}
}

func TestWhereASecretBegins(t *testing.T) {
	for _, c := range []struct{ before, arg, secret string }{
		{"--token", "S", "S"},
		{"", "--token=S", "S"},
		{"", "--join=S=S", "S=S"},
		{"--set", "token=S", "S"},
		{"-s", "join=S", "S"},
		{"", "--set=token=S", "S"},
		{"", "-s=token=S", "S"},
		{"", "-stoken=S", "S"},
		{"--set", "proxy=off", ""},
		{"--set", "token", ""},
		{"", "token=S", ""},
		{"--tokens", "S", ""},
		{"", "--selftest", ""},
		{"--token", "file:S", ""},
		{"--join", "@S", ""},
		{"--proxy", "http://me:S@proxy:3128", "http://me:S@proxy:3128"},
		{"", "--proxy=socks5://me:S@proxy", "socks5://me:S@proxy"},
		{"--set", "proxy=http://me:S@proxy", "http://me:S@proxy"},
		{"--proxy", "http://proxy:3128", ""},
		{"", "--proxy=:3128", ""},
	} {
		if got := c.arg[secretFrom(c.before, c.arg):]; got != c.secret {
			t.Errorf("%s %s: the secret is %q, want %q", c.before, c.arg, got, c.secret)
		}
	}
}

func TestLocalTarget(t *testing.T) {
	for s, want := range map[string]string{
		"22": "tcp 127.0.0.1:22", "10.0.0.7:22": "tcp 10.0.0.7:22", "/run/x.sock": "unix /run/x.sock",
		"0": "", "65536": "", "x": "", "": "", "-1": "",
	} {
		got, err := localTarget(s)
		if (err == nil) != (want != "") || err == nil && got.String() != want {
			t.Errorf("%q: %v, %v; want %q", s, got, err, want)
		}
	}
}

func TestAgentsAddress(t *testing.T) {
	for s, want := range map[string]string{
		"relay.example.com": "relay.example.com:4242", "relay.example.com:1": "relay.example.com:1",
		"2001:db8::1": "[2001:db8::1]:4242", "[2001:db8::1]:1": "[2001:db8::1]:1", "a b": "", "x:0": "",
	} {
		if got, err := agentsAddress(s); got != want && err == nil || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", s, got, err, want)
		}
	}
}

func TestDataFolder(t *testing.T) {
	home := t.TempDir()
	e := &env{environ: []string{"HOME=" + home}}
	t.Chdir(t.TempDir())
	if _, err := e.dataFolder(""); exitCode(err) != exitMisused {
		t.Errorf("nothing there: %v", err)
	}
	if _, err := e.dataFolder(filepath.Join(home, "none")); exitCode(err) != exitMisused {
		t.Errorf("given and not there: %v", err)
	}
	if got, err := e.dataFolder(home); err != nil || got != home {
		t.Errorf("given: %q, %v", got, err)
	}
	e.environ = append(e.environ, "POSTERN_DATA="+home)
	if got, err := e.dataFolder(""); err != nil || got != home {
		t.Errorf("by variable: %q, %v", got, err)
	}
}
