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

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth/jwt"
	"github.com/postern-dev/postern/config"
	"github.com/postern-dev/postern/internal/safefile"
)

// tokens is the agent's credential: as given, and as renewed by the relay since. All methods may be called concurrently.
type tokens struct {
	given   config.Secret   // read each time: others renew a file. Empty: one that was kept is all there is
	claimed postern.AgentID // whose kept token is meant where none is given; empty: there is only one
	folder  string          // where renewed tokens are kept; empty: in memory only
	log     *slog.Logger

	mu    sync.Mutex // guards what follows, and the files
	fresh credential // the last that the relay sent
}

// credential is a token, and the file in the folder where its renewals are kept; no name: they are kept in memory only.
type credential struct{ token, file string }

// Renewals of a token that was given are kept in a file of its own, so that several agents can share a folder, and a token that is given
// in place of another one counts at once.
const (
	tokenPrefix = "token-"
	tokenSuffix = ".jwt"
)

func keptName(given string) string {
	sum := sha256.Sum256([]byte(given))
	return tokenPrefix + hex.EncodeToString(sum[:8]) + tokenSuffix
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

// current returns the token to say hello with: of the one given and its renewals, in memory and in the folder, that which lives longest.
// Without one given it is the one in the folder; empty if there is none.
func (t *tokens) current() (credential, error) {
	given, err := t.given.Read()
	if err != nil {
		return credential{}, fmt.Errorf("token: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.given.IsZero() {
		return t.only()
	}
	best := credential{given, keptName(given)}
	renewals := []string{t.kept(best.file)}
	if t.fresh.file == best.file {
		renewals = append(renewals, t.fresh.token)
	}
	for _, token := range renewals {
		if expiry(token).After(expiry(best.token)) {
			best.token = token
		}
	}
	return best, nil
}

// only finds the agent's token in the folder, where none is given. mu is held.
func (t *tokens) only() (best credential, err error) {
	if t.folder == "" {
		return credential{}, nil
	}
	files, err := os.ReadDir(t.folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return credential{}, fmt.Errorf("data: %w", err)
	}
	var whose postern.AgentID
	for _, file := range files {
		name := file.Name()
		if !strings.HasPrefix(name, tokenPrefix) || !strings.HasSuffix(name, tokenSuffix) {
			continue
		}
		token := t.kept(name)
		claims, err := jwt.Peek(token)
		if err != nil || t.claimed != "" && claims.AgentID != t.claimed {
			continue
		}
		if whose != "" && whose != claims.AgentID {
			return credential{}, fmt.Errorf("data: %s has tokens of the agents %s and %s; say which one this is with --agent-id", t.folder, whose, claims.AgentID)
		}
		whose = claims.AgentID
		if claims.Expires.After(expiry(best.token)) {
			best = credential{token, name}
		}
	}
	return best, nil
}

// kept reads a file of the folder; empty if it is not there or not to be used. mu is held.
func (t *tokens) kept(name string) string {
	if t.folder == "" || name == "" {
		return ""
	}
	file := filepath.Join(t.folder, name)
	// The file is only there once a token was renewed.
	data, err := safefile.ReadPrivate(file)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		t.log.Warn("the kept token is not used", "file", file, "error", err.Error())
	}
	return strings.TrimSpace(string(data))
}

// renewed keeps a token that the relay sent in place of one that current returned.
func (t *tokens) renewed(fresh credential) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fresh = fresh
	if t.folder == "" || fresh.file == "" {
		t.log.Info("got a fresh token; without a data folder it is lost when the agent stops")
		return
	}
	file := filepath.Join(t.folder, fresh.file)
	err := safefile.Dir(t.folder)
	if err == nil {
		err = safefile.Replace(file, []byte(fresh.token+"\n"), 0o600)
	}
	if err != nil {
		t.log.Error("the fresh token was not kept", "file", file, "error", err.Error())
		return
	}
	t.log.Info("kept a fresh token", "file", file)
}

// expiry is when a token says it ends: zero for what is no token.
func expiry(token string) time.Time {
	claims, err := jwt.Peek(token)
	if err != nil {
		return time.Time{}
	}
	return claims.Expires
}
