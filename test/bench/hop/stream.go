package hop

import (
	"crypto/tls"
	"errors"
	"io"
)

// maxRecord is what one record of TLS carries at most (RFC 8446 §5.1).
const maxRecord = 16 << 10

// Buffers begin small, for connections that stay idle, and grow when a read fills them.
const (
	leastBuffer = 8 << 10
	mostBuffer  = 256 << 10
)

// stream is a TLS connection that gathers records.
type stream struct {
	*tls.Conn

	wire *wire
}

// copyFrom sends what a plain connection has, each read with one write(2).
func (s *stream) copyFrom(src io.Reader) error {
	buf := make([]byte, leastBuffer)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			s.wire.cork()
			_, writeErr := s.Write(buf[:n])
			if err := errors.Join(writeErr, s.wire.uncork()); err != nil {
				return err
			}
		}
		if err != nil {
			return unlessEOF(err)
		}
		buf = grown(buf, n)
	}
}

// copyTo passes on what arrives, as many records in one write(2) as are there already.
func (s *stream) copyTo(dst io.Writer) error {
	buf := make([]byte, leastBuffer)
	for {
		n, err := s.Read(buf)
		for err == nil && len(buf)-n >= maxRecord && s.wire.ready() {
			var more int
			more, err = s.readReady(buf[n:])
			n += more
			if errors.Is(err, errNothing) {
				err = nil
				break
			}
		}
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return unlessEOF(err)
		}
		buf = grown(buf, n)
	}
}

// readReady reads without ever waiting: a record that is there may be a session ticket or a key update, behind which TLS would
// wait for one with data while those before are not passed on.
func (s *stream) readReady(b []byte) (int, error) {
	s.wire.impatient = true
	defer func() { s.wire.impatient = false }()
	return s.Read(b)
}

// grown returns a larger buffer if the last read filled this one.
func grown(buf []byte, n int) []byte {
	if n == len(buf) && n < mostBuffer {
		return make([]byte, mostBuffer)
	}
	return buf
}

func unlessEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
