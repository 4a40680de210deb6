package connect

import (
	"bytes"
	"net/http"
	"strings"
)

// named notes which fields the Connection of a response names, while its head passes by. net/http removes that field when it says close, as
// it does most of the time, and with it the only word on what else is not to be passed on (RFC 9110 §7.6.1).
type named struct {
	line   []byte // the line so far, shortened
	lines  int    // of this head
	field  bool   // the line before was a Connection field, so that one that is folded belongs to it
	values []string
	last   bool // it is the head of the response itself, not of a 1xx
	done   bool
}

// maxNamed is how much of a line is looked at, and how many values are kept.
const maxNamed = 4 << 10

// pass takes in what the target sent. After the head it does nothing.
func (n *named) pass(p []byte) {
	for len(p) > 0 && !n.done {
		line, rest, whole := bytes.Cut(p, []byte("\n"))
		n.line = append(n.line, line[:min(len(line), maxNamed-len(n.line))]...)
		if p = rest; whole {
			n.end(strings.TrimRight(string(n.line), "\r"))
			n.line = n.line[:0]
		}
	}
}

// end takes in a line.
func (n *named) end(line string) {
	n.lines++
	name, value, _ := strings.Cut(line, ":")
	switch {
	case n.lines == 1:
		_, status, _ := strings.Cut(line, " ")
		n.last = !strings.HasPrefix(status, "1") || strings.HasPrefix(status, "101")
		return
	case line == "":
		n.done, n.lines = n.last, 0
		return
	case line[0] == ' ' || line[0] == '\t':
		value = line
	default:
		n.field = strings.EqualFold(strings.TrimSpace(name), "Connection")
	}
	if n.field && n.last && len(n.values) < maxNamed {
		n.values = append(n.values, value)
	}
}

// restore puts the field back into the head that net/http made of the response.
func (n *named) restore(h http.Header) {
	if n.done && len(n.values) > 0 {
		h["Connection"] = n.values
	}
}
