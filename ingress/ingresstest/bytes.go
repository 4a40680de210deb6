package ingresstest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/postern-dev/postern/ingress"
)

// How often what depends on timing is tried.
const (
	halfCloses = 100
	segments   = 200
)

func replyAfterClientsHalfClose(t *testing.T, h Harness) {
	w := start(t, h, nil)
	for i := range halfCloses {
		question := fmt.Sprintf("question %d", i)
		c, target := w.connect([]byte(question))
		w.must("half-closing", c.CloseWrite())
		w.expect(target, question)
		w.expectEnd(target)
		w.write(target, []byte("answer"))
		w.must("closing", target.Close())
		w.expect(c, "answer")
		w.expectEnd(c)
		w.must("closing", c.Close())
	}
}

func sendingAfterTargetsHalfClose(t *testing.T, h Harness) {
	w := start(t, h, nil)
	for range halfCloses {
		c, target := w.connect(nil)
		w.write(target, []byte("that is all from me"))
		w.must("half-closing", target.CloseWrite())
		w.expect(c, "that is all from me")
		w.expectEnd(c)
		w.write(c, []byte("but there is more from me"))
		w.must("closing", c.Close())
		w.expect(target, "but there is more from me")
		w.expectEnd(target)
		w.must("closing", target.Close())
	}
}

func earlyBytesArrive(t *testing.T, h Harness) {
	w := start(t, h, nil)
	for i := range segments {
		// Some are larger than any read-ahead.
		early := fmt.Sprintf("early %d %s", i, bytes.Repeat([]byte{'x'}, i*i%20000))
		c, target := w.connect([]byte(early))
		w.expect(target, early)
		w.write(c, []byte("late"))
		w.expect(target, "late")
		w.must("closing", c.Close())
		w.expectEnd(target)
		w.must("closing", target.Close())
	}
}

func bannerArrives(t *testing.T, h Harness) {
	w := start(t, h, nil)
	for i := range segments {
		banner := fmt.Sprintf("220 banner %d\r\n", i)
		c := w.dial(nil)
		target := w.target()
		w.write(target, []byte(banner))
		w.must("reading the reply", h.Reply(c.r))
		w.expect(c, banner)
		w.must("closing", target.Close())
		w.expectEnd(c)
		w.must("closing", c.Close())
	}
}

func targetsResetIsNoEnd(t *testing.T, h Harness) {
	w := start(t, h, nil)
	c, target := w.connect(nil)
	w.write(target, []byte("half an ans"))
	w.expect(c, "half an ans")
	reset(w, target)
	w.expectFailure(c)
}

func clientsResetIsNoEnd(t *testing.T, h Harness) {
	w := start(t, h, nil)
	c, target := w.connect(nil)
	w.write(c, []byte("half a quest"))
	w.expect(target, "half a quest")
	reset(w, c.TCPConn)
	w.expectFailure(target)
}

func reset(w *world, c *net.TCPConn) {
	w.must("setting linger", c.SetLinger(0))
	w.must("resetting", c.Close())
}

func megabytesBothWays(t *testing.T, h Harness) {
	w := start(t, h, func(s *ingress.Server) { s.Grace = patience })
	c, target := w.connect(nil)
	const size = 8 << 20
	var both sync.WaitGroup
	for _, way := range []struct {
		from halfCloser
		to   io.Reader
		fill byte
	}{{c, target, 'a'}, {target, c, 'b'}} {
		both.Go(func() {
			_, err := way.from.Write(bytes.Repeat([]byte{way.fill}, size))
			if err == nil {
				err = way.from.CloseWrite()
			}
			if err != nil {
				t.Errorf("sending: %v", err)
			}
		})
		both.Go(func() {
			got, err := io.ReadAll(way.to)
			if err != nil || len(got) != size || bytes.Count(got, []byte{way.fill}) != size {
				t.Errorf("received %d bytes, %v; want %d of %q", len(got), err, size, way.fill)
			}
		})
	}
	both.Wait()
}

type halfCloser interface {
	io.Writer
	CloseWrite() error
}
