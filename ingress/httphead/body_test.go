package httphead

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func chunked(s string) (*Body, *bufio.Reader) {
	r := bufio.NewReader(strings.NewReader(s))
	return NewBody(r, &Head{Chunked: true}), r
}

func TestChunksAreReadToTheirEndAndNotFurther(t *testing.T) {
	for _, c := range []struct{ name, wire, want string }{
		{"nothing", "0\r\n\r\n", ""},
		{"one", "5\r\nhello\r\n0\r\n\r\n", "hello"},
		{"several", "1\r\na\r\n0A\r\n0123456789\r\n00\r\n\r\n", "a0123456789"},
		{"extensions", "2;a=b\r\nhi\r\n0;last\r\n\r\n", "hi"},
		{"space before an extension", "2 ;a\r\nhi\r\n0\r\n\r\n", "hi"},
		{"line ends inside", "4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, r := chunked(c.wire + "NEXT")
			got, err := io.ReadAll(iotest.OneByteReader(b))
			if err != nil || string(got) != c.want || !b.Done() {
				t.Errorf("got %q, %v, done %v; want %q", got, err, b.Done(), c.want)
			}
			if rest, err := io.ReadAll(r); err != nil || string(rest) != "NEXT" {
				t.Errorf("left %q, %v", rest, err)
			}
		})
	}
}

func TestChunksRefused(t *testing.T) {
	for name, wire := range map[string]string{
		"bare LF after the size":       "5\nhello\r\n0\r\n\r\n",
		"bare LF after the data":       "5\r\nhello\n0\r\n\r\n",
		"bare LF at the last chunk":    "5\r\nhello\r\n0\n\r\n",
		"bare LF at the end":           "5\r\nhello\r\n0\r\n\n",
		"bare LF in an extension":      "5;a\nb\r\nhello\r\n0\r\n\r\n",
		"bare CR in an extension":      "5;a\rb\r\nhello\r\n0\r\n\r\n",
		"0x":                           "0x5\r\nhello\r\n0\r\n\r\n",
		"sign":                         "+5\r\nhello\r\n0\r\n\r\n",
		"space first":                  " 5\r\nhello\r\n0\r\n\r\n",
		"underscore":                   "1_0\r\nhello\r\n0\r\n\r\n",
		"empty size":                   "\r\nhello\r\n0\r\n\r\n",
		"only an extension":            ";a\r\nhello\r\n0\r\n\r\n",
		"overflow":                     "10000000000000005\r\nhello\r\n0\r\n\r\n",
		"data longer than its size":    "4\r\nhello\r\n0\r\n\r\n",
		"a megabyte of extension":      "5;" + strings.Repeat("a", 1<<20) + "\r\nhello\r\n0\r\n\r\n",
		"many tiny chunks, long lines": strings.Repeat("1;"+strings.Repeat("a", 200)+"\r\nx\r\n", 200) + "0\r\n\r\n",
		"folded trailer":               "0\r\nA: b\r\n c\r\n\r\n",
		"trailer without colon":        "0\r\nA\r\n\r\n",
		"trailer with NUL":             "0\r\nA: \x00\r\n\r\n",
		"10,000 trailers":              "0\r\n" + strings.Repeat("A: b\r\n", 10000) + "\r\n",
		"10 MB of trailer":             "0\r\nA: " + strings.Repeat("b", 10<<20) + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := chunked(wire)
			_, err := io.ReadAll(b)
			if refused, ok := errors.AsType[*Error](err); !ok || refused.Status != http.StatusBadRequest {
				t.Errorf("got %v, want a refusal with 400", err)
			}
			if b.Done() {
				t.Error("it counts as read to its end")
			}
			if _, again := b.Read(make([]byte, 1)); again == nil || again == io.EOF {
				t.Errorf("after its failure it reads %v", again)
			}
		})
	}
}

func TestABodyThatStopsIsUnexpected(t *testing.T) {
	const wire = "5\r\nhello\r\n0\r\nA: b\r\n\r\n"
	for n := range len(wire) {
		b, _ := chunked(wire[:n])
		if _, err := io.ReadAll(b); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	b := NewBody(bufio.NewReader(strings.NewReader("hell")), &Head{ContentLength: 5})
	if got, err := io.ReadAll(b); !errors.Is(err, io.ErrUnexpectedEOF) || string(got) != "hell" || b.Done() {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestABodyOfKnownLength(t *testing.T) {
	r := bufio.NewReader(strings.NewReader("helloNEXT"))
	b := NewBody(r, &Head{ContentLength: 5})
	if got, err := io.ReadAll(b); err != nil || string(got) != "hello" || !b.Done() {
		t.Errorf("got %q, %v", got, err)
	}
	if b = NewBody(r, &Head{}); !b.Done() {
		t.Error("a request without a body has one")
	}
}

func TestTrailers(t *testing.T) {
	b, _ := chunked("0\r\nx-sum: 1\r\nX-Sum:  2 \r\n\r\n")
	if _, err := io.ReadAll(b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(http.Header{"X-Sum": {"1", "2"}}, b.Trailer); diff != "" {
		t.Error(diff)
	}
}
