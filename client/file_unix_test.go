//go:build unix

package client

import (
	"io"
	"os"
	"syscall"
	"testing"
)

// addBlocking adds a file as a program inherits its standard input: a pipe in blocking mode, whose Read nothing ends.
func addBlocking(t *testing.T, all map[string]io.Reader) {
	t.Helper()
	var fds [2]int
	if err := syscall.Pipe(fds[:]); err != nil {
		t.Fatal(err)
	}
	r, w := os.NewFile(uintptr(fds[0]), "inherited"), os.NewFile(uintptr(fds[1]), "writer")
	all["inherited"] = r
	t.Cleanup(func() {
		_ = r.Close()
		_ = w.Close()
	})
}

func TestInheritedInputIsReadToItsEnd(t *testing.T) {
	var fds [2]int
	if err := syscall.Pipe(fds[:]); err != nil {
		t.Fatal(err)
	}
	r, w := os.NewFile(uintptr(fds[0]), "inherited"), os.NewFile(uintptr(fds[1]), "writer")
	defer r.Close()
	written := make(chan error, 1)
	go func() {
		_, err := w.Write(make([]byte, 300_000))
		_ = w.Close()
		written <- err
	}()
	in, err := newInput(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(readFunc(in.Read))
	if err != nil || len(got) != 300_000 {
		t.Errorf("read %d bytes and %v, want 300000", len(got), err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
	in.stop(io.EOF)
	if err := in.release(); err != nil {
		t.Error(err)
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }
