package mux

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern"
)

// peer is a far end that a test plays by hand.
type peer struct {
	t      testing.TB
	road   net.Conn
	frames *frameReader
}

// playing returns a server and the peer that plays its far end, after both have greeted.
func playing(t testing.TB, opts Options) (*Conn, *peer) {
	t.Helper()
	near, far := tcpPair(t)
	opts.Server = true
	c := New(near, opts)
	t.Cleanup(func() {
		far.Close()
		_ = c.CloseWithError(postern.Draining, "the test is over")
	})
	p := &peer{t: t, road: far, frames: newFrameReader(far, &buffers{}, func() {})}
	p.send(appendSettings(nil, settings{maxStreams: 100, window: 1 << 20}))
	p.expect(typeSettings)
	return c, p
}

func (p *peer) send(wire ...[]byte) {
	p.t.Helper()
	for _, w := range wire {
		if _, err := p.road.Write(w); err != nil {
			p.t.Fatal(err)
		}
	}
}

// next returns the next frame, which must come within a few seconds.
func (p *peer) next() frame {
	p.t.Helper()
	if err := p.road.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		p.t.Fatal(err)
	}
	f, err := p.frames.next()
	if err != nil {
		p.t.Fatalf("waiting for a frame: %v", err)
	}
	return f
}

func (p *peer) expect(want frameType) frame {
	p.t.Helper()
	f := p.next()
	if f.typ != want {
		p.t.Fatalf("got a %v frame (%x), want %v", f.typ, f.payload, want)
	}
	return f
}

func data(stream uint32, s string) []byte {
	return append(appendHeader(nil, len(s), typeData, stream), s...)
}

func reset(stream uint32, k postern.Kind) []byte {
	return append(appendHeader(nil, 1, typeReset, stream), byte(k))
}

// Whoever breaks the rules is told so and loses its connection.
func TestViolationsEndTheConnection(t *testing.T) {
	open := appendOpen(nil, 1, 100, 100)
	for _, c := range []struct {
		name string
		wire []byte
		want string
	}{
		{"no mux at all", []byte("GET / HTTP/1.1\r\n\r\n"), "unknown type"},
		{"data on a stream that nobody opened", data(1, "x"), "stream 1, which nobody has opened"},
		{"data on a stream of ours that nobody opened", data(2, "x"), "stream 2, which nobody has opened"},
		{"opened twice", join(open, open), "stream 1 opened out of turn, the next is 3"},
		{"opened with a gap", appendOpen(nil, 5, 1, 1), "stream 5 opened out of turn"},
		{"opened with our number", appendOpen(nil, 2, 1, 1), "stream 2 opened out of turn"},
		{"too many streams", join(open, appendOpen(nil, 3, 1, 1), appendOpen(nil, 5, 1, 1)), "more than 2 streams"},
		{"a window that nobody granted", appendOpen(nil, 1, 1, 1<<31), "claims a window"},
		{"window overflow", join(open, data(1, strings.Repeat("x", 101))), "1 bytes more than its window"},
		{"data after FIN", join(open, appendNumber(nil, typeFin, 1, 0), data(1, "x")), "after its end"},
		{"FIN too early", join(open, data(1, "abc"), appendNumber(nil, typeFin, 1, 2)), "ended at 2, but 3"},
		{"FIN too late", join(open, data(1, "abc"), appendNumber(nil, typeFin, 1, 1<<63)), "but 3"},
		{"FIN twice", join(open, appendNumber(nil, typeFin, 1, 0), appendNumber(nil, typeFin, 1, 0)), "second end"},
		{"another version", []byte("\x00\x00\x0a\x08\x00\x00\x00\x00\x00\x02\x00\x00\x00\x02\x00\x04\x00\x00"), "speaks version 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, p := playing(t, Options{})
			p.send(c.wire)
			for {
				f := p.next()
				if f.typ != typeClose {
					continue
				}
				if reason := string(f.payload[1:]); !strings.Contains(reason, c.want) {
					t.Errorf("told %q, want %q in it", reason, c.want)
				}
				break
			}
			p.road.Close()
			_, err := conn.AcceptStream(t.Context())
			for err == nil {
				_, err = conn.AcceptStream(t.Context())
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("AcceptStream: %v, want %q in it", err, c.want)
			}
		})
	}
}

