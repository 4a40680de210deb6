package connect

import (
	"io"
	"net"
	"strings"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/ingress/httphead"
)

// call is a CONNECT request.
type call struct {
	c    *ingress.Conn
	head *httphead.Head
	wish ingress.Wish
}

// Wish implements ingress.Call.
func (t *call) Wish() ingress.Wish { return t.wish }

// Accept implements ingress.Call. A 2xx to CONNECT has neither Content-Length nor Transfer-Encoding, RFC 9110 §9.3.6.
func (t *call) Accept(net.Addr) error {
	_, err := io.WriteString(t.c, "HTTP/1.1 200 Connection established\r\n\r\n")
	return err
}

// AwaitsAnswer says that the client waits for the answer, see ingress.Conn.Watch.
func (t *call) AwaitsAnswer() {}

// maxTries is how often a client may try to authenticate on one connection.
const maxTries = 5

// Reject implements ingress.Call. After a 407 the client may try again on the same connection, as browsers and curl --proxy-anyauth do.
func (t *call) Reject(err error, trace string) error {
	a := answer{err: err, trace: trace, head: t.head}
	a.closing = !mayRetry(t.c, t.head, err)
	if werr := a.write(t.c); werr != nil || a.closing {
		return werr
	}
	return ingress.ErrAgain
}

// mayRetry reports whether the connection is good for another try. Bytes that came before the answer were meant for the tunnel, and are
// not to be read as a request.
func mayRetry(c *ingress.Conn, head *httphead.Head, err error) bool {
	return postern.KindOf(err) == postern.Unauthenticated && c.Rejects()+1 < maxTries && c.Reader().Buffered() == 0 && persistent(head)
}

// persistent reports whether the client keeps its connection open, RFC 9112 §9.3. For clients of HTTP/1.0 it is always closed.
func persistent(head *httphead.Head) bool {
	return head.Minor == 1 && !hasToken(head.Values("Connection"), "close") && !hasToken(head.Values("Proxy-Connection"), "close")
}

// hasToken looks for a token in fields that are lists, RFC 9110 §5.6.1.
func hasToken(values []string, token string) bool {
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.Trim(t, " \t"), token) {
				return true
			}
		}
	}
	return false
}
