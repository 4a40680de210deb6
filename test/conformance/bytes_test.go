//go:build linux

package conformance

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/postern-dev/postern/test/rig"
)

// within bounds what a tunnel does in one of the tests below.
const within = 20 * time.Second

// tunnel opens a tunnel with a deadline.
func tunnel(t *testing.T, c *rig.Client, target string) *rig.Tunnel {
	t.Helper()
	conn := c.Tunnel(t, target)
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// clearAndTLS runs a test with a client in clear and with one over TLS.
func clearAndTLS(t *testing.T, b *bed, test func(t *testing.T, c *rig.Client)) {
	t.Helper()
	t.Run("in clear", func(t *testing.T) { test(t, b.client) })
	t.Run("over TLS", func(t *testing.T) { test(t, b.client.OverTLS(t, b.relay.CA())) })
}

func TestServerFirstBanner(t *testing.T) {
	const banner = "SSH-2.0-a_server_that_speaks_first\r\n"
	target := rig.Banner(t, banner)
	overEachTransport(t, func(t *testing.T, b *bed) {
		clearAndTLS(t, b, func(t *testing.T, c *rig.Client) {
			for i := range 200 {
				conn := tunnel(t, c, target)
				got := make([]byte, len(banner))
				if _, err := io.ReadFull(conn, got); err != nil || string(got) != banner {
					t.Fatalf("try %d: %q, %v", i, got, err)
				}
				if err := conn.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	})
}

// TestEarlyBytes sends CONNECT and the first bytes to the target in one segment.
func TestEarlyBytes(t *testing.T) {
	target := rig.Echo(t)
	overEachTransport(t, func(t *testing.T, b *bed) {
		clearAndTLS(t, b, func(t *testing.T, c *rig.Client) {
			for i := range 200 {
				early := fmt.Appendf(nil, "early bytes of try %d", i)
				conn, answer, err := c.Connect(target, early)
				if err != nil || conn == nil {
					t.Fatalf("try %d: %v, %v", i, answer, err)
				}
				t.Cleanup(func() { _ = conn.Close() }) // most often it is closed
				if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
					t.Fatal(err)
				}
				if err := conn.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, early) {
					t.Fatalf("try %d: %q, %v", i, got, err)
				}
				_ = conn.Close() // both ends have ended
			}
		})
	})
}

// TestAnswerAfterHalfClose has the client end first: the target answers only then.
func TestAnswerAfterHalfClose(t *testing.T) {
	target := rig.Counter(t)
	overEachTransport(t, func(t *testing.T, b *bed) {
		clearAndTLS(t, b, func(t *testing.T, c *rig.Client) {
			for i := range 100 {
				size := int64(1 + i*997)
				conn := tunnel(t, c, target)
				if _, err := io.Copy(conn, rig.DataReader(size)); err != nil {
					t.Fatal(err)
				}
				if err := conn.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(conn)
				if want := fmt.Sprintf("GOT %d\n", size); err != nil || string(got) != want {
					t.Fatalf("try %d: %q, %v, want %q", i, got, err, want)
				}
				_ = conn.Close() // both ends have ended
			}
		})
	})
}

// TestRequestAfterHalfClose has the target end first: the client goes on sending.
func TestRequestAfterHalfClose(t *testing.T) {
	counts := make(chan int64, 1)
	target := rig.FirstToEnd(t, "that was all\n", counts)
	overEachTransport(t, func(t *testing.T, b *bed) {
		clearAndTLS(t, b, func(t *testing.T, c *rig.Client) {
			for i := range 100 {
				size := int64(1 + i*997)
				conn := tunnel(t, c, target)
				if got, err := io.ReadAll(conn); err != nil || string(got) != "that was all\n" {
					t.Fatalf("try %d: %q, %v", i, got, err)
				}
				if _, err := io.Copy(conn, rig.DataReader(size)); err != nil {
					t.Fatalf("try %d: after the target's end: %v", i, err)
				}
				if err := conn.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				select {
				case got := <-counts:
					if got != size {
						t.Fatalf("try %d: the target got %d bytes, sent were %d", i, got, size)
					}
				case <-time.After(within):
					t.Fatalf("try %d: the target has not seen the end", i)
				}
				_ = conn.Close() // both ends have ended
			}
		})
	})
}

// TestLargeHalfClose is FLT-15 of a size that fills every buffer on the way.
func TestLargeHalfClose(t *testing.T) {
	target := rig.Counter(t)
	const size = 10 << 20
	overEachTransport(t, func(t *testing.T, b *bed) {
		clearAndTLS(t, b, func(t *testing.T, c *rig.Client) {
			for range 3 {
				conn := tunnel(t, c, target)
				if _, err := io.Copy(conn, rig.DataReader(size)); err != nil {
					t.Fatal(err)
				}
				if err := conn.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(conn); err != nil || string(got) != fmt.Sprintf("GOT %d\n", size) {
					t.Fatalf("%q, %v", got, err)
				}
				_ = conn.Close() // both ends have ended
			}
		})
	})
}

// TestResetTravels has one end break off: the other must see a failure, and soon, never a clean end (P-20).
func TestResetTravels(t *testing.T) {
	resets := make(chan error, 1)
	target := rig.Serve(t, readThenReport(t, resets))
	aborting := rig.Serve(t, abortAfterHello)
	overEachTransport(t, func(t *testing.T, b *bed) {
		clearAndTLS(t, b, func(t *testing.T, c *rig.Client) {
			t.Run("by the client", func(t *testing.T) {
				conn := tunnel(t, c, target)
				if _, err := io.WriteString(conn, "x"); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
				abort(t, conn)
				select {
				case err := <-resets:
					if err == nil {
						t.Error("the target saw a clean end")
					}
				case <-time.After(5 * time.Second):
					t.Error("the target has not seen the reset within 5 s")
				}
			})
			t.Run("by the target", func(t *testing.T) {
				conn := tunnel(t, c, aborting)
				start := time.Now()
				if _, err := io.WriteString(conn, "x"); err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(conn)
				if err == nil {
					t.Errorf("the client saw a clean end after %q", got)
				}
				if took := time.Since(start); took > 5*time.Second {
					t.Errorf("the client saw the reset after %v", took)
				}
			})
		})
	})
}
