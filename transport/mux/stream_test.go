package mux

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern"
)

func contextWithTimeout(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

// pair opens a stream from one Conn to the other.
func pair(t *testing.T, from, to *Conn) (near, far *Stream) {
	t.Helper()
	a, err := from.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write([]byte{'!'}); err != nil {
		t.Fatal(err)
	}
	b, err := to.AcceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(b, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return a.(*Stream), b.(*Stream)
}

// conns returns the two ends of a Conn with the given options, in a bubble.
func conns(t *testing.T, opts Options) (relay, agent *Conn) {
	t.Helper()
	near, far := net.Pipe()
	opts.Server = true
	relay = New(near, opts)
	opts.Server = false
	agent = New(far, opts)
	t.Cleanup(func() { end(relay, agent) })
	return relay, agent
}

func TestAWindowIsAllThatIsQueuedForAStalledReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay, agent := conns(t, Options{Window: 1000, MaxWindow: 1000})
		near, far := pair(t, relay, agent)
		done := make(chan error, 1)
		go func() {
			_, err := near.Write(make([]byte, 5000))
			done <- err
		}()
		synctest.Wait()
		if got := agent.queuedNow(); got < 1000-1 || got > 1000 {
			t.Errorf("%d bytes are queued, want the window", got)
		}
		if _, err := io.ReadFull(far, make([]byte, 5000)); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func (c *Conn) queuedNow() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queued
}

func (s *Stream) windowNow() int {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.window
}

func TestTheWindowGrowsForAReaderThatKeepsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay, agent := conns(t, Options{Window: 1000, MaxWindow: 5000})
		near, far := pair(t, relay, agent)
		go func() { _, _ = io.Copy(io.Discard, far) }()
		if _, err := near.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := far.windowNow(); got != 5000 {
			t.Errorf("the window is %d, want its maximum", got)
		}
		if err := errors.Join(near.Close(), far.Close()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if agent.grown != 0 {
			t.Errorf("windows are still counted as grown by %d", agent.grown)
		}
	})
}

func TestTheWindowDoesNotGrowForASlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay, agent := conns(t, Options{Window: 1000, MaxWindow: 5000})
		near, far := pair(t, relay, agent)
		go func() { _, _ = near.Write(make([]byte, 20_000)) }()
		for range 150 {
			synctest.Wait()
			if _, err := io.ReadFull(far, make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
		}
		if got := far.windowNow(); got != 1000 {
			t.Errorf("the window is %d, want what it was", got)
		}
	})
}

// The bound on all streams together costs those who do not read, and nobody else.
func TestQueuedBytesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bound = 10_000
		relay, agent := conns(t, Options{Window: 1000, MaxWindow: 1000, MaxQueued: bound, MaxStreams: 100})
		for range 40 {
			near, _ := pair(t, relay, agent)
			go func() { _, _ = near.Write(make([]byte, 5000)) }()
			synctest.Wait()
			if got := agent.queuedNow(); got > bound {
				t.Fatalf("%d bytes are queued", got)
			}
		}
		near, far := pair(t, relay, agent)
		go func() {
			_, _ = near.Write(make([]byte, 50_000))
			_ = near.CloseWrite()
		}()
		if n, err := io.Copy(io.Discard, far); n != 50_000 || err != nil {
			t.Errorf("the stream that is read got %d bytes, %v", n, err)
		}
	})
}

func TestManyStreamsStartWithLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay, agent := conns(t, Options{MaxStreams: 1000})
		var streams []*Stream
		for range 300 {
			near, far := pair(t, relay, agent)
			streams = append(streams, near, far)
		}
		synctest.Wait()
		if got, want := relay.remote.window, uint32(leastWindow); got != want {
			t.Errorf("with 300 streams a new one may send %d bytes, want %d", got, want)
		}
		for _, s := range streams {
			_ = s.Close()
		}
		synctest.Wait()
		if got, want := relay.remote.window, uint32(defaultWindow); got != want {
			t.Errorf("without streams a new one may send %d bytes, want %d", got, want)
		}
	})
}

