//go:build linux

package rig

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// Web is an HTTP server on loopback as a target. Its pages:
//
//	/hello             a line of text
//	/data?n=N          N bytes, always the same (see DataHash); &rate=R at R bytes a second; &length=no without Content-Length
//	/upload            answers "SHA256 n LENGTH-HEADER" of the body it was sent
//	/headers           the request's head as it arrived
//	/websocket         echoes messages
func Web(t testing.TB) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "hello from the target")
	})
	mux.HandleFunc("/data", data)
	mux.HandleFunc("/upload", upload)
	mux.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s\nHost: %s\n", r.Method, r.RequestURI, r.Host)
		// A failing write shows at the client.
		_ = r.Header.Write(w)
	})
	mux.HandleFunc("/websocket", echoMessages)
	s := httptest.NewServer(mux)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// source is the bytes of /data: random to every compressor, the same in every run.
func source(n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{'p', 'o', 's', 't', 'e', 'r', 'n'}), n)
}

// DataHash is the SHA-256 of the first n bytes of /data, in hex.
func DataHash(t testing.TB, n int64) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, source(n)); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// FileHash is the hash of a file, to be compared with DataHash.
func FileHash(t testing.TB, file string) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // it was only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// DataReader returns the bytes of /data, for uploads.
func DataReader(n int64) io.Reader { return source(n) }

func data(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(r.FormValue("n"), 10, 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	rate, err := strconv.ParseInt(orElse(r.FormValue("rate"), "0"), 10, 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if r.FormValue("length") == "no" {
		// The end of the connection is the end of the page: nothing else tells a client that it is short.
		w.Header().Set("Connection", "close")
		w.Header().Set("Transfer-Encoding", "identity")
	} else {
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	}
	copyAtRate(w, source(n), rate, r.Context().Done())
}

// copyAtRate copies at most rate bytes a second, 0 as fast as it goes, until done.
func copyAtRate(w io.Writer, r io.Reader, rate int64, done <-chan struct{}) {
	if rate == 0 {
		// A client that goes away is what some tests are about.
		_, _ = io.Copy(w, r)
		return
	}
	const ticks = 50 // a second
	tick := time.NewTicker(time.Second / ticks)
	defer tick.Stop()
	for {
		if _, err := io.CopyN(w, r, rate/ticks); err != nil {
			return
		}
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		select {
		case <-tick.C:
		case <-done:
			return
		}
	}
}

func upload(w http.ResponseWriter, r *http.Request) {
	h := sha256.New()
	n, err := io.Copy(h, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%x %d %d\n", h.Sum(nil), n, r.ContentLength)
}

func echoMessages(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	c.SetReadLimit(-1)
	for {
		kind, message, err := c.Read(r.Context())
		if err != nil {
			_ = c.CloseNow() // the client has closed, or is gone
			return
		}
		if err := c.Write(r.Context(), kind, message); err != nil {
			_ = c.CloseNow()
			return
		}
	}
}
