package connect

import (
	"net/http"
	"net/textproto"
	"strings"
)

// hopByHop are the fields that concern one connection only, RFC 9110 §7.6.1, and those that are for the proxy.
var hopByHop = [...]string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	"Proxy-Authenticate", "Proxy-Authorization", "Proxy-Authentication-Info",
}

// removeHopByHop removes what is not to be passed on: the fixed list, and what Connection names.
func removeHopByHop(h http.Header) {
	for _, v := range h["Connection"] {
		for token := range strings.SplitSeq(v, ",") {
			// Host and length are not the client's to remove: the message has to stay whole.
			if name := textproto.TrimString(token); !strings.EqualFold(name, "Host") && !strings.EqualFold(name, "Content-Length") {
				h.Del(name)
			}
		}
	}
	for _, name := range hopByHop {
		h.Del(name)
	}
}

// upgradeOf is the protocol that the fields of a message switch to; empty: none. RFC 9110 §7.8.
func upgradeOf(h http.Header) string {
	if !hasToken(h["Connection"], "upgrade") {
		return ""
	}
	return h.Get("Upgrade")
}

// setUpgrade puts back what removeHopByHop took.
func setUpgrade(h http.Header, protocol string) {
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", protocol)
}

// cleanTrailer removes what must not come after a body: what frames, routes or authenticates a message, RFC 9110 §6.5.1.
func cleanTrailer(h http.Header) {
	removeHopByHop(h)
	for _, name := range [...]string{
		"Content-Length", "Content-Encoding", "Content-Type", "Content-Range", "Host", "Authorization", "Set-Cookie", "Cookie",
		"Www-Authenticate", "Cache-Control", "Expect", "Max-Forwards", "Range", "Location", "Retry-After", "Vary", "Date", "Age", "Expires",
		"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Proxy-Status", "X-Request-Id",
	} {
		h.Del(name)
	}
}
