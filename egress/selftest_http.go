package egress

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"

	"github.com/postern-dev/postern"
)

// maxSelftestHead bounds a request's head (PROMISES P-14).
const maxSelftestHead = 32 << 10

func isHTTPRequestLine(line string) bool {
	words := strings.Fields(line)
	return len(words) == 3 && strings.HasPrefix(words[2], "HTTP/1.")
}

// serveHTTP answers requests until one side wants no more. It is a loop over http.ReadRequest instead of a http.Server because the
// goroutines of a server cannot be waited for, and because /abort needs the stream itself.
func (s *selftest) serveHTTP(d *duplex, in io.Reader) {
	limited := &io.LimitedReader{R: in}
	r := bufio.NewReader(limited)
	for {
		// Bytes that the buffer holds already were counted before; the bound need not be exact.
		limited.N = maxSelftestHead
		req, err := http.ReadRequest(r)
		if err != nil {
			if limited.N <= 0 {
				s.plain(d, http.StatusRequestHeaderFieldsTooLarge, "the head is longer than 32 KiB")
			} else if !errors.Is(err, io.EOF) {
				s.plain(d, http.StatusBadRequest, "the request is malformed")
			}
			break
		}
		limited.N = math.MaxInt64
		if req.ProtoAtLeast(1, 1) && strings.EqualFold(req.Header.Get("Expect"), "100-continue") {
			if _, err := io.WriteString(d, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
				return
			}
		}
		if !s.respond(d, req) {
			return
		}
		if req.Close || !req.ProtoAtLeast(1, 1) {
			break
		}
	}
	s.finish(d, r)
}

// respond answers one request and reads what is left of its body. It reports whether the stream can go on.
func (s *selftest) respond(d *duplex, req *http.Request) bool {
	resp := s.handle(d, req)
	if resp == nil {
		return false
	}
	resp.Request, resp.ProtoMajor, resp.ProtoMinor = req, 1, req.ProtoMinor
	resp.Close = req.Close || !req.ProtoAtLeast(1, 1)
	if resp.ContentLength < 0 && req.ProtoAtLeast(1, 1) {
		resp.TransferEncoding = []string{"chunked"}
	}
	if err := resp.Write(d); err != nil {
		// A broken body must not look complete.
		d.Abort(postern.Aborted)
		return false
	}
	_, err := io.Copy(io.Discard, req.Body)
	return err == nil
}

// handle makes the answer; nil if the stream has ended instead.
func (s *selftest) handle(d *duplex, req *http.Request) *http.Response {
	query := req.URL.Query()
	switch req.URL.Path {
	case "/echo":
		return echoResponse(req)
	case "/discard":
		n, err := io.Copy(io.Discard, req.Body)
		if err != nil {
			return nil
		}
		return textResponse(http.StatusOK, fmt.Sprintf("%d\n", n))
	case "/source":
		n, err := parseBytes(query.Get("bytes"))
		if err != nil {
			return textResponse(http.StatusBadRequest, err.Error()+"\n")
		}
		return response(http.StatusOK, "application/octet-stream", sourceReader(n), n)
	case "/delay":
		wait, err := parseDelay(query.Get("for"))
		if err != nil {
			return textResponse(http.StatusBadRequest, err.Error()+"\n")
		}
		if !d.sleep(wait) {
			return nil
		}
		return echoResponse(req)
	case "/status":
		line := string(s.status()) + "\n"
		return response(http.StatusOK, "application/json", strings.NewReader(line), int64(len(line)))
	case "/abort":
		return s.abortHTTP(d, query.Get("bytes"))
	default:
		return textResponse(http.StatusNotFound, "there are /echo, /discard, /source?bytes=N, /delay?for=DURATION, /status, /abort?bytes=N\n")
	}
}

// abortHTTP sends n bytes of a body that is never complete. Without a number it breaks off before the head.
func (s *selftest) abortHTTP(d *duplex, bytes string) *http.Response {
	if bytes == "" {
		d.Abort(postern.Aborted)
		return nil
	}
	n, err := parseBytes(bytes)
	if err != nil {
		return textResponse(http.StatusBadRequest, err.Error()+"\n")
	}
	// Writing fails where the body ends before its length, and a failed answer is an abort.
	n = min(n, math.MaxInt64-1)
	return response(http.StatusOK, "application/octet-stream", sourceReader(n), n+1)
}

func echoResponse(req *http.Request) *http.Response {
	kind := req.Header.Get("Content-Type")
	if kind == "" {
		kind = "application/octet-stream"
	}
	return response(http.StatusOK, kind, req.Body, req.ContentLength)
}

func textResponse(status int, text string) *http.Response {
	return response(status, "text/plain; charset=utf-8", strings.NewReader(text), int64(len(text)))
}

func response(status int, contentType string, body io.Reader, length int64) *http.Response {
	return &http.Response{
		StatusCode:    status,
		Header:        http.Header{"Content-Type": {contentType}, "X-Content-Type-Options": {"nosniff"}},
		Body:          io.NopCloser(body),
		ContentLength: length,
	}
}

// plain answers what is not a request, for the last time. An error means that nobody listens.
func (s *selftest) plain(d *duplex, status int, text string) {
	resp := textResponse(status, text+"\n")
	resp.ProtoMajor, resp.ProtoMinor, resp.Close = 1, 1, true
	_ = resp.Write(d)
}
