package agent

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-dev/postern/internal/safefile"
)

func forgetful() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestMemoryIsPerNetworkAndRelayAndLastsThroughARestart(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "made")
	m := newMemory(folder, forgetful())
	if got := m.relay("home", []string{"a:1"}) + m.transport("home", "a:1"); got != "" {
		t.Errorf("an empty memory knows %q", got)
	}
	m.worked("home", "a:1", "tls")
	m.worked("home", "b:1", "quic")
	m.worked("office", "a:1", "longpoll")
	// Another agent with the same folder.
	newMemory(folder, forgetful()).worked("home", "c:1", "websocket")
	for _, m := range []*memory{m, newMemory(folder, forgetful())} {
		for place, want := range map[string]string{"home a:1": "tls", "home b:1": "quic", "office a:1": "longpoll", "office b:1": "", "home c:1": "websocket"} {
			network, addr, _ := strings.Cut(place, " ")
			if got := m.transport(network, addr); got != want {
				t.Errorf("at %s it was %q, want %q", place, got, want)
			}
		}
		if got := m.relay("home", []string{"a:1", "b:1"}); got != "b:1" {
			t.Errorf("the last good relay at home is %q", got)
		}
		if got := m.relay("office", []string{"b:1", "c:1"}); got != "" {
			t.Errorf("the last good relay in the office is %q, which never was", got)
		}
	}
	info, err := os.Stat(filepath.Join(folder, memoryFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	m := newMemory(t.TempDir(), forgetful())
	for i := range 3 * maxRemembered {
		m.worked(fmt.Sprint("network ", i), "a:1", "tls")
	}
	if len(m.known) != maxRemembered || m.transport(fmt.Sprint("network ", 3*maxRemembered-1), "a:1") == "" || m.transport("network 0", "a:1") != "" {
		t.Errorf("%d entries, the latest being %+v", len(m.known), m.known[0])
	}
}

func TestMemoryIsWrittenForNewsOnly(t *testing.T) {
	folder := t.TempDir()
	m := newMemory(folder, forgetful())
	m.worked("home", "a:1", "tls")
	before, err := os.Stat(m.path)
	if err != nil {
		t.Fatal(err)
	}
	m.worked("home", "a:1", "tls")
	after, err := os.Stat(m.path)
	if err != nil || !os.SameFile(before, after) {
		t.Error("the file was written although nothing is new")
	}
	m.worked("home", "a:1", "quic")
	if got := newMemory(folder, forgetful()).transport("home", "a:1"); got != "quic" {
		t.Errorf("the news is %q", got)
	}
}

func TestMemoryDoesWithoutItsFile(t *testing.T) {
	for name, spoil := range map[string]func(folder string) error{
		"garbled": func(folder string) error {
			return safefile.Replace(filepath.Join(folder, memoryFile), []byte("[{"), 0o600)
		},
		"empty": func(folder string) error { return safefile.Replace(filepath.Join(folder, memoryFile), nil, 0o600) },
		"another": func(folder string) error {
			return safefile.Replace(filepath.Join(folder, memoryFile), []byte(`{"a":1}`), 0o600)
		},
		"no file":     func(folder string) error { return os.Mkdir(filepath.Join(folder, memoryFile), 0o700) },
		"not allowed": func(folder string) error { return os.Chmod(folder, 0o777) }, // others can write there
	} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "data")
			if err := os.MkdirAll(filepath.Join(folder, "x"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := spoil(folder); err != nil {
				t.Fatal(err)
			}
			log := &safeBuffer{}
			m := newMemory(folder, slog.New(slog.NewTextHandler(log, nil)))
			m.worked("home", "a:1", "tls")
			m.worked("home", "b:1", "quic")
			if m.transport("home", "a:1") != "tls" || m.relay("home", []string{"a:1", "b:1"}) != "b:1" {
				t.Errorf("it knows %+v", m.known)
			}
			if !strings.Contains(log.String(), "WARN") {
				t.Error("nobody was told")
			}
		})
	}
}
