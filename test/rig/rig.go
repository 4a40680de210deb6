//go:build linux

// Package rig runs the real postern binary against real programs, as separate processes on loopback, for the tests in
// test/conformance and test/fault. It knows Postern from outside only: commands, flags, ready files and exit codes.
//
//	func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }
//
//	func TestEcho(t *testing.T) {
//		relay := rig.StartRelay(t, rig.RelayOptions{})
//		rig.StartAgent(t, relay, rig.AgentOptions{ID: "nas", Transport: "quic"})
//		conn := relay.Client(t, "nas").Tunnel(t, rig.Echo(t))
//		...
//	}
//
// Whatever the rig starts ends with the test that asked for it, by process id; what a process wrote is printed when
// the test has failed.
package rig

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// BinaryVariable is the environment variable with the path of the binary to test. Without it Main builds one.
const BinaryVariable = "POSTERN_BINARY"

// FullVariable is the environment variable that, when set, asks for the long forms: 500 MB, 1 GB.
const FullVariable = "POSTERN_TEST_FULL"

// Main builds the binary once for all tests of a package, unless BinaryVariable names one, and runs them.
// Call it from TestMain and exit with what it returns.
func Main(m *testing.M) int {
	if os.Getenv(BinaryVariable) != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "postern-binary-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	binary := filepath.Join(dir, "postern")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", binary, "github.com/postern-dev/postern/cmd/postern")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building the binary to test:", err)
		return 1
	}
	// An environment variable of this process is what Binary reads; tests and helpers need no shared state.
	if err := os.Setenv(BinaryVariable, binary); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// Binary returns the path of the binary under test.
func Binary(t testing.TB) string {
	t.Helper()
	binary, err := filepath.Abs(os.Getenv(BinaryVariable))
	if _, statErr := os.Stat(binary); err != nil || statErr != nil || os.Getenv(BinaryVariable) == "" {
		t.Fatalf("%s=%q is no binary: build it with make build, or leave the variable empty", BinaryVariable, os.Getenv(BinaryVariable))
	}
	return binary
}

// Program returns the path of another program that a test runs, and fails the test with the remedy if it is not installed.
func Program(t testing.TB, name string) string {
	t.Helper()
	if found, err := exec.LookPath(name); err == nil {
		return found
	}
	// Servers stand where only root looks, PostgreSQL's where nobody does.
	for _, pattern := range []string{"/usr/sbin/", "/sbin/", "/usr/lib/postgresql/*/bin/"} {
		found, err := filepath.Glob(pattern + name)
		if err == nil && len(found) > 0 {
			return found[len(found)-1]
		}
	}
	t.Fatalf("%s is not installed; make setup installs what the tests need", name)
	return ""
}

// Full reports whether the long forms are asked for.
func Full() bool { return os.Getenv(FullVariable) != "" }

// Size is how many bytes to move: short, or full when the long forms are asked for.
func Size(short, full int64) int64 {
	if Full() {
		return full
	}
	return short
}

// Eventually waits until done returns true, asking every 20 ms, and fails the test when that took longer than within.
func Eventually(t testing.TB, within time.Duration, what string, done func() bool) {
	t.Helper()
	if !Within(t, within, done) {
		t.Fatalf("%s: not within %v", what, within)
	}
}

// Within is Eventually that leaves the verdict to the caller.
func Within(t testing.TB, within time.Duration, done func() bool) bool {
	t.Helper()
	deadline := time.Now().Add(within)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		if time.Now().After(deadline) {
			return false
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			return false
		}
	}
	return true
}

// Write puts text into a new file of mode 0600 in a temporary folder and returns its path.
func Write(t testing.TB, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// ShortDir makes a folder with a short path, which unix sockets need, that everybody may enter.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("removing %s: %v", dir, err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// environ is this process's environment without what would change how programs behave: proxies, Postern's own
// variables, and a home folder with somebody's settings.
func environ(home string) []string {
	var out []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		upper := strings.ToUpper(name)
		if strings.HasPrefix(upper, "POSTERN_") || strings.HasSuffix(upper, "_PROXY") || strings.HasPrefix(upper, "PG") || upper == "HOME" {
			continue
		}
		out = append(out, kv)
	}
	return append(out, "HOME="+home, "LC_ALL=C")
}
