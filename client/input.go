package client

import (
	"io"
	"os"
	"sync"
	"time"
)

// input is a reader whose Read can be ended from outside, also while it waits: whoever copies from it can be waited for.
//
// What has read deadlines (a socket, a pipe that Go opened) is ended by one. A file without them, as a standard input that
// was inherited mostly is, is waited for with poll(2) beside a pipe that stop closes, and read only when it has something to say; on
// systems without poll see file_other.go. What can only be closed is closed. A reader that has none of this, as a
// strings.Reader, must not wait for ever.
type input struct {
	read      func([]byte) (int, error)
	interrupt func()       // makes a Read that waits return
	release   func() error // frees what was taken for it, after the last Read; idempotent

	mu  sync.Mutex
	why error // what Read returns once stop was called; guarded by mu
}

// newInput returns r as an input. Its release is called in the end; r itself stays open unless closing is the only way to interrupt it.
func newInput(r io.Reader) (*input, error) {
	in := &input{read: r.Read, interrupt: func() {}, release: func() error { return nil }}
	switch r := r.(type) {
	case interface{ SetReadDeadline(time.Time) error }:
		if r.SetReadDeadline(time.Time{}) == nil {
			// The call has just worked, and a file that was closed since does not wait either.
			in.interrupt = func() { _ = r.SetReadDeadline(time.Unix(1, 0)) }
			break
		}
		if f, ok := r.(*os.File); ok {
			return in, in.waitForFile(f)
		}
	case io.Closer:
		// The error that counts is the one that stop was given.
		in.interrupt = func() { _ = r.Close() }
	}
	return in, nil
}

// Read reads until stop was called, and returns stop's error from then on.
func (in *input) Read(p []byte) (int, error) {
	if err := in.stopped(); err != nil {
		return 0, err
	}
	n, err := in.read(p)
	if why := in.stopped(); why != nil {
		return 0, why
	}
	return n, err
}

// stop makes Read return why, now and always. The first call counts.
func (in *input) stop(why error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.why != nil {
		return
	}
	in.why = why
	in.interrupt()
}

func (in *input) stopped() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.why
}
