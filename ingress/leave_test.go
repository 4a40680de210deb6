package ingress_test

import (
	"context"
	"crypto/tls"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/internal/testnet"
)

// awaitedLine is oneLine whose clients wait for the answer.
type awaitedLine struct{ oneLine }

func (a awaitedLine) Handshake(ctx context.Context, c *ingress.Conn, env *ingress.Server) (ingress.Call, error) {
	call, err := a.oneLine.Handshake(ctx, c, env)
	if err != nil {
		return nil, err
	}
	return awaitedCall{call.(*oneCall)}, nil
}

type awaitedCall struct{ *oneCall }

func (awaitedCall) AwaitsAnswer() {}

// slow is an opener that takes its time, and tells how long it was left to.
type slow struct {
	takes time.Duration
	took  chan time.Duration
	why   error
}

func (s *slow) Open(ctx context.Context, req *postern.Request) (postern.Stream, error) {
	start := time.Now()
	defer func() { s.took <- time.Since(start) }()
	select {
	case <-ctx.Done():
		s.why = context.Cause(ctx)
		return nil, ctx.Err()
	case <-time.After(s.takes):
		return openEcho(ctx, req)
	}
}

// TestClientsThatLeaveEndTheirOpen: what the client does after its call, and for how long its open lasts, which would take ten seconds.
func TestClientsThatLeaveEndTheirOpen(t *testing.T) {
	for name, tt := range map[string]struct {
		protocol ingress.Protocol
		does     func(c postern.Stream)
		want     time.Duration
	}{
		"a reset":                            {oneLine{}, func(c postern.Stream) { c.Abort(postern.Aborted) }, 3 * time.Second},
		"a reset after early bytes":          {oneLine{}, func(c postern.Stream) { io.WriteString(c, "early"); c.Abort(postern.Aborted) }, 3 * time.Second},
		"a close where an answer is awaited": {awaitedLine{}, func(c postern.Stream) { c.Close() }, 5 * time.Second},
		"an end where an answer is awaited":  {awaitedLine{}, func(c postern.Stream) { c.CloseWrite() }, 5 * time.Second},
		"an end where none is awaited":       {oneLine{}, func(c postern.Stream) { c.CloseWrite() }, 10 * time.Second},
		"an end after early bytes":           {awaitedLine{}, func(c postern.Stream) { io.WriteString(c, "early"); c.CloseWrite() }, 10 * time.Second},
		"patience":                           {awaitedLine{}, func(postern.Stream) {}, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer()
				opener := &slow{takes: 10 * time.Second, took: make(chan time.Duration, 1)}
				s.Opener, s.Protocol = opener, tt.protocol
				c := serve(t, s)
				io.WriteString(c, "nas secret\n")
				time.Sleep(3 * time.Second)
				tt.does(c)
				if took := <-opener.took; took != tt.want {
					t.Errorf("the open lasted %v (%v), want %v", took, opener.why, tt.want)
				}
				if tt.want != 10*time.Second && postern.KindOf(opener.why) != postern.Aborted {
					t.Errorf("it ended because of %v", opener.why)
				}
			})
		})
	}
}

// TestWhatIsSentWhileTheTargetIsConnectedArrives, however much it is and whenever it comes.
func TestWhatIsSentWhileTheTargetIsConnectedArrives(t *testing.T) {
	for name, pieces := range map[string][]string{
		"nothing":                        nil,
		"a piece":                        {"early"},
		"many pieces":                    strings.SplitAfter(strings.Repeat("some early bytes ", 100), " "),
		"more than is read ahead":        {strings.Repeat("x", 5000), strings.Repeat("y", 70000)},
		"exactly what is read ahead":     {strings.Repeat("x", 4096)},
		"one byte less, and then one":    {strings.Repeat("x", 4095), "y"},
		"some with the call, some later": {"", "later"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer()
				opener := &slow{takes: 5 * time.Second, took: make(chan time.Duration, 1)}
				s.Opener, s.Protocol = opener, awaitedLine{}
				c := serve(t, s)
				io.WriteString(c, "nas secret\nfirst")
				for _, p := range pieces {
					time.Sleep(7 * time.Millisecond)
					io.WriteString(c, p)
				}
				time.Sleep(10 * time.Second)
				io.WriteString(c, "last")
				c.CloseWrite()
				got, err := io.ReadAll(c)
				if want := "ok\nfirst" + strings.Join(pieces, "") + "last"; string(got) != want || err != nil {
					t.Errorf("read %d bytes, %v; want %d", len(got), err, len(want))
				}
			})
		})
	}
}

func TestLeavingIsNoticedUnderTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		serverTLS, clientTLS := testnet.TLS(t)
		opener := &slow{takes: 10 * time.Second, took: make(chan time.Duration, 1)}
		s.Opener, s.Protocol, s.TLS = opener, awaitedLine{}, serverTLS
		near := serve(t, s)
		c := tls.Client(near, clientTLS)
		if _, err := io.WriteString(c, "nas secret\n"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if err := near.Close(); err != nil {
			t.Fatal(err)
		}
		if took := <-opener.took; took != 5*time.Second {
			t.Errorf("the open lasted %v", took)
		}
	})
}