func join(wire ...[]byte) []byte {
	var all []byte
	for _, w := range wire {
		all = append(all, w...)
	}
	return all
}

func TestFramesBeforeSettingsAreRefused(t *testing.T) {
	near, far := tcpPair(t)
	conn := New(near, Options{Server: true})
	defer conn.CloseWithError(postern.Draining, "")
	p := &peer{t: t, road: far, frames: newFrameReader(far, &buffers{}, func() {})}
	defer far.Close()
	p.send(appendNumber(nil, typePing, 0, 1))
	f := p.next()
	if f.typ == typeSettings { // its own greeting may be under way already
		f = p.next()
	}
	if f.typ != typeClose || !strings.Contains(string(f.payload[1:]), "before SETTINGS") {
		t.Errorf("told %q", f.payload[1:])
	}
}

// Frames that cross with the end of their stream are normal, and do no harm.
func TestLateFramesAreDropped(t *testing.T) {
	_, p := playing(t, Options{})
	p.send(appendOpen(nil, 1, 100, 100), reset(1, postern.Aborted))
	p.send(data(1, "x"), appendNumber(nil, typeCredit, 1, 1000), appendNumber(nil, typeBlocked, 1, 0),
		appendHeader(nil, 0, typeStop, 1), appendNumber(nil, typeFin, 1, 1), reset(1, postern.Aborted))
	p.send(appendNumber(nil, typePing, 0, 42))
	if f := p.expect(typePong); f.payload[7] != 42 {
		t.Errorf("PONG with %x", f.payload)
	}
}

// A far end that opens and resets all the time leaves nothing behind, though nobody accepts.
func TestOpenAndResetLeavesNothingBehind(t *testing.T) {
	conn, p := playing(t, Options{MaxStreams: 10})
	for i := range uint32(5000) {
		p.send(appendOpen(nil, 2*i+1, 100, 100), reset(2*i+1, postern.Aborted))
	}
	p.send(appendNumber(nil, typePing, 0, 1))
	p.expect(typePong)
	conn.mu.Lock()
	defer conn.mu.Unlock()
	if len(conn.streams) != 0 || conn.remoteOpen != 0 || len(conn.backlog) > 10 {
		t.Errorf("%d streams, %d counted, %d to accept", len(conn.streams), conn.remoteOpen, len(conn.backlog))
	}
}

// The answer to STOP is the end of the direction, or the stream would never be freed.
func TestStopIsAnswered(t *testing.T) {
	conn, p := playing(t, Options{})
	p.send(appendOpen(nil, 1, 3, 100), data(1, "x"))
	s, err := conn.AcceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := s.Write([]byte("more than the three bytes of credit"))
		failed <- err
	}()
	if f := p.expect(typeData); string(f.payload) != "mor" {
		t.Errorf("sent %q", f.payload)
	}
	p.expect(typeBlocked)
	p.send(appendHeader(nil, 0, typeStop, 1))
	if f := p.expect(typeFin); f.payload[7] != 3 {
		t.Errorf("FIN at %x, want 3", f.payload)
	}
	if err := <-failed; postern.KindOf(err) != postern.Aborted || !strings.Contains(err.Error(), "does not read") {
		t.Errorf("Write: %v", err)
	}
	if err := s.CloseWrite(); err != nil {
		t.Errorf("CloseWrite: %v", err)
	}
}

