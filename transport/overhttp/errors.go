package overhttp

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/postern-dev/postern"
)

// StatusError is the error for an answer that is not the one that was asked for. text is the beginning of its body.
func StatusError(u *url.URL, resp *http.Response, text string) error {
	err := postern.Errorf(postern.Unreachable, postern.HopRelay, "%s answers %q%s%s", u, resp.Status, firstLine(text), meaning(resp))
	err.RetryAfter = retryAfter(resp)
	return err
}

// maxRetry bounds what a server may ask for: it need not be the relay.
const maxRetry = 5 * time.Minute

// retryAfter is how long a server that is overloaded or down wants to be left alone (RFC 9110 §10.2.3), where it says so in seconds.
func retryAfter(resp *http.Response) time.Duration {
	if resp.StatusCode != http.StatusServiceUnavailable && resp.StatusCode != http.StatusTooManyRequests {
		return 0
	}
	seconds, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxRetry)
}

// meaning says what is probably wrong.
func meaning(resp *http.Response) string {
	switch status := resp.StatusCode; {
	case status == http.StatusNotFound:
		return "; is it the web listener of a relay, and does the path before it belong there?"
	case status/100 == 3:
		return fmt.Sprintf("; it leads to %.300q, give that address if it is the relay", resp.Header.Get("Location"))
	case status == http.StatusUpgradeRequired:
		return "; a proxy before the relay does not pass Upgrade on: with nginx that takes " +
			"proxy_http_version 1.1 and the fields Upgrade and Connection"
	case status == http.StatusProxyAuthRequired:
		return "; a proxy on the way wants user and password: --proxy http://USER:PASSWORD@host:port"
	case status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout:
		return "; the relay behind it does not answer"
	}
	return ""
}

// firstLine is the first line of a text, in parentheses, if it is one for people.
func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	line = strings.TrimSpace(line)
	if line == "" || strings.HasPrefix(line, "<") || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return ""
	}
	return fmt.Sprintf(" (%.200s)", line)
}
