package httphead

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func read(s string) (*Head, *bufio.Reader, error) {
	r := bufio.NewReader(strings.NewReader(s))
	h, err := Read(r, Limits{})
	return h, r, err
}

func TestReadTakesTheHeadAndNothingAfterIt(t *testing.T) {
	const head = "POST http://host/path?q HTTP/1.1\r\nHost: host\r\nX-Empty:\r\nContent-Length:\t5 \r\n\r\n"
	h, r, err := read(head + "hello")
	if err != nil {
		t.Fatal(err)
	}
	want := &Head{
		Method: "POST", Target: "http://host/path?q", Minor: 1, ContentLength: 5, Raw: []byte(head),
		Fields: []Field{{"Host", "host"}, {"X-Empty", ""}, {"Content-Length", "5"}},
	}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Error(diff)
	}
	if rest, err := io.ReadAll(r); err != nil || string(rest) != "hello" {
		t.Errorf("left %q, %v; want the body", rest, err)
	}
}

func TestAccepted(t *testing.T) {
	for _, head := range []string{
		"CONNECT host:1 HTTP/1.1\r\n\r\n",
		"CONNECT host:1 HTTP/1.0\r\n\r\n",
		"CONNECT host:1 HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
		"GET / HTTP/1.0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost:\r\n\r\n",
		"GET / HTTP/1.1\r\nhOST: a\r\nX: \xc3\xa4\tb\r\n\r\n",
		"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
		"!#$ / HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		if _, _, err := read(head); err != nil {
			t.Errorf("%q: %v", head, err)
		}
	}
}

func TestRefused(t *testing.T) {
	get := "GET http://a/ HTTP/1.1\r\nHost: a\r\n"
	for name, head := range map[string]string{
		"bare LF":                       "GET http://a/ HTTP/1.1\nHost: a\n\n",
		"bare LF after a field":         get + "X: y\n\r\n",
		"bare LF at the end":            get + "\n",
		"bare CR in a value":            get + "X: a\rb\r\n\r\n",
		"two CR":                        get + "X: a\r\r\n\r\n",
		"obs-fold":                      get + "X: a\r\n b\r\n\r\n",
		"obs-fold with a tab":           get + "X: a\r\n\tb\r\n\r\n",
		"fold at the first field":       "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
		"space before colon":            get + "X : a\r\n\r\n",
		"tab before colon":              get + "X\t: a\r\n\r\n",
		"empty name":                    get + ": a\r\n\r\n",
		"no colon":                      get + "X\r\n\r\n",
		"odd name":                      get + "X[]: a\r\n\r\n",
		"NUL in a value":                get + "X: a\x00b\r\n\r\n",
		"control in a value":            get + "X: a\x1bb\r\n\r\n",
		"DEL in a value":                get + "X: a\x7f\r\n\r\n",
		"CL and TE":                     get + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
		"TE and CL":                     get + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
		"two CL, different":             get + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
		"two CL, equal":                 get + "Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
		"list of CL":                    get + "Content-Length: 5, 5\r\n\r\n",
		"signed CL":                     get + "Content-Length: +5\r\n\r\n",
		"negative CL":                   get + "Content-Length: -5\r\n\r\n",
		"hexadecimal CL":                get + "Content-Length: 0x5\r\n\r\n",
		"empty CL":                      get + "Content-Length:\r\n\r\n",
		"overflowing CL":                get + "Content-Length: 99999999999999999999\r\n\r\n",
		"unknown TE":                    get + "Transfer-Encoding: xchunked\r\n\r\n",
		"TE with identity":              get + "Transfer-Encoding: chunked, identity\r\n\r\n",
		"TE with gzip":                  get + "Transfer-Encoding: gzip, chunked\r\n\r\n",
		"quoted TE":                     get + "Transfer-Encoding: \"chunked\"\r\n\r\n",
		"vertical tab in TE":            get + "Transfer-Encoding: \vchunked\r\n\r\n",
		"two TE":                        get + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
		"empty TE":                      get + "Transfer-Encoding:\r\n\r\n",
		"TE in HTTP/1.0":                "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
		"two Host":                      get + "Host: b\r\n\r\n",
		"no Host":                       "GET / HTTP/1.1\r\n\r\n",
		"CONNECT with CL":               "CONNECT a:1 HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
		"CONNECT with TE":               "CONNECT a:1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"preface of HTTP/2":             "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"HTTP/0.9":                      "GET /\r\n\r\n",
		"HTTP/1.2":                      "GET / HTTP/1.2\r\n\r\n",
		"HTTP/2.0":                      "GET / HTTP/2.0\r\n\r\n",
		"lower-case version":            "GET / http/1.1\r\nHost: a\r\n\r\n",
		"two spaces before the target":  "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
		"two spaces before the version": "GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
		"space at the end":              "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
		"tab for a space":               "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
		"space in the target":           "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
		"high byte in the target":       "GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
		"NUL in the target":             "GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
		"empty line first":              "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"method with a colon":           "GE:T / HTTP/1.1\r\nHost: a\r\n\r\n",
		"TLS":                           "\x16\x03\x01\x02\x00\x01",
		"SSH":                           "SSH-2.0-OpenSSH_9.9\r\n",
		"SOCKS5":                        "\x05\x01\x00",
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := read(head)
			refused, ok := errors.AsType[*Error](err)
			if !ok || refused.Status != http.StatusBadRequest || refused.Reason == "" {
				t.Errorf("got %v, want a refusal with 400", err)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	fields := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "X-%d: y\r\n", i)
		}
		return "CONNECT a:1 HTTP/1.1\r\n" + b.String() + "\r\n"
	}
	long := func(n int) string {
		head := "CONNECT a:1 HTTP/1.1\r\nX: \r\n\r\n"
		return strings.Replace(head, "X: ", "X: "+strings.Repeat("x", n-len(head)), 1)
	}
	for _, c := range []struct {
		name, head string
		refused    bool
	}{
		{"100 fields", fields(100), false},
		{"101 fields", fields(101), true},
		{"32 KiB", long(32 << 10), false},
		{"32 KiB and one byte", long(32<<10 + 1), true},
		{"a megabyte of method", strings.Repeat("A", 1<<20), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := read(c.head)
			refused, ok := errors.AsType[*Error](err)
			if ok != c.refused || ok && refused.Status != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("got %v, refused shall be %v", err, c.refused)
			}
		})
	}
}

func TestAnEndInTheMiddleIsUnexpected(t *testing.T) {
	const head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	for n := range len(head) {
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if _, _, err := read(head[:n]); !errors.Is(err, want) {
			t.Errorf("after %d bytes: %v, want %v", n, err, want)
		}
	}
}
