package hop

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/postern-dev/postern/internal/testnet"
)

// listen is a listener on loopback.
func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// hops starts two of them in front of target and returns where clients connect.
func hops(t *testing.T, target string, secure bool) string {
	t.Helper()
	relay, agent := Options{}, Options{To: target}
	if secure {
		agent.Server, relay.Client = testnet.TLS(t)
		relay.Client.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	inner, outer := listen(t), listen(t)
	relay.To = inner.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- Serve(ctx, inner, agent) }()
	go func() { ended <- Serve(ctx, outer, relay) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, <-ended); err != nil {
			t.Error(err)
		}
	})
	return outer.Addr().String()
}

// target accepts one connection.
func target(t *testing.T) (addr string, accepted <-chan *net.TCPConn) {
	t.Helper()
	ln := listen(t)
	got := make(chan *net.TCPConn, 1)
	go func() {
		defer close(got)
		defer func() { _ = ln.Close() }() // one is enough
		if conn, err := ln.Accept(); err == nil {
			got <- conn.(*net.TCPConn)
		}
	}()
	t.Cleanup(func() { _ = ln.Close() }) // if nobody came
	return ln.Addr().String(), got
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the test is over
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// TestBothDirectionsAndTheirEnds sends both ways at once, in pieces of every size, and ends one direction before the other.
func TestBothDirectionsAndTheirEnds(t *testing.T) {
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			addr, accepted := target(t)
			client := dial(t, hops(t, addr, secure))
			there, back := random(5<<20), random(7<<20)
			sent := make(chan error, 2)
			go func() { sent <- send(client, there) }()
			server := <-accepted
			defer func() { _ = server.Close() }() // read to its end
			got, err := io.ReadAll(server)
			if err != nil || !bytes.Equal(got, there) {
				t.Errorf("the target got %d bytes of %d: %v", len(got), len(there), err)
			}
			go func() { sent <- send(server, back) }()
			got, err = io.ReadAll(client)
			if err != nil || !bytes.Equal(got, back) {
				t.Errorf("the client got %d bytes of %d: %v", len(got), len(back), err)
			}
			if err := errors.Join(<-sent, <-sent); err != nil {
				t.Error(err)
			}
		})
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // it never fails
	return b
}

// send writes in pieces from one byte to 300 KiB.
func send(c *net.TCPConn, b []byte) error {
	for size := 1; len(b) > 0; size = size*3%300_000 + 1 {
		n, err := c.Write(b[:min(size, len(b))])
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return c.CloseWrite()
}

// counting counts the calls that would be system calls.
type counting struct {
	net.Conn

	reads, writes int
}

func (c *counting) Read(b []byte) (int, error) {
	c.reads++
	return c.Conn.Read(b)
}

func (c *counting) Write(b []byte) (int, error) {
	c.writes++
	return c.Conn.Write(b)
}

// pair is a TLS connection in memory: both streams, and what counts under the second.
func pair(t *testing.T) (near, far *stream, below *counting) {
	t.Helper()
	serverTLS, clientTLS := testnet.TLS(t)
	clientTLS.ClientSessionCache = tls.NewLRUClientSessionCache(0) // without one servers send no tickets
	a, b := testnet.PipeSize(8 << 20)
	below = &counting{Conn: b}
	nearWire, farWire := &wire{Conn: a}, &wire{Conn: below}
	near, far = &stream{tls.Server(nearWire, serverTLS), nearWire}, &stream{tls.Client(farWire, clientTLS), farWire}
	shaken := make(chan error, 1)
	go func() { shaken <- near.HandshakeContext(t.Context()) }()
	if err := errors.Join(far.HandshakeContext(t.Context()), <-shaken); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = a.Close()
		_ = b.Close()
	})
	return near, far, below
}

// TestRecordsAreGathered counts the calls for 4 MiB, which are more than 256 records.
func TestRecordsAreGathered(t *testing.T) {
	near, far, below := pair(t)
	data := random(4 << 20)
	if err := near.copyFrom(bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if err := near.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	below.reads = 0
	got := &counted{}
	if err := far.copyTo(got); err != nil || !bytes.Equal(got.data, data) {
		t.Fatalf("%d bytes of %d: %v", len(got.data), len(data), err)
	}
	t.Logf("%d reads, %d writes", below.reads, got.writes)
	if below.reads > 40 || got.writes > 40 {
		t.Errorf("4 MiB took %d reads and %d writes", below.reads, got.writes)
	}
	below.writes = 0
	if err := far.copyFrom(bytes.NewReader(data)); err != nil || below.writes > 40 {
		t.Errorf("4 MiB took %d writes: %v", below.writes, err)
	}
}

type counted struct {
	data   []byte
	writes int
}

func (c *counted) Write(b []byte) (int, error) {
	c.writes++
	c.data = append(c.data, b...)
	return len(b), nil
}

// TestARecordWithoutDataHoldsNothingUp has a session ticket that was read ahead and nothing behind it: whoever gathers must not wait
// there, and the stream must be none the worse for it.
func TestARecordWithoutDataHoldsNothingUp(t *testing.T) {
	near, far, _ := pair(t)
	// The server's ticket follows its handshake, and may have been read ahead with that.
	for !far.wire.ready() {
		if err := far.wire.fill(); err != nil {
			t.Fatal(err)
		}
	}
	b := make([]byte, 100)
	if n, err := far.readReady(b); n != 0 || !errors.Is(err, errNothing) {
		t.Fatalf("the ticket gives %d bytes, %v", n, err)
	}
	for _, message := range []string{"first", "second"} {
		if _, err := near.Write([]byte(message)); err != nil {
			t.Fatal(err)
		}
		if n, err := far.Read(b); err != nil || string(b[:n]) != message {
			t.Errorf("%q, %v", b[:n], err)
		}
	}
}

// TestImpatientReads reads where no record is there.
func TestImpatientReads(t *testing.T) {
	near, far, _ := pair(t)
	b := make([]byte, 100)
	for range 3 {
		if _, err := far.readReady(b); !errors.Is(err, errNothing) {
			t.Fatalf("with nothing there: %v", err)
		}
		if _, err := near.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if n, err := far.Read(b); n != 1 || err != nil {
			t.Fatalf("after that: %d, %v", n, err)
		}
	}
	if far.wire.ready() {
		t.Error("a record is said to be there")
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	addr, accepted := target(t)
	client := dial(t, hops(t, addr, true))
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	server := <-accepted
	defer func() { _ = server.Close() }() // the test is over
	if _, err := io.ReadFull(server, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	// The clean-up of hops waits for both, with this connection open.
}
