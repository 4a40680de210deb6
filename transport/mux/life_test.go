package mux

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/transport"
)

func TestASilentFarEndIsDeadAfterEightSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, far) }() // reads, says nothing
		begin := time.Now()
		conn := New(near, Options{})
		_, err := conn.AcceptStream(t.Context())
		if postern.KindOf(err) != postern.Timeout {
			t.Errorf("AcceptStream: %v, want Timeout", err)
		}
		if took := time.Since(begin); took != transport.DeadAfter {
			t.Errorf("dead after %v, want %v", took, transport.DeadAfter)
		}
		far.Close()
		_ = conn.CloseWithError(postern.OK, "")
	})
}

func TestAFarEndThatReadsNothingEither(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		conn := New(near, Options{})
		if _, err := conn.AcceptStream(t.Context()); postern.KindOf(err) != postern.Timeout {
			t.Errorf("AcceptStream: %v, want Timeout", err)
		}
		far.Close()
		_ = conn.CloseWithError(postern.OK, "")
	})
}

func TestAnIdleConnectionLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay, agent := over(net.Pipe())
		time.Sleep(time.Hour) // the bubble's clock
		near, far := pair(t, relay, agent)
		if err := errors.Join(near.Close(), far.Close()); err != nil {
			t.Error(err)
		}
		end(relay, agent)
	})
}

func TestAProbeIsSentAfterFourSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		begin := time.Now()
		conn := New(near, Options{})
		frames := newFrameReader(far, &buffers{}, func() {})
		for _, want := range []struct {
			typ frameType
			at  time.Duration
		}{{typeSettings, 0}, {typePing, transport.ProbeAfter}} {
			f, err := frames.next()
			if err != nil || f.typ != want.typ || time.Since(begin) != want.at {
				t.Errorf("got %v after %v (%v), want %v after %v", f.typ, time.Since(begin), err, want.typ, want.at)
			}
		}
		far.Close()
		_ = conn.CloseWithError(postern.OK, "")
	})
}

// A far end that talks and takes nothing holds writers, but not for ever.
func TestAFarEndThatOnlyTalks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		begin := time.Now()
		conn := New(near, Options{})
		stop := make(chan struct{})
		talk := make(chan struct{})
		go func() {
			defer close(talk)
			_, _ = far.Write(appendSettings(nil, settings{1, 1}))
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Second):
					_, _ = far.Write(appendNumber(nil, typePong, 0, 0))
				}
			}
		}()
		_, err := conn.AcceptStream(t.Context())
		if took := time.Since(begin); postern.KindOf(err) != postern.Timeout || took < flushLimit || took > flushLimit+transport.DeadAfter {
			t.Errorf("AcceptStream: %v after %v", err, took)
		}
		far.Close()
		close(stop)
		<-talk
		_ = conn.CloseWithError(postern.OK, "")
	})
}

func TestCloseWithErrorDoesNotWaitForADeafFarEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		conn := New(near, Options{})
		begin := time.Now()
		if err := conn.CloseWithError(postern.Draining, "bye"); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != closeWait {
			t.Errorf("took %v, want %v", took, closeWait)
		}
	})
}

func TestCloseWithErrorTakesNoTimeWhenTheFarEndListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay, agent := over(net.Pipe())
		begin := time.Now()
		_ = relay.CloseWithError(postern.Conflict, "another came")
		_ = agent.CloseWithError(postern.Internal, "not the first")
		if took := time.Since(begin); took != 0 {
			t.Errorf("took %v", took)
		}
		_, err := agent.OpenStream(t.Context())
		if e, ok := errors.AsType[*postern.Error](err); !ok || e.Kind != postern.Conflict || e.Detail != "another came" {
			t.Errorf("the far end hears %v", err)
		}
	})
}

func TestBothEndsCloseAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay, agent := over(net.Pipe())
		begin := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = relay.CloseWithError(postern.Conflict, "")
		}()
		_ = agent.CloseWithError(postern.Draining, "")
		<-done
		if took := time.Since(begin); took > closeWait {
			t.Errorf("took %v", took)
		}
	})
}

// A deadline is kept even when the road is jammed, and so are Close and Abort.
func TestAJammedRoadDoesNotHoldADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		conn := New(near, Options{})
		p := &peer{t: t, road: far, frames: newFrameReader(far, &buffers{}, func() {})}
		p.send(appendSettings(nil, settings{10, 1000}))
		p.expect(typeSettings)
		s, err := conn.OpenStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = s.SetWriteDeadline(time.Now().Add(time.Second))
		begin := time.Now()
		// The first write is in a flush that never ends, the second waits behind it.
		_, _ = s.Write([]byte("one"))
		if _, err := s.Write([]byte("two")); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != time.Second {
			t.Errorf("Write: %v after %v", err, time.Since(begin))
		}
		s.Abort(postern.Timeout)
		if _, err := s.Read(make([]byte, 1)); postern.KindOf(err) != postern.Timeout {
			t.Errorf("Read after Abort: %v", err)
		}
		far.Close()
		_ = conn.CloseWithError(postern.OK, "")
	})
}

func TestOpenStreamNeedsAGreeting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		conn := New(near, Options{})
		ctx, cancel := contextWithTimeout(t, time.Second)
		defer cancel()
		if _, err := conn.OpenStream(ctx); postern.KindOf(err) != postern.Timeout {
			t.Errorf("OpenStream: %v, want Timeout", err)
		}
		far.Close()
		_ = conn.CloseWithError(postern.OK, "")
	})
}

// end closes both ends.
func end(a, b *Conn) {
	_ = a.CloseWithError(postern.Draining, "the test is over")
	_ = b.CloseWithError(postern.Draining, "the test is over")
}
