package connect

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestWhatAResponseNamesIsNotPassedOn(t *testing.T) {
	for name, tt := range map[string]struct{ head, left string }{
		"nothing":              {"HTTP/1.1 200 OK\r\nX-A: 1\r\n", "X-A"},
		"close alone":          {"HTTP/1.1 200 OK\r\nConnection: close\r\nX-A: 1\r\n", "X-A"},
		"with close":           {"HTTP/1.1 200 OK\r\nConnection: x-a, close\r\nX-A: 1\r\nX-B: 1\r\n", "X-B"},
		"without close":        {"HTTP/1.1 200 OK\r\nConnection: X-A\r\nX-A: 1\r\nX-B: 1\r\n", "X-B"},
		"several fields":       {"HTTP/1.1 200 OK\r\nconnection: X-A\r\nX-A: 1\r\nX-B: 1\r\nCONNECTION:close\r\nConnection: X-B\r\nX-C: 1\r\n", "X-C"},
		"folded":               {"HTTP/1.1 200 OK\r\nConnection: close,\r\n X-A,\r\n\tX-B\r\nX-A: 1\r\nX-B: 1\r\nX-C: 1\r\n X-D\r\n", "X-C"},
		"bare LF":              {"HTTP/1.1 200 OK\nConnection: close, X-A\nX-A: 1\nX-B: 1\n", "X-B"},
		"a long line before":   {"HTTP/1.1 200 OK\r\nX-L: " + strings.Repeat("l", 10000) + "\r\nConnection: close, X-A, X-L\r\nX-A: 1\r\nX-B: 1\r\n", "X-B"},
		"switching protocols":  {"HTTP/1.1 101 S\r\nConnection: close, X-A\r\nX-A: 1\r\nX-B: 1\r\n", "X-B"},
		"after interim heads":  {"HTTP/1.1 103 E\r\nConnection: close, X-B\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close, X-A\r\nX-A: 1\r\nX-B: 1\r\n", "X-B"},
		"a body like a header": {"HTTP/1.1 200 OK\r\nConnection: close\r\nX-A: 1\r\nContent-Length: 17\r\n\r\nConnection: X-A\r\n\r\n", "Content-Length X-A"},
	} {
		t.Run(name, func(t *testing.T) {
			var n named
			// A byte at a time, as the worst network would bring it, to both.
			r := bufio.NewReader(iotest.OneByteReader(&tee{strings.NewReader(tt.head + "\r\n"), &n}))
			var resp *http.Response
			for resp == nil || resp.StatusCode == http.StatusEarlyHints {
				var err error
				if resp, err = http.ReadResponse(r, nil); err != nil {
					t.Fatal(err)
				}
			}
			n.restore(resp.Header)
			removeHopByHop(resp.Header)
			var left []string
			for _, field := range []string{"Connection", "Content-Length", "X-A", "X-B", "X-C", "X-L"} {
				if resp.Header.Get(field) != "" {
					left = append(left, field)
				}
			}
			if diff := cmp.Diff(tt.left, strings.Join(left, " ")); diff != "" {
				t.Errorf("what is passed on (-want +got):\n%s", diff)
			}
		})
	}
}

type tee struct {
	r *strings.Reader
	n *named
}

func (t *tee) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.n.pass(p[:n])
	return n, err
}
