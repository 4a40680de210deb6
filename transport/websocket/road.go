package websocket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/postern-dev/postern/internal/bulkio"
	"github.com/postern-dev/postern/splice"
)

// road is the byte stream in the binary messages of a WebSocket: a net.Conn for one reader and one writer at a time. Only what is
// above it can end a direction; the end of the WebSocket is never a clean end of the bytes.
type road struct {
	ws      *websocket.Conn
	beneath *bulkio.Conn // what ws reads and writes
	message io.Reader    // the one being read; nil between two
	writing atomic.Bool
	abort   atomic.Bool // Close breaks off
}

var _ net.Conn = (*road)(nil)

// peeked is how much is read of a message that may not have arrived yet. Whoever reads gets what is there at the latest when so much more
// is: a sign of life must not wait for the end of a large message on a slow line.
const peeked = 1 << 10

// Read reads what has arrived, across messages.
func (r *road) Read(p []byte) (int, error) {
	for {
		if r.message == nil {
			kind, message, err := r.ws.Reader(unending{})
			if err != nil {
				return 0, broken(err)
			}
			if kind != websocket.MessageBinary {
				return 0, errors.New("a message of the WebSocket is text, which nobody has sent")
			}
			r.message = message
		}
		// ws fills what it is given, so it is given no more than is there.
		n, err := r.message.Read(p[:min(len(p), max(peeked, r.beneath.Buffered()))])
		if err == io.EOF {
			r.message, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, broken(err)
		}
	}
}

// unending is the context of reads and writes: they have deadlines, which are set beneath and cost nothing there.
type unending struct{}

func (unending) Deadline() (time.Time, bool) { return time.Time{}, false }
func (unending) Done() <-chan struct{}       { return nil }
func (unending) Err() error                  { return nil }
func (unending) Value(any) any               { return nil }

// broken makes sure that an end of the WebSocket is taken for what it is.
func broken(err error) error {
	switch {
	case err == nil:
		return nil
	case websocket.CloseStatus(err) != -1:
		return fmt.Errorf("the WebSocket was closed: %w", err)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the WebSocket broke: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// Write writes p as messages, all of which leave in one piece.
func (r *road) Write(p []byte) (n int, err error) {
	r.writing.Store(true)
	defer r.writing.Store(false)
	r.beneath.Hold()
	for n < len(p) && err == nil {
		next := p[n:min(n+maxSent, len(p))]
		if err = r.ws.Write(unending{}, websocket.MessageBinary, next); err == nil {
			n += len(next)
		}
	}
	if rerr := r.beneath.Release(); err == nil && rerr != nil {
		return 0, rerr
	}
	return n, err
}

// answerPing reports whether a PING of the WebSocket, which is not ours, is to be answered. Liveness is the multiplexer's; the reader,
// whose goroutine this is, must not wait for a writer that is at work, and while one is, there are signs of life enough.
func (r *road) answerPing(context.Context, []byte) bool { return !r.writing.Load() }

// closeTime is how long the ends may take to say goodbye.
const closeTime = time.Second

// Close ends the WebSocket by its closing handshake, or breaks it off after SetLinger.
func (r *road) Close() error {
	if r.abort.Load() {
		splice.Abort(r.beneath)
		// It is broken already; this frees what ws holds.
		_ = r.ws.CloseNow()
		return nil
	}
	// If the far end is gone, or says nothing, that is how it ends.
	_ = r.SetDeadline(time.Now().Add(closeTime))
	_ = r.ws.Close(websocket.StatusNormalClosure, "")
	return nil
}

// SetLinger has Close break the connection off, as it does for TCP with no time to linger; splice.Abort uses it.
func (r *road) SetLinger(int) error {
	r.abort.Store(true)
	return nil
}

// LocalAddr is that of the connection beneath.
func (r *road) LocalAddr() net.Addr { return r.beneath.LocalAddr() }

// RemoteAddr is that of the connection beneath, which may be a proxy's.
func (r *road) RemoteAddr() net.Addr { return r.beneath.RemoteAddr() }

// SetDeadline bounds Read and Write. One that has passed breaks the WebSocket.
func (r *road) SetDeadline(t time.Time) error { return r.beneath.SetDeadline(t) }

// SetReadDeadline bounds Read.
func (r *road) SetReadDeadline(t time.Time) error { return r.beneath.SetReadDeadline(t) }

// SetWriteDeadline bounds Write.
func (r *road) SetWriteDeadline(t time.Time) error { return r.beneath.SetWriteDeadline(t) }