// Small frames overtake bulk, within their share of a flush; bulk goes in turn.
func TestInteractiveGoesBeforeBulk(t *testing.T) {
	c := &Conn{opts: Options{}.withDefaults(&net.TCPConn{}), streams: map[uint32]*Stream{}}
	c.workCond.L = &c.mu
	add := func(id uint32, size int) {
		s := newStream(c, false, 0, 1<<30)
		s.id, s.pending = id, make([]byte, size)
		c.streams[id] = s
		s.offer()
	}
	add(1, 1<<20)
	add(3, 1<<20)
	for id := uint32(5); id < 105; id += 2 {
		add(id, 1000)
	}
	wire := c.fill(make([]byte, 0, flushMost))
	order := streamsOf(t, wire)
	small := 0
	for small < len(order) && order[small] >= 5 {
		small++
	}
	if small < 30 || small > 34 {
		t.Errorf("%d small frames go first, want what fits in %d bytes", small, urgentMost)
	}
	if rest := order[small:]; len(rest) != 2 || rest[0] != 1 || rest[1] != 3 {
		t.Errorf("then go streams %v, want 1 and 3", rest)
	}
	if cap(wire) != flushMost || len(wire) < flushMost-bulkLeast {
		t.Errorf("the flush has %d bytes", len(wire))
	}
	if second := streamsOf(t, c.fill(make([]byte, 0, flushMost))); second[0] < 5 || second[len(second)-1] > 3 {
		t.Errorf("the second flush is of streams %v", second)
	}
}

func streamsOf(t *testing.T, wire []byte) []uint32 {
	t.Helper()
	var ids []uint32
	frames := newFrameReader(bytes.NewReader(wire), &buffers{}, func() {})
	for {
		f, err := frames.next()
		if err == io.EOF {
			return ids
		}
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, f.stream)
	}
}

func TestReadFromAndWriteTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay, agent := conns(t, Options{})
		near, far := pair(t, relay, agent)
		want := []byte(strings.Repeat("all of it, in order. ", 50_000))
		go func() {
			if n, err := near.ReadFrom(iotest.HalfReader(bytes.NewReader(want))); n != int64(len(want)) || err != nil {
				t.Errorf("ReadFrom: %d, %v", n, err)
			}
			_ = near.CloseWrite()
		}()
		var got bytes.Buffer
		if n, err := far.WriteTo(&got); n != int64(len(want)) || err != nil {
			t.Errorf("WriteTo: %d, %v", n, err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Error("something else arrived")
		}
	})
}

var errBroken = errors.New("broken")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestReadFromAndWriteToReturnTheOtherSidesError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay, agent := conns(t, Options{})
		near, far := pair(t, relay, agent)
		if _, err := near.ReadFrom(io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(errBroken))); err != errBroken {
			t.Errorf("ReadFrom: %v", err)
		}
		if _, err := far.WriteTo(brokenWriter{}); err != errBroken {
			t.Errorf("WriteTo: %v", err)
		}
		near.Abort(postern.Denied)
		if _, err := far.WriteTo(io.Discard); postern.KindOf(err) != postern.Denied {
			t.Errorf("WriteTo after Abort: %v", err)
		}
	})
}

// Credit is for what the destination has taken, not for what was copied somewhere.
func TestWriteToHoldsTheFarEndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay, agent := conns(t, Options{Window: 1000, MaxWindow: 1000})
		near, far := pair(t, relay, agent)
		r, w := io.Pipe()
		copied := make(chan struct{})
		go func() {
			defer close(copied)
			_, _ = far.WriteTo(w)
		}()
		go func() { _, _ = near.Write(make([]byte, 10_000)) }()
		synctest.Wait()
		relay.mu.Lock()
		if near.sent > 1001 {
			t.Errorf("%d bytes are on their way to a destination that takes none", near.sent)
		}
		relay.mu.Unlock()
		r.Close()
		<-copied
	})
}

func TestAnAbortedStreamThatWasNeverSentIsNotSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay, agent := conns(t, Options{MaxStreams: 1})
		for range 3 {
			s, err := relay.OpenStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s.Abort(postern.Denied)
		}
		pair(t, relay, agent)
		if agent.remoteOpen != 1 || len(agent.backlog) != 0 {
			t.Errorf("the far end has %d streams", agent.remoteOpen)
		}
	})
}

// A stream that ended before anybody accepted it is handed out with its bytes, or with its failure.
func TestStreamsThatEndBeforeTheyAreAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay, agent := conns(t, Options{MaxStreams: 10})
		for _, finish := range []func(postern.Stream){
			func(s postern.Stream) { _ = s.Close() },
			func(s postern.Stream) { s.Abort(postern.Conflict) },
		} {
			s, err := relay.OpenStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Write([]byte("abc")); err != nil {
				t.Fatal(err)
			}
			finish(s)
		}
		synctest.Wait()
		closed, err := agent.AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(closed); string(got) != "abc" || err != nil {
			t.Errorf("the closed one: %q, %v", got, err)
		}
		aborted, err := agent.AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(aborted); postern.KindOf(err) != postern.Conflict {
			t.Errorf("the aborted one: %v", err)
		}
	})
}
