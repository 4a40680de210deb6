package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth/jwt"
	"github.com/postern-dev/postern/config"
)

// tokenFor makes a token that lives for so long.
func tokenFor(t *testing.T, life time.Duration) string {
	t.Helper()
	key, err := jwt.GenerateKey("ES256")
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Sign(key, jwt.Claims{Role: postern.RoleAgent, AgentID: "nas", Expires: time.Now().Add(life)})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func keeping(given config.Secret, folder string) *tokens {
	return &tokens{given: given, folder: folder, log: slog.New(slog.DiscardHandler)}
}

// renew keeps a token that the relay sends in place of the one that is shown now.
func renew(t *testing.T, tokens *tokens, fresh string) {
	t.Helper()
	shown, err := tokens.current()
	if err != nil {
		t.Fatal(err)
	}
	tokens.renewed(credential{fresh, shown.file})
}

func wantShown(t *testing.T, tokens *tokens, want string) {
	t.Helper()
	if got, err := tokens.current(); got.token != want || err != nil {
		t.Errorf("the token is %.40q, %v; want %.40q", got.token, err, want)
	}
}

// kept are the files in a folder.
func kept(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestTheTokenThatLivesLongestIsShown(t *testing.T) {
	short, middle, long := tokenFor(t, time.Hour), tokenFor(t, 2*time.Hour), tokenFor(t, 3*time.Hour)
	folder := filepath.Join(t.TempDir(), "state")
	first := keeping(config.Secret(short), folder)
	wantShown(t, first, short)
	renew(t, first, long)
	wantShown(t, first, long)
	renew(t, first, middle)
	wantShown(t, first, middle)

	// Another process has the file alone.
	wantShown(t, keeping(config.Secret(short), folder), middle)
	// A token that lives longer than its renewal is a new one of its own.
	wantShown(t, keeping(config.Secret(long), folder), long)
}

func TestAFreshTokenIsForItsOwnerAlone(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "state")
	tokens := keeping(config.Secret(tokenFor(t, time.Hour)), folder)
	wantShown(t, tokens, string(tokens.given))
	if files := kept(t, folder); len(files) != 0 {
		t.Errorf("before the first renewal there is %v", files)
	}
	renew(t, tokens, tokenFor(t, 2*time.Hour))
	files := kept(t, folder)
	if len(files) != 1 {
		t.Fatalf("the folder has %v, want one file", files)
	}
	for path, want := range map[string]os.FileMode{files[0]: 0o600, folder: 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has the mode %v, %v; want %v", path, info.Mode().Perm(), err, want)
		}
	}
}

func TestAgentsShareAFolder(t *testing.T) {
	folder := t.TempDir()
	one, other := tokenFor(t, time.Hour), tokenFor(t, time.Hour)
	renewed := tokenFor(t, 2*time.Hour)
	tokens := keeping(config.Secret(one), folder)
	wantShown(t, tokens, one)
	renew(t, tokens, renewed)
	wantShown(t, keeping(config.Secret(other), folder), other)
	wantShown(t, keeping(config.Secret(one), folder), renewed)
}

func TestWithoutAFolderARenewalLastsAsLongAsTheProcess(t *testing.T) {
	given, renewed := tokenFor(t, time.Hour), tokenFor(t, 2*time.Hour)
	tokens := keeping(config.Secret(given), "")
	wantShown(t, tokens, given)
	renew(t, tokens, renewed)
	wantShown(t, tokens, renewed)
	wantShown(t, keeping(config.Secret(given), ""), given)
}

func TestATokenInAFileIsReadEachTime(t *testing.T) {
	file, folder := filepath.Join(t.TempDir(), "token"), t.TempDir()
	write := func(token string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first, renewed, second := tokenFor(t, time.Hour), tokenFor(t, 5*time.Hour), tokenFor(t, 2*time.Hour)
	write(first)
	tokens := keeping(config.Secret("file:"+file), folder)
	wantShown(t, tokens, first)
	renew(t, tokens, renewed)
	wantShown(t, tokens, renewed)
	wantShown(t, keeping(config.Secret("file:"+file), folder), renewed)
	// Whoever puts another token there means it, however long the old one was renewed for.
	write(second)
	wantShown(t, tokens, second)

	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got, err := tokens.current(); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("without its file the token is %.40q, %v", got.token, err)
	}
}

func TestADamagedFileIsPassedOver(t *testing.T) {
	given := tokenFor(t, time.Hour)
	for name, damage := range map[string]func(path string) error{
		"empty":              func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"no token":           func(path string) error { return os.WriteFile(path, []byte("\x00\xff..."), 0o600) },
		"half a token":       func(path string) error { return os.Truncate(path, 30) },
		"a folder":           func(path string) error { return replaceWithFolder(path) },
		"readable by others": func(path string) error { return os.Chmod(path, 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			tokens := keeping(config.Secret(given), folder)
			wantShown(t, tokens, given)
			renew(t, tokens, tokenFor(t, 2*time.Hour))
			if err := damage(kept(t, folder)[0]); err != nil {
				t.Fatal(err)
			}
			wantShown(t, keeping(config.Secret(given), folder), given)
		})
	}
}

func replaceWithFolder(path string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return os.Mkdir(path, 0o700)
}

func TestWhatIsNoTokenOfOursIsShownAsItIs(t *testing.T) {
	tokens := keeping("an API key", t.TempDir())
	wantShown(t, tokens, "an API key")
}

func TestWhereRenewedTokensAreKept(t *testing.T) {
	for _, c := range []struct {
		name       string
		data       string
		join       config.Secret
		state, xdg string
		want       string
	}{
		{"the folder given", "/data", "@join", "/var/lib/x", "/xdg", "/data"},
		{"systemd's", "", "@join", "/var/lib/x", "/xdg", "/var/lib/x"},
		{"the first of systemd's", "", "@join", "/var/lib/x:/var/lib/y", "/xdg", "/var/lib/x"},
		{"the desktop's", "", "@join", "", "/xdg", "/xdg/postern"},
		{"the home's", "", "@join", "", "", "/home/me/.local/state/postern"},
		{"nowhere, for a token alone", "", "", "/var/lib/x", "/xdg", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("STATE_DIRECTORY", c.state)
			t.Setenv("XDG_STATE_HOME", c.xdg)
			t.Setenv("HOME", "/home/me")
			if got := dataFolder(&config.Agent{Data: c.data, Join: c.join}); got != c.want {
				t.Errorf("they are kept in %q, want %q", got, c.want)
			}
		})
	}
}
