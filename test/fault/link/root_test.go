//go:build linux

package link

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWhatIsMissingIsNamed looks at what is said to somebody who runs the tests without root, or as root of a container.
func TestWhatIsMissingIsNamed(t *testing.T) {
	for euid, want := range map[int]string{1000: "run make test as root, or where it may use sudo", 0: "--cap-add NET_ADMIN"} {
		if err := needs("make a network namespace", unix.EPERM, euid); !strings.Contains(err.Error(), want) {
			t.Errorf("as user %d: %v", euid, err)
		}
	}
	if err := needs("make it", unix.ENOMEM, 1000); strings.Contains(err.Error(), "root") {
		t.Errorf("for something else: %v", err)
	}
}
