//go:build !unix

package client

import (
	"io"
	"os"
)

// waitForFile lets a goroutine of its own read f, because nothing ends a Read of an inherited handle here. That goroutine, and
// it alone, is not waited for: it ends with its Read, at the latest with the process, which is what
// comes next for a program that has no more use for its standard input.
func (in *input) waitForFile(f *os.File) error {
	chunks, done := make(chan chunk), make(chan struct{})
	go readAhead(f, chunks, done)
	var rest chunk
	in.read = func(p []byte) (int, error) {
		if len(rest.data) == 0 && rest.err == nil {
			select {
			case rest = <-chunks:
			case <-done:
				return 0, io.EOF
			}
		}
		n := copy(p, rest.data)
		if rest.data = rest.data[n:]; len(rest.data) > 0 {
			return n, nil
		}
		return n, rest.err
	}
	in.interrupt = func() { close(done) }
	return nil
}

// chunk is what one Read returned.
type chunk struct {
	data []byte
	err  error
}

func readAhead(f *os.File, chunks chan<- chunk, done <-chan struct{}) {
	for {
		buf := make([]byte, 32<<10)
		n, err := f.Read(buf)
		select {
		case chunks <- chunk{buf[:n], err}:
		case <-done:
			return
		}
		if err != nil {
			return
		}
	}
}
