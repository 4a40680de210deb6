// Package httphead reads the head of an HTTP/1 request strictly, where net/http is lenient: whatever two programs on the way
// could read differently is refused (RFC 9112 §11.2). What it accepts is handed on to net/http, which reads the same from it.
//
//	head, err := httphead.Read(r, httphead.Limits{}) // r stands at the first byte after the head then
//	if err != nil {
//		return answer(err) // *Error: a status and a sentence for the client
//	}
//	req, err := head.Request()
//	req.Body = httphead.NewBody(r, head)
package httphead

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Limits bound a head.
type Limits struct {
	Bytes  int // of the whole head; 0 means 32 KiB
	Fields int // 0 means 100
}

// The default limits (PROMISES P-14).
const (
	DefaultBytes  = 32 << 10
	DefaultFields = 100
)

// Head is the head of a request.
type Head struct {
	Method string
	Target string // the request target as the client wrote it, RFC 9112 §3.2
	Minor  int    // HTTP/1.Minor: 0 or 1
	Fields []Field
	// ContentLength is the length of the body in bytes; 0 when there is none, and when Chunked.
	ContentLength int64
	// Chunked says that the body comes in chunks.
	Chunked bool
	// Raw is the head as it came, with the empty line at its end.
	Raw []byte
}

// Field is one header field. The value has no white space around it.
type Field struct{ Name, Value string }

// Error says why a request is refused, and with which status. The connection cannot be used after it.
type Error struct {
	Status int
	Reason string // one sentence for the client
}

// Error is the reason.
func (e *Error) Error() string { return e.Reason }

func bad(format string, args ...any) error {
	return &Error{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// Read reads one head from r and nothing after it. An error is an *Error for what is no acceptable head, io.EOF if the
// client ended before its first byte, and else what reading gave. The time it may take is the caller's to bound.
func Read(r *bufio.Reader, l Limits) (*Head, error) {
	if l.Bytes == 0 {
		l.Bytes = DefaultBytes
	}
	if l.Fields == 0 {
		l.Fields = DefaultFields
	}
	if err := checkFirst(r); err != nil {
		return nil, err
	}
	lines := &lines{r: r, most: l.Bytes}
	line, err := lines.next()
	if err != nil {
		return nil, err
	}
	h := &Head{}
	if err := h.requestLine(string(line)); err != nil {
		return nil, err
	}
	if err := h.fields(lines, l.Fields); err != nil {
		return nil, err
	}
	h.Raw = lines.raw
	return h, h.framing()
}

// checkFirst tells at once, without waiting for a line, what is not HTTP at all.
func checkFirst(r *bufio.Reader) error {
	first, err := r.Peek(1)
	switch {
	case err != nil:
		return err
	case first[0] == 0x16:
		return bad("this is a TLS hello, but TLS is not served here")
	case !isToken(first[0]):
		return bad("this is not an HTTP request")
	}
	return nil
}

// requestLine reads the first line, RFC 9112 §3.
func (h *Head) requestLine(line string) error {
	method, rest, ok1 := strings.Cut(line, " ")
	target, version, ok2 := strings.Cut(rest, " ")
	switch {
	case version == "HTTP/2.0" && method == "PRI":
		return bad("HTTP/2 is not spoken here; use HTTP/1.1")
	case !ok1 || !ok2 || strings.HasPrefix(version, " ") || strings.Contains(version, " "):
		return bad("the request line is not: METHOD TARGET HTTP/1.1")
	case !isTokens(method):
		return bad("the method is malformed")
	case !isVisible(target):
		return bad("the request target is empty or has characters that must be percent-encoded")
	case version == "HTTP/1.1":
		h.Minor = 1
	case version != "HTTP/1.0":
		return bad("the HTTP version is not supported; use HTTP/1.1")
	}
	h.Method, h.Target = method, target
	return nil
}

// fields reads header fields up to the empty line, RFC 9112 §5.
func (h *Head) fields(lines *lines, most int) error {
	for {
		line, err := lines.next()
		if err != nil || len(line) == 0 {
			return err
		}
		if len(h.Fields) == most {
			return &Error{http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("the request has more than %d header fields", most)}
		}
		f, err := parseField(line)
		if err != nil {
			return err
		}
		h.Fields = append(h.Fields, f)
	}
}

// parseField reads one line of a header or trailer section, RFC 9112 §5.1.
func parseField(line []byte) (Field, error) {
	if line[0] == ' ' || line[0] == '\t' {
		return Field{}, bad("a header field is folded over several lines")
	}
	name, value, ok := bytes.Cut(line, []byte(":"))
	switch {
	case !ok:
		return Field{}, bad("a header field has no colon")
	case len(name) == 0:
		return Field{}, bad("a header field has no name")
	case name[len(name)-1] == ' ' || name[len(name)-1] == '\t':
		return Field{}, bad("a header field has a space before its colon")
	case !isTokens(string(name)):
		return Field{}, bad("the name of a header field has a character that is not allowed")
	}
	value = bytes.Trim(value, " \t")
	for _, c := range value {
		if c < ' ' && c != '\t' || c == 0x7f {
			return Field{}, bad("the header field %s has a control character", name)
		}
	}
	return Field{string(name), string(value)}, nil
}

// Values returns the values of all fields of that name, in order.
func (h *Head) Values(name string) []string {
	var values []string
	for _, f := range h.Fields {
		if strings.EqualFold(f.Name, name) {
			values = append(values, f.Value)
		}
	}
	return values
}

// Request is the head as net/http reads it, without a body. An *Error says that net/http does not take it: the target is no URL.
func (h *Head) Request() (*http.Request, error) {
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(h.Raw)))
	if err != nil {
		return nil, bad("the request is malformed: %v", err)
	}
	req.Body = http.NoBody
	return req, nil
}

// lines gives the lines of a head and counts its bytes.
type lines struct {
	r    *bufio.Reader
	most int
	raw  []byte
}

// next returns one line without its CRLF, valid until the following call.
func (l *lines) next() ([]byte, error) {
	start := len(l.raw)
	for {
		part, err := l.r.ReadSlice('\n')
		if len(l.raw)+len(part) > l.most {
			return nil, &Error{http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("the head of the request is longer than %d bytes", l.most)}
		}
		l.raw = append(l.raw, part...)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, unexpected(err)
		}
	}
	line, ok := bytes.CutSuffix(l.raw[start:], []byte("\r\n"))
	if !ok {
		return nil, bad("a line ends in a bare LF; lines of HTTP end in CRLF")
	}
	if bytes.IndexByte(line, '\r') >= 0 {
		return nil, bad("a line has a CR that is not at its end")
	}
	return line, nil
}
