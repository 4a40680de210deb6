package bulkio_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/postern-dev/postern/internal/bulkio"
	"github.com/postern-dev/postern/internal/testnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counted counts the calls that a real connection would make system calls of.
type counted struct {
	net.Conn
	reads, writes int
	failing       error
}

func (c *counted) Read(p []byte) (int, error) {
	c.reads++
	return c.Conn.Read(p)
}

func (c *counted) Write(p []byte) (int, error) {
	c.writes++
	if c.failing != nil {
		return 0, c.failing
	}
	return c.Conn.Write(p)
}

func pair(t *testing.T) (near *counted, far net.Conn) {
	t.Helper()
	a, b := testnet.PipeSize(1 << 20)
	t.Cleanup(func() {
		if err := errors.Join(a.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	})
	return &counted{Conn: a}, b
}

func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7 + i>>8)
	}
	return p
}

func TestWritesBetweenHoldAndReleaseLeaveAtOnce(t *testing.T) {
	near, far := pair(t)
	c := bulkio.New(near)
	want := pattern(100_000)
	c.Hold()
	c.Hold() // they nest
	for rest := want; len(rest) > 0; rest = rest[1000:] {
		if n, err := c.Write(rest[:1000]); n != 1000 || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := c.Release(); near.writes != 0 || err != nil {
		t.Errorf("%d writes before the last Release, %v", near.writes, err)
	}
	if err := c.Release(); near.writes != 1 || err != nil {
		t.Errorf("%d writes after it, %v", near.writes, err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("what arrived differs, or %v", err)
	}
	if _, err := c.Write([]byte("x")); near.writes != 2 || err != nil {
		t.Errorf("a Write that nobody holds: %d writes, %v", near.writes, err)
	}
}

// However much is gathered, order is kept and memory bounded.
func TestMoreThanThereIsRoomFor(t *testing.T) {
	near, far := pair(t)
	c := bulkio.New(near)
	want := pattern(700_000)
	c.Hold()
	for i, rest := 0, want; len(rest) > 0; i++ {
		n := min(len(rest), []int{1, 50_000, 300_000}[i%3])
		if _, err := c.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("what arrived differs, or %v", err)
	}
}

func TestAFailureIsTold(t *testing.T) {
	near, _ := pair(t)
	near.failing = errors.New("broken")
	c := bulkio.New(near)
	c.Hold()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := c.Release(); !errors.Is(err, near.failing) {
		t.Errorf("Release: %v", err)
	}
}

func TestSmallReadsOfMuchAreFew(t *testing.T) {
	near, far := pair(t)
	c := bulkio.New(near, 'a', 'b')
	want := append([]byte("ab"), pattern(300_000)...)
	if _, err := far.Write(want[2:]); err != nil {
		t.Fatal(err)
	}
	if c.Buffered() != 2 {
		t.Errorf("%d bytes are there, want the two from before", c.Buffered())
	}
	got := make([]byte, len(want))
	for i, again := 0, false; i < len(got); {
		n, err := c.Read(got[i:min(i+1000, len(got))])
		if err != nil {
			t.Fatal(err)
		}
		if again = !again; again {
			c.Unread(got[i+n/2 : i+n])
			n /= 2
		}
		i += n
	}
	if !bytes.Equal(got, want) || c.Buffered() != 0 {
		t.Errorf("what was read differs, or %d bytes are left", c.Buffered())
	}
	if near.reads > 8 {
		t.Errorf("%d reads of the connection", near.reads)
	}
}

// A quiet connection reads into what it is given: nothing is held while it waits.
func TestQuietReadsAreDirect(t *testing.T) {
	near, far := pair(t)
	c := bulkio.New(near)
	buf := make([]byte, 1000)
	for range 5 {
		if _, err := far.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(buf); n != 4 || err != nil || c.Buffered() != 0 {
			t.Errorf("%d bytes, %v, %d left", n, err, c.Buffered())
		}
	}
}

func TestTheEndIsReported(t *testing.T) {
	near, far := pair(t)
	c := bulkio.New(near)
	if _, err := far.Write(pattern(10_000)); err != nil {
		t.Fatal(err)
	}
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(io.MultiReader(c)) // without WriterTo or other short cuts
	if len(got) != 10_000 || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// All records of one Write leave in one piece.
func TestSecuredWritesAreGathered(t *testing.T) {
	near, far := pair(t)
	server, client := testnet.TLS(t)
	a := tls.Client(bulkio.New(near), client)
	b := tls.Server(bulkio.New(far), server)
	var g errgroup.Group
	g.Go(func() error { return a.HandshakeContext(t.Context()) })
	g.Go(func() error { return b.HandshakeContext(t.Context()) })
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	c, want, before := bulkio.Secure(a), pattern(128<<10), near.writes
	g.Go(func() error {
		n, err := c.Write(want)
		if n != len(want) {
			t.Errorf("%d bytes were written", n)
		}
		return err
	})
	got := make([]byte, len(want))
	if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("what arrived differs, or %v", err)
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if near.writes != before+1 {
		t.Errorf("%d writes of eight records", near.writes-before)
	}
	if err := bulkio.Secure(tls.Client(near, client)).SetDeadline(time.Time{}); err != nil {
		t.Errorf("TLS over something else: %v", err)
	}
}
