// Package transporttest is the contract of package transport as a test. Whoever writes a transport calls
//
//	func TestContract(t *testing.T) {
//		transporttest.RunListener(t, transport.Maker{Network: "tcp", Listen: tls.Listen, Dial: tls.Dialer})
//	}
//
// which runs everything over sockets on loopback: connections, and what listeners and dialers have to do besides. Run tests
// connections alone, for a mux over some road that a test makes itself.
// Every wait is bounded, so that a broken transport fails a test by name and hangs none.
package transporttest

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/transport"
)

// patience bounds a case that names no limit of its own. It is generous: the suite also runs under -race on busy machines.
const patience = 30 * time.Second

// endCase is a case of Run. The conns are closed after it.
type endCase struct {
	name string
	run  func(t *testing.T, ctx context.Context, relay, agent transport.Conn)
}

// Run tests connections. newPair returns the two ends of a new one: relay, which is the listening side and lets the far end have
// 2 streams open at once, and agent, which dialled and allows transport.DefaultMaxStreams. What else newPair started it ends in
// t.Cleanup; it runs before each case, which also checks that no goroutine is left behind. Cases run one after the other.
func Run(t *testing.T, newPair func(t *testing.T) (relay, agent transport.Conn)) {
	for _, c := range endCases() {
		t.Run(c.name, func(t *testing.T) {
			checkLeaks(t)
			relay, agent := newPair(t)
			t.Cleanup(func() { closeBoth(t, relay, agent) })
			bounded(t, func(ctx context.Context) {
				// What waits for ever is woken, so that the case can say what it was.
				stop := context.AfterFunc(ctx, func() { closeBoth(t, relay, agent) })
				defer stop()
				c.run(t, ctx, relay, agent)
			})
		})
	}
	t.Run("CloseWithErrorOfEachKind", func(t *testing.T) { closeWithErrorOfEachKind(t, newPair) })
	t.Run("CloseWithErrorAfterFIN", func(t *testing.T) { closeWithErrorAfterFIN(t, newPair) })
	t.Run("CloseWithErrorWhileOpening", func(t *testing.T) { closeWithErrorWhileOpening(t, newPair) })
}

func endCases() []endCase {
	return []endCase{
		{"Info", info},
		{"OpenAndAcceptInOrder", openAndAcceptInOrder},
		{"EchoOneByte", echoOf(1)},
		{"EchoTenMegabytes", echoOf(10 << 20)},
		{"HalfCloseByRelay", halfCloseByRelay},
		{"HalfCloseByAgent", halfCloseByAgent},
		{"EarlyBytes", earlyBytes},
		{"ServerFirst", serverFirst},
		{"AbortByRelay", abortByRelay},
		{"AbortByAgent", abortByAgent},
		{"AbortAfterCloseWrite", abortAfterCloseWrite},
		{"AbortAfterCloseIsNothing", abortAfterClose},
		{"CloseWithErrorInMidTransfer", closeWithErrorInMidTransfer},
		{"ReadDeadline", readDeadline},
		{"WriteDeadline", writeDeadline},
		{"DeadlineInThePast", deadlineInThePast},
		{"DeadlineWakesAReader", deadlineWakesAReader},
		{"CloseDeliversWhatWasWritten", closeDelivers},
		{"CloseMakesTheFarWriterFail", closeStopsWriter},
		{"CloseTwice", closeTwice},
		{"CloseWhileReading", closeWhileReading},
		{"CloseWhileWriting", closeWhileWriting},
		{"CloseWriteWhileWriting", closeWriteWhileWriting},
		{"ThousandStreamsAtOnce", thousandStreams},
		{"StreamLimit", streamLimit},
		{"StalledReadersAtRelay", stalledReadersAtRelay},
		{"StalledReadersAtAgent", stalledReadersAtAgent},
		{"ManyShortStreams", manyShortStreams},
		{"ShortStreamsWithinALimit", shortStreamsWithinLimit},
		{"CancelledAccept", cancelledAccept},
		{"OpenAfterClose", openAfterClose},
		{"LongReason", longReason},
	}
}

// checkLeaks fails t if goroutines are left when everything registered with t.Cleanup after this call is done.
func checkLeaks(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		if !t.Failed() { // a failed case has enough to say, and may well hang in something
			goleak.VerifyNone(t, before)
		}
	})
}

// bounded runs body and fails t when it does not return in time. body may end by t.Fatal.
func bounded(t *testing.T, body func(ctx context.Context)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done) // also when body calls t.Fatal
		body(ctx)
	}()
	late := time.NewTimer(patience + 5*time.Second)
	defer late.Stop()
	select {
	case <-done:
		// What waited too long may have been woken by the end of the conns, and find nothing wrong with that.
		if ctx.Err() != nil && !t.Failed() {
			t.Errorf("the case took more than %v: something waited until the conns were closed", patience)
		}
	case <-late.C:
		t.Fatalf("the case has not ended after %v: something waits for ever", patience)
	}
}

// closeBoth closes both conns in bounded time.
func closeBoth(t *testing.T, relay, agent transport.Conn) {
	t.Helper()
	done := make(chan error, 2)
	for _, c := range []transport.Conn{relay, agent} {
		go func() { done <- c.CloseWithError(postern.Draining, "the case is over") }()
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	for range 2 {
		select {
		case err := <-done:
			if err != nil && !t.Failed() {
				t.Errorf("CloseWithError: %v", err)
			}
		case <-late.C:
			t.Errorf("CloseWithError has not returned after %v", patience)
			return
		}
	}
}