// A road that ends is never a clean end, wherever it does.
func TestABrokenRoadIsNoCleanEnd(t *testing.T) {
	for name, tail := range map[string][]byte{
		"between frames": nil,
		"in a header":    {0, 0},
		"in a payload":   appendHeader(nil, 5, typeData, 1),
	} {
		t.Run(name, func(t *testing.T) {
			conn, p := playing(t, Options{})
			p.send(appendOpen(nil, 1, 100, 100), data(1, "abc"))
			s, err := conn.AcceptStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			p.send(tail)
			p.road.Close()
			if _, err := io.Copy(io.Discard, s); postern.KindOf(err) != postern.Aborted {
				t.Errorf("reading: %v, want Aborted", err)
			}
			if _, err := conn.AcceptStream(t.Context()); postern.KindOf(err) != postern.Aborted {
				t.Errorf("AcceptStream: %v, want Aborted", err)
			}
		})
	}
}

// What the far end said last counts, though it has closed the road and writes fail already.
func TestCloseIsFoundBehindAFailedWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		road := &deafRoad{Conn: near}
		conn := New(road, Options{Server: true})
		p := &peer{t: t, road: far, frames: newFrameReader(far, &buffers{}, func() {})}
		synctest.Wait() // the greeting has failed
		p.send(appendSettings(nil, settings{10, 10}), appendClose(nil, postern.Conflict, "somebody else came"))
		if _, err := conn.AcceptStream(t.Context()); postern.KindOf(err) != postern.Conflict {
			t.Errorf("AcceptStream: %v, want Conflict", err)
		}
		_ = conn.CloseWithError(postern.OK, "")
		far.Close()
	})
}

// deafRoad takes nothing.
type deafRoad struct{ net.Conn }

func (deafRoad) Write([]byte) (int, error) { return 0, os.ErrClosed }

func FuzzConn(f *testing.F) {
	f.Add(fewFrames())
	f.Add(join(appendSettings(nil, settings{3, 9}), appendOpen(nil, 1, 9, 9), data(1, "x"), reset(1, 3)))
	f.Add(join(appendSettings(nil, settings{3, 9}), appendOpen(nil, 1, 9, 9), appendHeader(nil, 0, typeStop, 1), appendNumber(nil, typeFin, 1, 0)))
	f.Fuzz(func(t *testing.T, wire []byte) {
		near, far := net.Pipe()
		conn := New(near, Options{Server: true, Window: 100, MaxWindow: 200, MaxQueued: 300})
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			_, _ = io.Copy(io.Discard, far)
		}()
		_, _ = far.Write(wire) // fails when the connection ended before
		conn.mu.Lock()
		if conn.queued < 0 || conn.queued > 300 || conn.grown < 0 || conn.grown > 150 {
			t.Errorf("%d bytes queued, windows grown by %d", conn.queued, conn.grown)
		}
		conn.mu.Unlock()
		far.Close()
		<-drained
		_ = conn.CloseWithError(postern.OK, "")
		if _, err := conn.AcceptStream(t.Context()); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("AcceptStream at the end: %v", err)
		}
		if len(conn.streams) != 0 {
			t.Errorf("%d streams are left", len(conn.streams))
		}
	})
}

// When our RESET crosses the far end's FIN, and that has our FIN already, the far end counts the stream as over and
// may open another one before it hears of the RESET.
func TestResetCrossingTheEndFreesTheStream(t *testing.T) {
	conn, p := playing(t, Options{MaxStreams: 1})
	p.send(appendOpen(nil, 1, 100, 100))
	accepted, err := conn.AcceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := accepted.(*Stream)
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	p.expect(typeFin)
	conn.mu.Lock()
	defer conn.mu.Unlock() // the writer waits for it, so RESET is not sent in between
	s.breakOff(postern.Denied, "")
	err = s.handle(frame{header: header{8, typeFin, 1}, payload: make([]byte, 8)})
	if err != nil || !s.over || conn.remoteOpen != 0 {
		t.Errorf("%v; over: %v, %d streams counted", err, s.over, conn.remoteOpen)
	}
}
