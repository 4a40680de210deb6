package hop

import (
	"encoding/binary"
	"net"
	"sync"
)

// wire stands under TLS. crypto/tls makes a write(2) of every record and a read(2) or two; the wire keeps records back until it is
// uncorked, and reads ahead as far as there is anything.
//
// It never gives TLS more than the rest of one record, or TLS would hold the next one itself and ready could not tell.
type wire struct {
	net.Conn

	mu     sync.Mutex // TLS writes from the reading goroutine too: alerts, answers to key updates
	corked bool       // guarded by mu, like out
	out    []byte

	// The reading goroutine's.
	in        []byte
	r, w      int  // in[r:w] has been read ahead
	left      int  // of the record that TLS is reading
	impatient bool // do not wait for more
}

const recordHeader = 5 // type, version, length (RFC 8446 §5.1)

func (w *wire) cork() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.corked = true
}

func (w *wire) uncork() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.corked = false
	_, err := w.Conn.Write(w.out)
	w.out = w.out[:0]
	return err
}

// Write implements net.Conn.
func (w *wire) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.corked {
		w.out = append(w.out, b...)
		return len(b), nil
	}
	return w.Conn.Write(b)
}

// errNothing says that no whole record is there. TLS takes it for a timeout, and goes on with the next read as if nothing
// had happened.
var errNothing net.Error = nothing{}

type nothing struct{}

func (nothing) Error() string   { return "no whole record is there" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

// Read implements net.Conn.
func (w *wire) Read(b []byte) (int, error) {
	for w.left == 0 {
		if size := w.record(); size > 0 {
			w.left = size
			break
		}
		if err := w.fill(); err != nil {
			return 0, err
		}
	}
	for w.r == w.w {
		if err := w.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(b, w.in[w.r:min(w.w, w.r+w.left)])
	w.r += n
	w.left -= n
	return n, nil
}

// record is the size of the next record with its header, as soon as the header is there.
func (w *wire) record() int {
	if w.w-w.r < recordHeader {
		return 0
	}
	return recordHeader + int(binary.BigEndian.Uint16(w.in[w.r+3:]))
}

// ready reports whether a whole record has been read ahead.
func (w *wire) ready() bool {
	size := w.record()
	return w.left == 0 && size > 0 && w.w-w.r >= size
}

// fill reads ahead.
func (w *wire) fill() error {
	if w.impatient {
		return errNothing
	}
	if w.w == len(w.in) {
		w.makeRoom()
	} else if w.r == w.w {
		w.r, w.w = 0, 0
	}
	n, err := w.Conn.Read(w.in[w.w:])
	w.w += n
	if n > 0 {
		return nil
	}
	return err
}

// makeRoom moves what is there to the front: less than a record, or TLS would not ask for more. A buffer that has been full once grows.
func (w *wire) makeRoom() {
	in := w.in
	if len(in) < mostBuffer {
		in = make([]byte, max(leastBuffer, min(4*len(in), mostBuffer)))
	}
	w.w = copy(in, w.in[w.r:w.w])
	w.in, w.r = in, 0
}
