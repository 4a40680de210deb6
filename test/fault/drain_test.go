//go:build linux

package fault

import (
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/postern-dev/postern/test/rig"
)

// TestDrain ends either side with SIGTERM in the middle of a download, which must come to its end.
func TestDrain(t *testing.T) {
	web := rig.Web(t)
	const whole, rate = 48 << 20, 12 << 20
	hash := rig.DataHash(t, whole)
	for _, side := range []string{"relay", "agent"} {
		t.Run(side, func(t *testing.T) {
			overEachTransport(t, func(t *testing.T, transport string) {
				b := newBed(t, transport)
				tunnel := b.startDownload(t, "-p", slowPage(web.URL, whole, rate, "&length=no"))
				forwarded := b.startDownload(t, slowPage(web.URL, whole, rate, ""))
				process := b.relay.Process
				if side == "agent" {
					process = b.agent.Process
				}
				process.Signal(syscall.SIGTERM)
				for way, d := range map[string]*download{"CONNECT": tunnel, "absolute form": forwarded} {
					if code := d.Exit(40 * time.Second); code != 0 {
						t.Errorf("%s: curl ended with %d after %d of %d bytes: %s", way, code, d.size(), whole, d.Output())
					} else if got := rig.FileHash(t, d.file); got != hash {
						t.Errorf("%s: the hash is %s, want %s", way, got, hash)
					}
				}
				if code := process.Exit(15 * time.Second); code != 0 {
					t.Errorf("the %s ended with %d", side, code)
				}
			})
		})
	}
}

// TestDrainWaitsForSlowReaders ends either side when its part of a stream is over while the client has yet to read most of it.
func TestDrainWaitsForSlowReaders(t *testing.T) {
	// More than Linux' buffers of TCP hold, and less than those and the credit of a stream: the agent has sent everything.
	const whole = 4200 << 10
	for _, side := range []string{"relay", "agent"} {
		t.Run(side, func(t *testing.T) {
			overEachTransport(t, func(t *testing.T, transport string) {
				sent := make(chan struct{})
				target := rig.Serve(t, func(conn *net.TCPConn) {
					defer close(sent)
					// Its failure is a short file at the client.
					_, _ = io.CopyN(conn, rig.DataReader(whole), whole)
				})
				b := newBed(t, transport)
				tunnel := b.client.Tunnel(t, target)
				if err := tunnel.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				<-sent
				process := b.relay.Process
				if side == "agent" {
					process = b.agent.Process
				}
				process.Signal(syscall.SIGTERM)
				// Time for a process that does not wait for the client to be gone.
				rig.Within(t, time.Second, process.Ended)
				if err := tunnel.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
					t.Fatal(err)
				}
				n, err := io.Copy(io.Discard, tunnel)
				if n != whole || err != nil {
					t.Errorf("the client got %d of %d bytes, then %v", n, whole, err)
				}
				if code := process.Exit(10 * time.Second); code != 0 {
					t.Errorf("the %s ended with %d", side, code)
				}
			})
		})
	}
}

// TestDrainTakesNothingNew looks at a relay and an agent that finish what they have.
func TestDrainTakesNothingNew(t *testing.T) {
	overEachTransport(t, func(t *testing.T, transport string) {
		target := rig.Echo(t)
		t.Run("agent", func(t *testing.T) {
			b := newBed(t, transport)
			held(t, b, target)
			b.agent.Signal(syscall.SIGTERM)
			b.gone(t, target, noticed)
		})
		t.Run("relay", func(t *testing.T) {
			b := newBed(t, transport)
			held(t, b, target)
			b.relay.Signal(syscall.SIGTERM)
			rig.Eventually(t, noticed, "new streams are refused", func() bool {
				conn, _, err := b.client.Connect(target, nil)
				if conn != nil {
					_ = conn.Close() // that it opened is the answer
				}
				return err != nil || conn == nil
			})
		})
	})
}

// TestGraceEnds has a stream that would go on for ever: it is cut when the grace is over, not cleanly, and the exit code is 0.
func TestGraceEnds(t *testing.T) {
	overEachTransport(t, func(t *testing.T, transport string) {
		b := newBed(t, transport, "--grace", "2s")
		conn := held(t, b, rig.Echo(t))
		start := time.Now()
		b.relay.Signal(syscall.SIGTERM)
		if code := b.relay.Exit(8 * time.Second); code != 0 {
			t.Errorf("the relay ended with %d", code)
		}
		if took := time.Since(start); took < time.Second || took > 5*time.Second {
			t.Errorf("it took %v, with a grace of 2 s", took)
		}
		wantCut(t, conn)
	})
}

// TestSecondSignalEndsNow does not wait for the grace.
func TestSecondSignalEndsNow(t *testing.T) {
	for _, side := range []string{"relay", "agent"} {
		t.Run(side, func(t *testing.T) {
			overEachTransport(t, func(t *testing.T, transport string) {
				b := newBed(t, transport)
				held(t, b, rig.Echo(t))
				process := b.relay.Process
				if side == "agent" {
					process = b.agent.Process
				}
				process.Signal(syscall.SIGTERM)
				if rig.Within(t, 2*time.Second, process.Ended) {
					t.Fatalf("the %s has not waited for its stream", side)
				}
				process.Signal(syscall.SIGTERM)
				start := time.Now()
				if code := process.Exit(5 * time.Second); code != 0 {
					t.Errorf("the %s ended with %d", side, code)
				}
				if took := time.Since(start); took > 2*time.Second {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// held opens a stream that stays.
func held(t *testing.T, b *bed, target string) *rig.Tunnel {
	t.Helper()
	conn := b.client.Tunnel(t, target)
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// wantCut checks that a stream has been broken off.
func wantCut(t *testing.T, conn net.Conn) {
	t.Helper()
	if n, err := io.Copy(io.Discard, conn); err == nil {
		t.Errorf("the stream had a clean end after %d bytes", n)
	}
}
