package httphead

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Body is the body of a request, read from the connection without a byte of what follows it. One goroutine may use it at a time.
type Body struct {
	r       *bufio.Reader
	left    int64 // bytes of the body, or of the current chunk
	chunked bool
	excess  int   // what chunk lines cost beyond what they carry
	err     error // how it ended; nil while it goes on

	// OnLast, if set, is called when only trailers are left to be read, which take no time to make.
	OnLast func()
	// Trailer are the fields after the last chunk, there once Read has returned io.EOF.
	Trailer http.Header
}

// Limits of what surrounds chunks. Extensions mean nothing to anybody, so they are short and dropped.
const (
	maxChunkLine     = 256      // size and extensions
	maxChunkExcess   = 16 << 10 // as net/http has it: many tiny chunks with long lines are an attack
	maxTrailerBytes  = 8 << 10
	maxTrailerFields = DefaultFields
)

// NewBody returns the body that follows h in r.
func NewBody(r *bufio.Reader, h *Head) *Body {
	b := &Body{r: r, left: h.ContentLength, chunked: h.Chunked}
	if !b.chunked && b.left == 0 {
		b.err = io.EOF
	}
	return b
}

// Done reports whether the body was read to its end.
func (b *Body) Done() bool { return b.err == io.EOF }

// Close implements io.Closer. It does nothing: what is unread stays in the connection.
func (b *Body) Close() error { return nil }

// Read returns io.EOF at the end of the body, io.ErrUnexpectedEOF if the connection ends before it, and an *Error for
// chunks that are malformed.
func (b *Body) Read(p []byte) (n int, err error) {
	if b.err == nil && b.chunked && b.left == 0 {
		b.err = b.nextChunk()
	}
	if b.err != nil {
		return 0, b.err
	}
	n, err = b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if err == nil && b.left == 0 {
		err = b.endOfData()
	}
	b.err = unexpectedUnless(err, b.left == 0)
	if n > 0 && b.err == io.EOF {
		return n, nil
	}
	return n, b.err
}

func unexpectedUnless(err error, complete bool) error {
	if complete {
		return err
	}
	return unexpected(err)
}

// endOfData follows the last byte of a body or a chunk.
func (b *Body) endOfData() error {
	if !b.chunked {
		return io.EOF
	}
	var end [2]byte
	if _, err := io.ReadFull(b.r, end[:]); err != nil {
		return unexpected(err)
	}
	if string(end[:]) != "\r\n" {
		return bad("a chunk is longer than it says")
	}
	return nil
}

// nextChunk reads the line before a chunk, RFC 9112 §7.1; after the last one the trailers, and returns io.EOF.
func (b *Body) nextChunk() error {
	lines := &lines{r: b.r, most: maxChunkLine}
	line, err := lines.next()
	if err != nil {
		return asBad(err, "a chunk's line is too long")
	}
	size, extension, _ := bytes.Cut(line, []byte(";"))
	n, ok := parseSize(string(bytes.TrimRight(size, " \t")))
	if !ok || !isText(extension) {
		return bad("the size of a chunk is malformed")
	}
	b.excess += len(line) + 4 - 16 - int(min(2*n, maxChunkExcess))
	if b.excess = max(b.excess, 0); b.excess > maxChunkExcess {
		return bad("the chunks have too little in them")
	}
	if b.left = n; n > 0 {
		return nil
	}
	if b.OnLast != nil {
		b.OnLast()
	}
	if err := b.trailers(); err != nil {
		return err
	}
	return io.EOF
}

// parseSize takes hexadecimal digits only, and no size that overflows.
func parseSize(s string) (int64, bool) {
	if s == "" || len(s) > 15 || strings.Trim(s, "0123456789abcdefABCDEF") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 16, 64)
	return n, err == nil
}

func isText(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// trailers reads the fields after the last chunk, RFC 9112 §7.1.2.
func (b *Body) trailers() error {
	lines := &lines{r: b.r, most: maxTrailerBytes}
	for n := 0; ; n++ {
		line, err := lines.next()
		if err != nil {
			return asBad(err, "the trailers are too long")
		}
		if len(line) == 0 {
			return nil
		}
		if n == maxTrailerFields {
			return bad("there are more than %d trailers", maxTrailerFields)
		}
		f, err := parseField(line)
		if err != nil {
			return err
		}
		if b.Trailer == nil {
			b.Trailer = make(http.Header)
		}
		b.Trailer.Add(f.Name, f.Value)
	}
}

// asBad makes a head that is too large a body that is malformed.
func asBad(err error, reason string) error {
	if e, ok := errors.AsType[*Error](err); ok && e.Status != http.StatusBadRequest {
		return bad("%s", reason)
	}
	return err
}
