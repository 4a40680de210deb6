package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary be postern when it is called by that name, or asked to by a variable.
func TestMain(m *testing.M) {
	if os.Getenv(bePostern) != "" {
		main()
		return
	}
	testscript.Main(m, map[string]func(){"postern": main})
}

// bePostern makes the test binary be postern, for tests that look at the process from outside.
const bePostern = "POSTERN_TEST_BE_POSTERN"

// TestScript runs testdata/script with the real main. Each script has a home of its own, and no configuration of the machine.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "mode": mode},
	})
}

// exits runs a program and wants a certain exit code: exits CODE PROGRAM ARGS...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if e, ok := err.(*exec.ExitError); ok {
		code = e.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// mode wants a file to have a certain mode: mode 0600 FILE
func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode OCTAL FILE")
	}
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}

// TestSecretsAreWipedFromTheArguments starts processes with secrets as literals and reads what the kernel shows of them.
func TestSecretsAreWipedFromTheArguments(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("only Linux has a sound way to the arguments")
		return
	}
	const secret = "hunter2hunter2hunter2"
	for _, args := range [][]string{
		{"--token", secret},
		{"--token=" + secret},
		{"--token", secret, "--log-level=info", "--token=" + secret + "x"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			line, environ := argumentsSeen(t, args)
			if strings.Contains(line, secret) || !strings.Contains(line, "--token") {
				t.Errorf("the process shows %q", line)
			}
			if strings.Contains(environ, "POSTERN_TEST_MARK=untouched") == false {
				t.Error("the environment, which lies behind the arguments, was damaged")
			}
		})
	}
	t.Run("places stay", func(t *testing.T) {
		line, _ := argumentsSeen(t, []string{"--token", "file:/etc/token"})
		if !strings.Contains(line, "file:/etc/token") {
			t.Errorf("the process shows %q; a place is no secret", line)
		}
	})
}

// argumentsSeen starts a postern that waits for its configuration file, a pipe, and returns its cmdline and environ.
func argumentsSeen(t *testing.T, args []string) (cmdline, environ string) {
	t.Helper()
	config, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer config.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"agent", "--relay", "127.0.0.1:1", "-c", "/dev/fd/3"}, args...)...)
	cmd.Env = append(os.Environ(), bePostern+"=1", "POSTERN_TEST_MARK=untouched", "HOME="+t.TempDir())
	cmd.ExtraFiles = []*os.File{config}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// More than a pipe holds: once the last byte is taken, the process has begun to read its configuration, and so has
	// long taken its arguments.
	filler := append(bytes.Repeat([]byte("#\n"), 64<<10), "unknown: 1\n"...)
	if _, err := feed.Write(filler); err != nil {
		t.Fatal(err)
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	vars, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if err := feed.Close(); err != nil {
		t.Fatal(err)
	}
	for s := bufio.NewScanner(stderr); s.Scan(); {
		if strings.Contains(s.Text(), "hunter2") {
			t.Errorf("it says %q", s.Text())
		}
	}
	if e, ok := cmd.Wait().(*exec.ExitError); !ok || e.ExitCode() != 2 {
		t.Errorf("it ended with %v, want exit code 2", e)
	}
	return string(line), string(vars)
}
