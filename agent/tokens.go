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
	given config.Secret // read each time: others renew a file
	path  string        // where a renewed token is kept; empty: in memory only
	log   *slog.Logger

	mu    sync.Mutex
	fresh string // guarded by mu; the last that the relay sent
}

// newTokens keeps renewals of given in a file of its own below folder, so that several agents can share the folder.
func newTokens(given config.Secret, folder string, log *slog.Logger) *tokens {
	t := &tokens{given: given, log: log}
	token, err := given.Read()
	if _, file := given.File(); folder == "" || token == "" || file || err != nil {
		return t
	}
	sum := sha256.Sum256([]byte(token))
	t.path = filepath.Join(folder, "token-"+hex.EncodeToString(sum[:8])+".jwt")
	return t
}

// dataFolder is where the agent keeps renewed tokens. Somebody who joined with a string alone gets the usual place for state: the string's own
// token lives a day only, and the agent must still be let in after a restart next week.
func dataFolder(cfg *config.Agent) string {
	if cfg.Data != "" {
		return cfg.Data
	}
	if cfg.Join.IsZero() {
		return ""
	}
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" { // systemd's StateDirectory=
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

// current returns the token to say hello with: of the one given, the one in memory and the one in the file, that which lives longest.
func (t *tokens) current() (string, error) {
	best, err := t.given.Read()
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, token := range []string{t.stored(), t.fresh} {
		if expiry(token).After(expiry(best)) {
			best = token
		}
	}
	return best, nil
}

func (t *tokens) stored() string {
	if t.path == "" {
		return ""
	}
	// The file is only there once a token was renewed.
	data, err := safefile.ReadPrivate(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		t.log.Warn("the kept token is not used", "file", t.path, "error", err.Error())
	}
	return strings.TrimSpace(string(data))
}

// renewed keeps a token that the relay sent.
func (t *tokens) renewed(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fresh = token
	if t.path == "" {
		t.log.Info("got a fresh token; without a data folder it is lost when the agent stops")
		return
	}
	err := safefile.Dir(filepath.Dir(t.path))
	if err == nil {
		err = safefile.Replace(t.path, []byte(token+"\n"), 0o600)
	}
	if err != nil {
		t.log.Error("the fresh token was not kept", "file", t.path, "error", err.Error())
		return
	}
	t.log.Info("kept a fresh token", "file", t.path)
}

// expiry is when a token says it ends: zero for what is no token.
func expiry(token string) time.Time {
	claims, err := jwt.Peek(token)
	if err != nil {
		return time.Time{}
	}
	return claims.Expires
}
