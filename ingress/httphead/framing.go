package httphead

import (
	"io"
	"strconv"
	"strings"
)

// framing finds out how long the body is, RFC 9112 §6, and refuses whatever leaves room for two opinions.
func (h *Head) framing() error {
	lengths, codings, hosts := h.Values("Content-Length"), h.Values("Transfer-Encoding"), h.Values("Host")
	switch {
	case len(hosts) > 1:
		return bad("the request has more than one Host")
	case len(hosts) == 0 && h.Minor == 1 && h.Method != "CONNECT":
		// A CONNECT says everything in its target, and there are clients that leave it at that.
		return bad("the request has no Host")
	case len(lengths) > 0 && len(codings) > 0:
		return bad("the request has both Content-Length and Transfer-Encoding")
	case len(lengths) > 1:
		return bad("the request has more than one Content-Length")
	case len(codings) > 1:
		return bad("the request has more than one Transfer-Encoding")
	case len(codings) == 1 && !strings.EqualFold(codings[0], "chunked"):
		return bad("the only Transfer-Encoding that is understood is chunked")
	case len(codings) == 1 && h.Minor == 0:
		return bad("HTTP/1.0 has no Transfer-Encoding")
	}
	h.Chunked = len(codings) == 1
	if len(lengths) == 1 {
		n, ok := parseLength(lengths[0])
		if !ok {
			return bad("the Content-Length is not a number")
		}
		h.ContentLength = n
	}
	// RFC 9110 §9.3.6: what follows a CONNECT belongs to the tunnel. Some old clients say so with a length of 0.
	if h.Method == "CONNECT" && (h.Chunked || h.ContentLength > 0) {
		return bad("a CONNECT request has no body")
	}
	return nil
}

// parseLength takes digits only: no sign, no list, nothing that overflows.
func parseLength(s string) (int64, bool) {
	if s == "" || len(s) > 18 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// isToken tells the characters of methods and field names, RFC 9110 §5.6.2.
func isToken(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func isTokens(s string) bool {
	for i := range len(s) {
		if !isToken(s[i]) {
			return false
		}
	}
	return s != ""
}

// isVisible tells request targets without spaces, controls and bytes above ASCII.
func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}

// unexpected is an end in the middle of something.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
