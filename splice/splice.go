// Package splice copies bytes between two streams, both ways, until both directions have ended. It is the one place
// where that happens: half-close, reset, counts and the idle limit are the same for every ingress and transport.
//
//	result := splice.Join(ctx, splice.Stream(conn), stream, splice.Options{Idle: time.Hour})
//	log.Info("stream", "sent", result.Sent, "received", result.Received, "reason", result.Reason)
package splice

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/postern-dev/postern"
)

// Options bound a Join. The zero value has no limits.
type Options struct {
	// Idle ends the join when no byte has passed in either direction for that long; 0 means never.
	Idle time.Duration
	// Counts, if set, is kept up to date while the join runs, for lists of live streams.
	Counts *Counts
}

// Counts are the bytes that passed so far. They may be read at any time.
type Counts struct {
	Sent     atomic.Int64 // from a to b
	Received atomic.Int64 // from b to a
}

// Result says how a join went.
type Result struct {
	Sent     int64 // bytes from a to b
	Received int64 // bytes from b to a
	Duration time.Duration
	Reason   Reason
	Err      error // nil after a clean end in both directions
}

// Reason is why a join ended, in one word for logs and metrics.
type Reason string

// The reasons. A is the side that asked (the client, seen from a relay), B the side that was opened.
const (
	Done      Reason = "done"      // both directions ended cleanly
	AAborted  Reason = "client"    // a broke off
	BAborted  Reason = "target"    // b broke off
	BStopped  Reason = "unread"    // one side stopped reading before the other had sent everything; the rest arrived
	Idle      Reason = "idle"      // nothing passed for Options.Idle
	Cancelled Reason = "cancelled" // the context ended
)

// ErrIdle is why a stream ends through which nothing has passed for too long.
var ErrIdle = &postern.Error{Kind: postern.Timeout, Hop: postern.HopRelay, Detail: "the stream was idle for too long"}

// Join copies from a to b and from b to a until both have ended, then closes both. The end of one direction is passed on by
// CloseWrite while the other lives. If either side breaks off, or ctx ends, both are aborted: with the
// kind of the error, or of ctx's cause. It returns when nothing of it runs any more.
func Join(ctx context.Context, a, b postern.Stream, o Options) Result {
	start := time.Now()
	counts := o.Counts
	if counts == nil {
		counts = new(Counts)
	}
	j := &join{a: a, b: b}
	ResetOnExit(a, true)
	ResetOnExit(b, true)
	stop := context.AfterFunc(ctx, func() { j.abort(Cancelled, context.Cause(ctx)) })
	defer stop()
	if o.Idle > 0 {
		defer WatchIdle(o.Idle, counts, func() { j.abort(Idle, ErrIdle) })()
	}

	var back sync.WaitGroup
	back.Go(func() { j.copy(&side{a, AAborted}, &side{b, BAborted}, &counts.Received, false) })
	j.copy(&side{a, AAborted}, &side{b, BAborted}, &counts.Sent, true)
	back.Wait()
	j.finish()

	j.mu.Lock()
	defer j.mu.Unlock()
	return Result{
		Sent: counts.Sent.Load(), Received: counts.Received.Load(), Duration: time.Since(start),
		Reason: j.reason, Err: j.err,
	}
}

// side is one end of a join and the reason to give if it is the one that breaks off.
type side struct {
	postern.Stream
	blame Reason
}

type join struct {
	a, b postern.Stream

	mu      sync.Mutex // guards what follows
	reason  Reason
	err     error
	aborted bool
	unread  []postern.Stream // sides that still send although nobody wants to read it
}

// bufferSize holds two TLS records; a copy per direction keeps one.
const bufferSize = 32 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// copy moves one direction: from a to b if forward, else from b to a.
func (j *join) copy(a, b *side, count *atomic.Int64, forward bool) {
	src, dst := a, b
	if !forward {
		src, dst = b, a
	}
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	for {
		n, err := src.Read(buf[:])
		if n > 0 {
			if _, werr := dst.Write(buf[:n]); werr != nil {
				j.writeFailed(src, dst, werr)
				return
			}
			count.Add(int64(n))
		}
		if err == io.EOF {
			// A failure here is seen by the copy of the other direction, if there is anything left to fail.
			_ = dst.CloseWrite()
			return
		}
		if err != nil {
			j.abort(src.blame, err)
			return
		}
	}
}

// writeFailed handles that dst takes no more bytes. The other direction may still carry an answer (a server that refuses a
// body early), so it runs to its end; if dst has broken off as a whole, its Read says so there.
func (j *join) writeFailed(src, dst *side, err error) {
	if errors.Is(err, syscall.ECONNRESET) {
		// Linux reports a reset once. The Read of the other direction could take what follows for a clean end.
		j.abort(dst.blame, err)
		return
	}
	if c, ok := src.Stream.(interface{ CloseRead() error }); ok {
		// It only tells the far end early; the Close that follows tells it anyway.
		_ = c.CloseRead()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.unread = append(j.unread, src.Stream)
	if j.reason == "" {
		j.reason, j.err = BStopped, err
	}
}

// abort ends both sides at once. The first reason counts. The lock is held throughout, so that finish, which the first broken side
// may already have woken, cannot close the other before it is broken too.
func (j *join) abort(why Reason, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.aborted {
		return
	}
	j.aborted, j.reason, j.err = true, why, err
	k := abortKind(err)
	j.a.Abort(k)
	j.b.Abort(k)
}

// abortKind is the kind to pass on for an error that broke a stream.
func abortKind(err error) postern.Kind {
	if k := postern.KindOf(err); k != postern.OK && k != postern.Internal {
		return k
	}
	return postern.Aborted
}

// lingerTime is how long a side that still sends is listened to before it is closed, so that its kernel does not turn
// unread bytes into a reset that eats the answer on its way.
const lingerTime = time.Second

func (j *join) finish() {
	j.mu.Lock()
	if j.reason == "" {
		j.reason = Done
	}
	unread, aborted := j.unread, j.aborted
	j.mu.Unlock()
	if !aborted {
		for _, s := range unread {
			linger(s)
		}
		ResetOnExit(j.a, false)
		ResetOnExit(j.b, false)
	}
	// Both directions are over; there is nothing left for Close to report.
	_ = j.a.Close()
	_ = j.b.Close()
}

func linger(s postern.Stream) {
	if s.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	for {
		if _, err := s.Read(buf[:]); err != nil {
			return
		}
	}
}
