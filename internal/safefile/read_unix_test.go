//go:build unix

package safefile_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/postern-dev/postern/internal/safefile"
)

func TestReadIsBoundedAndNeverWaits(t *testing.T) {
	dir := t.TempDir()
	big, fifo := filepath.Join(dir, "big"), filepath.Join(dir, "fifo")
	if err := errors.Join(os.WriteFile(big, make([]byte, 1<<20+1), 0o600), syscall.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{big: "more than 1048576 bytes", fifo: "not a regular file", dir: "not a regular file"} {
		if _, err := safefile.Read(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", filepath.Base(path), err, want)
		}
	}
}
