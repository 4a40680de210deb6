package ingress

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/postern-dev/postern"
)

// watchAfter is how long an open takes before anybody looks whether its client is still there: most are over by then.
const watchAfter = 50 * time.Millisecond

// leaveGrace is how long a client that has ended its side, before it could know whether its call succeeds, is still served. Nobody can
// tell one that has left from one that only wants to listen.
const leaveGrace = 2 * time.Second

// errLeft is why an open ends whose client has left.
var errLeft = &postern.Error{Kind: postern.Aborted, Hop: postern.HopClient, Detail: "the client left before the target was connected"}

// awaiting is a Call whose client sends nothing before the call was answered, or only what it means to say in any case. If such a
// client ends its side without having sent anything, it has most likely left. (At a public port it may be one that
// only wants to listen: nothing is answered there.)
type awaiting interface{ AwaitsAnswer() }

// graceOf is Watch's grace for a call.
func graceOf(call Call) time.Duration {
	if _, ok := call.(awaiting); ok {
		return leaveGrace
	}
	return 0
}

// Watch returns a context that ends when the client breaks the connection off, for the time in which nobody reads from it. With a
// grace it also ends so long after the client has ended its side without having sent a byte that was not read. What the client
// sends meanwhile is kept. The connection may be used again when stop has returned.
func (c *Conn) Watch(ctx context.Context, grace time.Duration) (watched context.Context, stop func()) {
	watched, cancel := context.WithCancelCause(ctx)
	looked := make(chan struct{})
	timer := time.AfterFunc(watchAfter, func() {
		defer close(looked)
		if c.left(watched, grace) {
			cancel(errLeft)
		}
	})
	return watched, func() {
		cancel(nil)
		if timer.Stop() {
			return
		}
		// Both fail on a closed connection only, where nobody waits.
		_ = c.SetReadDeadline(past)
		<-looked
		_ = c.SetReadDeadline(time.Time{})
	}
}

// left waits until the client has left, or it cannot be known any more.
func (c *Conn) left(ctx context.Context, grace time.Duration) bool {
	for {
		_, err := c.r.Peek(c.r.Buffered() + 1)
		switch {
		case err == nil: // early bytes, which stay in the buffer
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, bufio.ErrBufferFull):
			return false
		case errors.Is(err, io.EOF):
			return grace > 0 && c.r.Buffered() == 0 && outlasts(ctx, grace)
		default:
			return true
		}
	}
}

// outlasts reports whether d passes before ctx ends.
func outlasts(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
