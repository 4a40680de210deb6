package relay

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/route"
)

func open(t *testing.T, folder string) *known {
	t.Helper()
	k, err := openKnown(folder)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestAgentsAreKnownAfterARestart(t *testing.T) {
	folder := t.TempDir()
	k := open(t, folder)
	seen := time.Now().Add(-time.Hour)
	k.Saw("nas", seen)
	k.Saw("old", time.Now().Add(-route.KnownFor-time.Hour))
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	k = open(t, folder)
	defer k.Close()
	if at, ok := k.LastSeen("nas"); !ok || at.Unix() != seen.Unix() {
		t.Errorf("LastSeen(nas) = %v, %v; want %v", at, ok, seen)
	}
	for _, id := range []postern.AgentID{"old", "never"} {
		if _, ok := k.LastSeen(id); ok {
			t.Errorf("%s is known", id)
		}
	}
}

func TestTwoRelaysDoNotShareADataFolder(t *testing.T) {
	folder := t.TempDir()
	k := open(t, folder)
	defer k.Close()
	if _, err := openKnown(folder); postern.KindOf(err) != postern.Conflict {
		t.Errorf("opening it again: %v, want a conflict", err)
	}
}

func TestADamagedRecordFileIsRefusedWithItsName(t *testing.T) {
	for name, content := range map[string]string{"garbage": "this is not a database, and long enough to look like one", "truncated": "\x00"} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			path := filepath.Join(folder, dbName)
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if k, err := openKnown(folder); err == nil {
				k.Close()
				t.Error("it was opened")
			}
			if left, err := os.ReadFile(path); err != nil || string(left) != content {
				t.Errorf("the file was changed: %q, %v", left, err)
			}
		})
	}
}

func TestWithoutADataFolderMemoryWillDo(t *testing.T) {
	k := open(t, "")
	k.Saw("nas", time.Now())
	if _, ok := k.LastSeen("nas"); !ok {
		t.Error("nas is not known")
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

func TestANewAgentIsKnownAfterACrash(t *testing.T) {
	folder := t.TempDir()
	k := open(t, folder)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.run(ctx, slog.New(slog.DiscardHandler)) }()
	k.Saw("nas", time.Now())
	// What is committed outlives a crash.
	for start, stored := time.Now(), false; !stored; {
		err := k.db.View(func(tx *bolt.Tx) error {
			stored = tx.Bucket(agentsBucket()).Get([]byte("nas")) != nil
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if time.Since(start) > 5*time.Second {
			t.Fatal("after five seconds it is not on disk")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}
