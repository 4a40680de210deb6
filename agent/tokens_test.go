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

// signed returns a token of an agent that lives for so long.
func signed(t *testing.T, id postern.AgentID, life time.Duration) string {
	t.Helper()
	key, err := jwt.GenerateKey("EdDSA")
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Sign(key, jwt.Claims{Role: postern.RoleAgent, AgentID: id, Expires: time.Now().Add(life)})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// wantToken checks what is shown to the relay, and returns it.
func wantToken(t *testing.T, tokens *tokens, want string) credential {
	t.Helper()
	got, err := tokens.current()
	if err != nil {
		t.Fatal(err)
	}
	if got.token != want {
		t.Errorf("the token shown is %.20q..., want %.20q...", got.token, want)
	}
	return got
}

func TestRenewalsAreKeptAndUsedAfterARestart(t *testing.T) {
	first, fresh := signed(t, "nas", time.Minute), signed(t, "nas", time.Hour)
	file := filepath.Join(t.TempDir(), "given")
	write(t, file, first)
	for name, given := range map[string]config.Secret{"literal": config.Secret(first), "file": config.Secret("file:" + file)} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "made", "when needed")
			start := func() *tokens { return &tokens{given: given, folder: folder, log: slog.New(slog.DiscardHandler)} }
			one := start()
			shown := wantToken(t, one, first)
			one.renewed(credential{fresh, shown.file})
			wantToken(t, one, fresh)
			wantToken(t, start(), fresh)

			kept := filepath.Join(folder, shown.file)
			if info, err := os.Stat(kept); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the file: %v, %v; want mode 0600", info, err)
			}
			if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("the folder: %v, %v; want mode 0700", info, err)
			}
			if err := os.Chmod(kept, 0o644); err != nil {
				t.Fatal(err)
			}
			wantToken(t, start(), first) // others may have written it
		})
	}
}

func TestATokenGivenInPlaceOfAnotherCountsAtOnce(t *testing.T) {
	file, folder := filepath.Join(t.TempDir(), "given"), t.TempDir()
	first, second := signed(t, "nas", time.Hour), signed(t, "desk", time.Minute)
	write(t, file, first)
	tokens := &tokens{given: config.Secret("file:" + file), folder: folder, log: slog.New(slog.DiscardHandler)}
	shown := wantToken(t, tokens, first)
	write(t, file, second)
	// The session of the first token still lives, and its relay renews it.
	tokens.renewed(credential{signed(t, "nas", 24*time.Hour), shown.file})
	wantToken(t, tokens, second)
}

func TestWithoutATokenTheOneInTheFolderIsShown(t *testing.T) {
	folder := t.TempDir()
	nas, longer, desk := signed(t, "nas", time.Minute), signed(t, "nas", time.Hour), signed(t, "desk", time.Hour)
	start := func(claimed postern.AgentID) *tokens {
		return &tokens{claimed: claimed, folder: folder, log: slog.New(slog.DiscardHandler)}
	}
	wantToken(t, start(""), "")
	write(t, filepath.Join(folder, "notes.txt"), desk)
	write(t, filepath.Join(folder, "token-01.jwt"), nas)
	write(t, filepath.Join(folder, "token-02.jwt"), longer)
	write(t, filepath.Join(folder, "token-03.jwt"), "not a token")
	shown := wantToken(t, start(""), longer)
	wantToken(t, start("desk"), "")

	again := start("")
	again.renewed(credential{signed(t, "nas", 2*time.Hour), shown.file})
	if files, err := os.ReadDir(folder); err != nil || len(files) != 4 {
		t.Errorf("%d files, %v; a renewal of a kept token replaces it", len(files), err)
	}

	write(t, filepath.Join(folder, "token-04.jwt"), desk)
	if _, err := start("").current(); err == nil || !strings.Contains(err.Error(), "--agent-id") {
		t.Errorf("tokens of two agents: %v", err)
	}
	wantToken(t, start("desk"), desk)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}
