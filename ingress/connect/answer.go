package connect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/ingress/httphead"
)

// answer is what a client gets whose request failed.
type answer struct {
	err     error
	trace   string
	head    *httphead.Head // the request; nil if it was none
	status  int            // instead of that of err's kind, if not 0
	closing bool
}

// answerTimeout is how long a client may take to read its answer.
const answerTimeout = 10 * time.Second

// statusOf is the failure table of DESIGN §3: the status of a kind, and its error type in Proxy-Status (RFC 9209 §2.3).
func statusOf(k postern.Kind) (status int, proxyError string) {
	switch k {
	case postern.Unauthenticated:
		return http.StatusProxyAuthRequired, "http_request_denied"
	case postern.Denied:
		return http.StatusForbidden, "http_request_denied"
	case postern.NoSuchAgent:
		return http.StatusNotFound, "destination_not_found"
	case postern.AgentOffline, postern.Draining:
		return http.StatusServiceUnavailable, "destination_unavailable"
	case postern.Refused:
		return http.StatusBadGateway, "connection_refused"
	case postern.Unreachable:
		return http.StatusBadGateway, "destination_ip_unroutable"
	case postern.NameNotFound:
		return http.StatusBadGateway, "dns_error"
	case postern.Timeout:
		return http.StatusGatewayTimeout, "connection_timeout"
	case postern.Limited:
		return http.StatusTooManyRequests, "connection_limit_reached"
	case postern.Overloaded:
		return http.StatusServiceUnavailable, "connection_limit_reached"
	case postern.Conflict:
		return http.StatusConflict, "http_request_denied"
	case postern.BadAddress, postern.BadCommand, postern.BadAddressType:
		return http.StatusBadRequest, "http_request_error"
	case postern.Aborted:
		return http.StatusBadGateway, "connection_terminated"
	}
	return http.StatusInternalServerError, "proxy_internal_error"
}

// retryAfter is what a 503 asks a client to wait, in seconds: an agent redials within that time.
const retryAfter = "5"

// write sends the answer.
func (a *answer) write(c *ingress.Conn) error {
	status, proxyError := statusOf(postern.KindOf(a.err))
	if a.status != 0 {
		status, proxyError = a.status, "http_request_error"
	}
	hop := hopOf(a.err)
	detail := detailOf(a.err)
	contentType, body := a.body(status, hop, detail)

	var out bytes.Buffer
	fmt.Fprintf(&out, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	fmt.Fprintf(&out, "Content-Type: %s\r\nContent-Length: %d\r\nCache-Control: no-store\r\n", contentType, len(body))
	fmt.Fprintf(&out, "Proxy-Status: %s; error=%s; details=%s\r\nX-Request-Id: %s\r\n", hop, proxyError, quoted(detail), a.trace)
	switch status {
	case http.StatusProxyAuthRequired:
		out.WriteString("Proxy-Authenticate: Basic realm=\"postern\"\r\n")
	case http.StatusServiceUnavailable:
		out.WriteString("Retry-After: " + retryAfter + "\r\n")
	}
	if a.closing {
		out.WriteString("Connection: close\r\n")
	}
	out.WriteString("\r\n")
	if a.head == nil || a.head.Method != http.MethodHead {
		out.WriteString(body)
	}
	if err := c.SetWriteDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	_, err := c.Write(out.Bytes())
	return err
}

// hopOf is the hop to name: what comes by wire is not repeated unless it is one of ours.
func hopOf(err error) postern.Hop {
	switch hop := postern.HopOf(err, postern.HopRelay); hop {
	case postern.HopAgent, postern.HopTarget:
		return hop
	}
	return postern.HopRelay
}

// detailOf is what a client may know of err. A cause that is no *Error stays in the log, and a stranger learns nothing
// that depends on what there is.
func detailOf(err error) string {
	kind := postern.KindOf(err)
	e, ok := errors.AsType[*postern.Error](err)
	if !ok || e.Detail == "" || kind == postern.Unauthenticated {
		return kind.Sentence()
	}
	return e.Detail
}

// body says the failure to a person, a program (RFC 9457) or a terminal, whichever the client asks for.
func (a *answer) body(status int, hop postern.Hop, detail string) (contentType, body string) {
	accept := ""
	if a.head != nil {
		accept = strings.ToLower(strings.Join(a.head.Values("Accept"), ","))
	}
	title := http.StatusText(status)
	switch {
	case strings.Contains(accept, "text/html"):
		return "text/html; charset=utf-8", fmt.Sprintf("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>%d %s</title></head>\n"+
			"<body><h1>%s</h1>\n<p>%s.</p>\n<p>This was found at the %s. Request id: <code>%s</code></p>\n</body></html>\n",
			status, title, title, html.EscapeString(sentence(detail)), hop, a.trace)
	case strings.Contains(accept, "json"):
		return "application/problem+json", problem(status, title, hop, detail, a.trace)
	}
	return "text/plain; charset=utf-8", fmt.Sprintf("postern: %s (at the %s, request id %s)\n", oneLine(detail), hop, a.trace)
}

// problem is RFC 9457 §3 with the hop and the request id as extensions.
func problem(status int, title string, hop postern.Hop, detail, trace string) string {
	b, err := json.Marshal(struct {
		Type      string `json:"type"`
		Title     string `json:"title"`
		Status    int    `json:"status"`
		Detail    string `json:"detail"`
		Hop       string `json:"hop"`
		RequestID string `json:"request_id"`
	}{"about:blank", title, status, detail, string(hop), trace})
	if err != nil {
		// Strings and a number are always JSON.
		panic("connect: internal error: " + err.Error())
	}
	return string(b) + "\n"
}

// quoted is s as a string of structured fields, RFC 9651 §3.3.3: printable ASCII. It is shortened to what a header may well carry.
func quoted(s string) string {
	const most = 200
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s[:min(most, len(s))] {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r > '~':
			b.WriteByte('?')
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// oneLine takes control characters out of what came from another machine.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// sentence begins with a capital letter.
func sentence(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// statusLine is the code and its reason phrase.
func statusLine(code int) string { return strconv.Itoa(code) + " " + http.StatusText(code) }
