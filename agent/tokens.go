package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/postern-dev/postern/auth/jwt"
	"github.com/postern-dev/postern/config"
	"github.com/postern-dev/postern/internal/safefile"
)

// tokens is the agent's credential: as given, and as renewed by the relay since.
type tokens struct {
	given  config.Secret // read each time: others renew a file
	folder string        // where renewed tokens are kept; empty: in memory only
	log    *slog.Logger

	mu    sync.Mutex // guards what follows
	base  string     // the token given, as it was read last
	fresh string     // the last renewal of base that the relay sent
}

func newTokens(given config.Secret, folder string, log *slog.Logger) *tokens {
	return &tokens{given: given, folder: folder, log: log}
}

// dataFolder is where the agent keeps renewed tokens; empty: nowhere. Somebody who joined with a string alone gets the usual place for
// state: the string's own token lives a day only, and the agent must still be let in after a restart next week.
func dataFolder(cfg *config.Agent) string {
	if cfg.Data != "" {
		return cfg.Data
	}
	if cfg.Join.IsZero() {
		return ""
	}
	// Of systemd's StateDirectory=, which may name several.
	if dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); dir != "" {
		return dir
	}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "postern")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "state", "postern")
}

// current returns the token to say hello with: of the one given, its renewal in memory and the one on disk, that which lives longest.
func (t *tokens) current() (string, error) {
	given, err := t.given.Read()
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if given != t.base {
		// Somebody has put another token into the file: what the old one was renewed to does not count any more.
		t.base, t.fresh = given, ""
	}
	best := given
	for _, token := range []string{t.stored(), t.fresh} {
		if expiry(token).After(expiry(best)) {
			best = token
		}
	}
	return best, nil
}

// path is where renewals of base are kept, apart from those of other tokens, so that several agents can share the folder; empty:
// nowhere. mu is held.
func (t *tokens) path() string {
	if t.folder == "" || t.base == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(t.base))
	return filepath.Join(t.folder, "token-"+hex.EncodeToString(sum[:8])+".jwt")
}

// stored is the renewal on disk; empty if there is none that can be used. mu is held.
func (t *tokens) stored() string {
	path := t.path()
	if path == "" {
		return ""
	}
	data, err := safefile.ReadPrivate(path)
	// The file is only there once a token was renewed.
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.log.Warn("the kept token is not used", "file", path, "error", err.Error())
	}
	return strings.TrimSpace(string(data))
}

// renewed keeps a token that the relay sent.
func (t *tokens) renewed(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fresh = token
	path := t.path()
	if path == "" {
		t.log.Info("got a fresh token; without a data folder it is lost when the agent stops")
		return
	}
	err := safefile.Dir(t.folder)
	if err == nil {
		err = safefile.Replace(path, []byte(token+"\n"), 0o600)
	}
	if err != nil {
		t.log.Error("the fresh token was not kept", "file", path, "error", err.Error())
		return
	}
	t.log.Info("kept a fresh token", "file", path)
}

// expiry is when a token says it ends: zero for what is no token.
func expiry(token string) time.Time {
	claims, err := jwt.Peek(token)
	if err != nil {
		return time.Time{}
	}
	return claims.Expires
}
