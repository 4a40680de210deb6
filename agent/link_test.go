package agent

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/backoff"
	"github.com/postern-dev/postern/session"
)

// echo opens the selftest's echo through a session.
func echo(t *testing.T, s *session.Session) postern.Stream {
	t.Helper()
	stream, err := s.Open(t.Context(), &postern.Request{Target: postern.Target{Network: postern.Service, Host: "selftest"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stream.Close() })
	talk(t, stream, "echo\n", "")
	return stream
}

// talk writes and wants to read.
func talk(t *testing.T, stream postern.Stream, send, want string) {
	t.Helper()
	if _, err := io.WriteString(stream, send); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(stream, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

func TestAnAgentComesBackWhenItsSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := newFakeRelay(t)
		start(t, relay, configure(), Options{})
		first := relay.next()
		talk(t, echo(t, first), "hello", "hello")
		ended := time.Now()
		first.Close(postern.Aborted, "the road broke")
		second := relay.next()
		// The first wait of an outage is at most half a second.
		if took := time.Since(ended); took == 0 || took > 500*time.Millisecond {
			t.Errorf("it came back after %v", took)
		}
		talk(t, echo(t, second), "hello again", "hello again")
	})
}

func TestAnAgentMovesAtOnceAndFinishesWhatItHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := newFakeRelay(t)
		start(t, relay, configure(), Options{})
		first := relay.next()
		old := echo(t, first)
		asked := time.Now()
		drained := make(chan error, 1)
		relay.running.Go(func() { drained <- first.Drain(relay.ctx, "going away") })
		second := relay.next()
		if took := time.Since(asked); took != 0 {
			t.Errorf("it moved after %v, want at once", took)
		}
		talk(t, echo(t, second), "on the new one", "on the new one")
		talk(t, old, "on the old one", "on the old one")
		if err := old.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(old); err != nil || len(rest) != 0 {
			t.Errorf("the old stream ended with %q, %v", rest, err)
		}
		_ = old.Close() // it has ended
		if err := <-drained; err != nil {
			t.Errorf("draining the first session: %v", err)
		}
	})
}

func TestAnAgentThatWasReplacedWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := newFakeRelay(t)
		start(t, relay, configure(), Options{})
		replaced := time.Now()
		relay.next().Close(postern.Conflict, "a newer session of the same credential took over")
		relay.next()
		if took := time.Since(replaced); took != afterReplaced {
			t.Errorf("it came back after %v, want %v: two agents would throw each other out for ever", took, afterReplaced)
		}
	})
}

func TestTheRelaysAreTriedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := newFakeRelay(t)
		relay.silent = "away:4242"
		cfg := configure()
		cfg.Relay = []string{"away:4242", "relay:4242"}
		start(t, relay, cfg, Options{})
		relay.next()
		if diff := cmp.Diff(cfg.Relay, relay.dialled()); diff != "" {
			t.Errorf("dialled (-want +got):\n%s", diff)
		}
	})
}

func TestTheReadyFileSaysWhichSessionsAreUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := newFakeRelay(t)
		cfg := configure()
		cfg.ReadyFile = readyPath(t)
		start(t, relay, cfg, Options{})
		for range 2 {
			s := relay.next()
			wantReady(t, cfg.ReadyFile, fmt.Sprintf(`{"relays":[{"address":"relay:4242","transport":"fake","session":%q}]}`, s.ID()))
			s.Close(postern.Aborted, "the road broke")
			synctest.Wait()
			wantReady(t, cfg.ReadyFile, `{"relays":[]}`)
		}
	})
}

func wantReady(t *testing.T, file, want string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got, wanted any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("the ready file (-want +got):\n%s", diff)
	}
}

func TestAStoppedAgentLetsStreamsFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := newFakeRelay(t)
		cfg := configure()
		cfg.Grace = time.Minute
		stop := start(t, relay, cfg, Options{})
		s := relay.next()
		stream := echo(t, s)
		ran := make(chan error, 1)
		relay.running.Go(func() { ran <- stop() })
		synctest.Wait()
		if _, err := s.Open(t.Context(), &postern.Request{Target: postern.Target{Network: postern.Service, Host: "selftest"}}); postern.KindOf(err) != postern.Draining {
			t.Errorf("a new stream of an agent that stops: %v, want draining", err)
		}
		talk(t, stream, "still here", "still here")
		if err := stream.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(ran) > 0 {
			t.Error("the agent has ended while the relay has yet to pass on what it got")
		}
		if _, err := io.ReadAll(stream); err != nil {
			t.Errorf("the stream did not end well: %v", err)
		}
		_ = stream.Close() // it has ended
		began := time.Now()
		if err := <-ran; err != nil || time.Since(began) > time.Second {
			t.Errorf("Run returned %v, %v after the last stream", err, time.Since(began))
		}
	})
}

func TestTheGraceOfAStoppedAgentEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := newFakeRelay(t)
		cfg := configure()
		cfg.Grace = time.Minute
		stop := start(t, relay, cfg, Options{})
		stream := echo(t, relay.next())
		began := time.Now()
		if err := stop(); err != nil {
			t.Errorf("Run returned %v", err)
		}
		if took := time.Since(began); took != cfg.Grace {
			t.Errorf("it ended after %v, want the grace period of %v", took, cfg.Grace)
		}
		if _, err := io.ReadAll(stream); err == nil {
			t.Error("a stream that was cut has ended cleanly")
		}
	})
}

func TestAnOutageIsRiddenOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := newFakeRelay(t)
		start(t, relay, configure(), Options{})
		first := relay.next()
		// Whatever the relay answers after a session that has served, a restart of it or a new token may change that.
		for _, k := range []postern.Kind{postern.Unauthenticated, postern.Denied, postern.BadCommand, postern.Conflict, postern.Overloaded} {
			relay.refuse(postern.Errorf(k, postern.HopRelay, "not now"))
			first.Close(postern.Aborted, "the road broke")
			if !backoff.Sleep(t.Context(), 10*time.Minute) {
				t.Fatal("the test is over")
			}
		}
		relay.refuse(nil)
		relay.next()
		if n := len(relay.dialled()); n < 50*60/30 {
			t.Errorf("%d tries in 50 minutes", n)
		}
	})
}
