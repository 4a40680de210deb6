package httphead

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"
)

// FuzzRead: what is accepted is exactly a prefix of what came, within the limits; net/http takes it for the same single
// request, if it takes it at all; and reading does not depend on how the bytes arrive.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT a:1 HTTP/1.0\r\nProxy-Authorization: Basic YTpi\r\n\r\nearly",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01",
		"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\nConnection: close, x\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	limits := Limits{Bytes: 1 << 10, Fields: 10}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bufio.NewReader(bytes.NewReader(data))
		h, err := Read(r, limits)
		slow := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(data[:len(data)/2]), bytes.NewReader(data[len(data)/2:])), 16)
		again, err2 := Read(slow, limits)
		if (err == nil) != (err2 == nil) || err == nil && !bytes.Equal(h.Raw, again.Raw) {
			t.Fatalf("it depends on how the bytes arrive: %v, %v", err, err2)
		}
		if err != nil {
			if _, refused := errors.AsType[*Error](err); !refused && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("an error of another sort: %v", err)
			}
			return
		}
		rest, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(append(bytes.Clone(h.Raw), rest...), data) {
			t.Fatalf("bytes are lost or read twice: head %q, rest %q", h.Raw, rest)
		}
		if len(h.Raw) > limits.Bytes || len(h.Fields) > limits.Fields {
			t.Fatalf("beyond the limits: %d bytes, %d fields", len(h.Raw), len(h.Fields))
		}
		sameAsNetHTTP(t, h)
	})
}

func sameAsNetHTTP(t *testing.T, h *Head) {
	whole := bufio.NewReader(bytes.NewReader(h.Raw))
	req, err := http.ReadRequest(whole)
	if err != nil {
		return // a target that is no URL; it is refused by Request
	}
	chunked := len(req.TransferEncoding) == 1 && req.TransferEncoding[0] == "chunked"
	length := max(req.ContentLength, 0)
	if req.Method != h.Method || req.RequestURI != h.Target || req.ProtoMinor != h.Minor || chunked != h.Chunked || length != h.ContentLength {
		t.Fatalf("net/http reads %s %s HTTP/1.%d chunked %v length %d, we %+v", req.Method, req.RequestURI, req.ProtoMinor, chunked, length, h)
	}
	for _, f := range h.Fields {
		name := http.CanonicalHeaderKey(f.Name)
		if name == "Host" || name == "Trailer" || name == "Transfer-Encoding" {
			continue // net/http keeps these elsewhere
		}
		found := false
		for _, v := range req.Header[name] {
			found = found || v == f.Value
		}
		if !found {
			t.Fatalf("net/http reads %q for %s, we %q", req.Header[name], name, f.Value)
		}
	}
	if whole.Buffered() != 0 {
		t.Fatalf("net/http leaves %d bytes of the head", whole.Buffered())
	}
}

// FuzzBody: a chunked body that is accepted reads the same in net/http, and ends at the same byte.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		"0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\nGET", "5;x\r\nhello\r\n0\r\nA: b\r\n\r\n", "5\nhello\n0\n\n", "0x1\r\na\r\n0\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	const head = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bufio.NewReader(bytes.NewReader(data))
		body := NewBody(r, &Head{Chunked: true})
		got, err := io.ReadAll(body)
		if err != nil {
			if _, refused := errors.AsType[*Error](err); !refused && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("an error of another sort: %v", err)
			}
			return
		}
		theirs := bufio.NewReader(io.MultiReader(bytes.NewReader([]byte(head)), bytes.NewReader(data)))
		req, err := http.ReadRequest(theirs)
		if err != nil {
			t.Fatal(err)
		}
		want, err := io.ReadAll(req.Body)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("net/http reads %q, %v; we %q", want, err, got)
		}
		ours, _ := io.ReadAll(r) // reading memory does not fail
		left, _ := io.ReadAll(theirs)
		if !bytes.Equal(ours, left) {
			t.Fatalf("net/http leaves %q, we %q", left, ours)
		}
	})
}
