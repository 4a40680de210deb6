package connect

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/ingress/httphead"
)

// requestBody is the client's body on its way to the target. net/http reads it in a goroutine of its own, which may outlive the
// response; after halt it reads nothing any more.
type requestBody struct {
	*httphead.Body
	reply    *reply
	expected bool // the client waits for 100 Continue
	trailer  http.Header
	failed   context.CancelCauseFunc
	ended    chan struct{} // closed at the end of the body

	done, bad atomic.Bool
	last      bool // only trailers are left, and there is a deadline for them; used by Read alone

	mu     sync.Mutex // held while reading
	halted atomic.Bool
}

// hurry gives the client as long for the trailers as for a head.
func (b *requestBody) hurry(c *ingress.Conn) {
	b.last = true
	// It fails on a closed connection only, as the Read that follows does.
	_ = c.SetReadDeadline(time.Now().Add(ingress.HandshakeTimeout))
}

// halt waits for a Read that is under way, and makes later ones fail: the connection belongs to somebody else then.
func (b *requestBody) halt(c *ingress.Conn) {
	b.halted.Store(true)
	// Both fail on a closed connection only, where no Read waits.
	_ = c.SetReadDeadline(time.Unix(1, 0))
	b.mu.Lock()
	defer b.mu.Unlock()
	_ = c.SetReadDeadline(time.Time{})
}

// Read implements io.Reader.
func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.halted.Load() {
		return 0, errHalted
	}
	if b.expected {
		b.expected = false
		b.reply.goOn()
	}
	n, err := b.Body.Read(p)
	if b.last && errors.Is(err, os.ErrDeadlineExceeded) && !b.halted.Load() {
		err = &httphead.Error{Status: http.StatusRequestTimeout, Reason: "the end of the body did not arrive in time"}
	}
	if b.Done() && b.done.CompareAndSwap(false, true) {
		if b.last {
			_ = b.reply.c.SetReadDeadline(time.Time{}) // as in hurry
		}
		b.endWithTrailer()
		close(b.ended)
	}
	if err != nil && err != io.EOF {
		// The target must not take half a body for a whole one, and the client is to hear what was wrong with it.
		b.bad.Store(true)
		b.failed(err)
	}
	return n, err
}

var errHalted = errors.New("the response has ended before the request")

// endWithTrailer fills in the trailers that were announced.
func (b *requestBody) endWithTrailer() {
	for name := range b.trailer {
		if values, ok := b.Body.Trailer[name]; ok {
			b.trailer[name] = values
		}
	}
}

// finished reports whether the whole body was read.
func (b *requestBody) finished() bool {
	select {
	case <-b.ended:
		return true
	default:
		return false
	}
}

// broken reports whether the body could not be read to its end.
func (b *requestBody) broken() bool { return b.bad.Load() }

// responseBody flushes what was written before it waits for more.
type responseBody struct {
	io.ReadCloser
	out     *bufio.Writer
	trailer http.Header
	failed  bool // the target broke off
}

// Read implements io.Reader.
func (b *responseBody) Read(p []byte) (int, error) {
	if err := b.out.Flush(); err != nil {
		return 0, err
	}
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		cleanTrailer(b.trailer)
	}
	b.failed = b.failed || err != nil && err != io.EOF
	return n, err
}

// reply is the way to the client. 1xx and 100 come from goroutines of net/http, and never after the response has begun.
type reply struct {
	c      *ingress.Conn
	modern bool // the client speaks HTTP/1.1
	keep   bool // the connection stays open after the response

	mu      sync.Mutex // guards what follows, and writing before the response
	started bool
	hints   int
}

// begin says that the response follows.
func (r *reply) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started = true
}

// begun reports whether the client has got a part of the response.
func (r *reply) begun() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.started
}

// goOn tells the client to send its body.
func (r *reply) goOn() { r.interim(http.StatusContinue, nil) }

// maxHints bounds the 1xx responses that are passed on; more than that help nobody.
const maxHints = 16

// informational passes a 1xx response on. 100 is not: it goes by who reads the body.
func (r *reply) informational(code int, h http.Header) {
	if code == http.StatusContinue {
		return
	}
	r.mu.Lock()
	r.hints++
	many := r.hints > maxHints
	r.mu.Unlock()
	if !many {
		h = h.Clone()
		removeHopByHop(h)
		r.interim(code, h)
	}
}

func (r *reply) interim(code int, h http.Header) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started || !r.modern {
		return
	}
	// A client that is gone shows at the response.
	_ = r.head(code, h)
}

// switching sends a 101.
func (r *reply) switching(h http.Header) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started = true
	return r.head(http.StatusSwitchingProtocols, h)
}

func (r *reply) head(code int, h http.Header) error {
	var out bytes.Buffer
	out.WriteString("HTTP/1.1 " + statusLine(code) + "\r\n")
	// Writing to memory does not fail.
	_ = h.Write(&out)
	out.WriteString("\r\n")
	_, err := r.c.Write(out.Bytes())
	return err
}
