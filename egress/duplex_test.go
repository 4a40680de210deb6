package egress

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"

	"github.com/postern-dev/postern"
)

func TestDuplexIsAConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		a, b := newDuplex()
		return a, b, func() {
			_ = a.Close()
			_ = b.Close()
		}, nil
	})
}

func TestDuplexHalfClose(t *testing.T) {
	a, b := newDuplex()
	if _, err := io.WriteString(a, "question"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := a.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(a, "more"); err == nil {
		t.Error("writing after CloseWrite works")
	}
	if got, err := io.ReadAll(b); err != nil || string(got) != "question" {
		t.Errorf("got %q and %v", got, err)
	}
	if _, err := io.WriteString(b, "answer"); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(a); err != nil || string(got) != "answer" {
		t.Errorf("got %q and %v", got, err)
	}
}

func TestDuplexAbortIsNeverACleanEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newDuplex()
		if _, err := io.WriteString(a, "begun"); err != nil {
			t.Fatal(err)
		}
		failed := make(chan error)
		go func() {
			_, err := a.Read(make([]byte, 1))
			failed <- err
		}()
		synctest.Wait()
		a.Abort(postern.Limited)
		if err := <-failed; err == nil || errors.Is(err, io.EOF) {
			t.Errorf("a blocked read of the one who aborts got %v", err)
		}
		if _, err := io.ReadAll(b); postern.KindOf(err) != postern.Limited {
			t.Errorf("the far end read %v", err)
		}
		if _, err := b.Write([]byte{1}); postern.KindOf(err) != postern.Limited {
			t.Errorf("the far end wrote %v", err)
		}
		a.Abort(postern.Denied)
		_ = a.Close()
		if _, err := b.Read(make([]byte, 1)); postern.KindOf(err) != postern.Limited {
			t.Errorf("the first abort counts, but the far end read %v", err)
		}
	})
}

func TestDuplexAbortAfterCloseDoesNothing(t *testing.T) {
	a, b := newDuplex()
	if _, err := io.WriteString(a, "all"); err != nil {
		t.Fatal(err)
	}
	_ = a.Close()
	a.Abort(postern.Aborted)
	if got, err := io.ReadAll(b); err != nil || string(got) != "all" {
		t.Errorf("got %q and %v", got, err)
	}
	if _, err := b.Write([]byte{1}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("writing to an end that is closed: %v", err)
	}
}

func TestDuplexHoldsSoMuchAndNoMore(t *testing.T) {
	a, b := newDuplex()
	if err := a.SetWriteDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n, err := a.Write(make([]byte, 10*duplexBuffer))
	if n != duplexBuffer || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("wrote %d bytes that nobody reads, and got %v", n, err)
	}
	_, _ = a.Close(), b.Close()
}
