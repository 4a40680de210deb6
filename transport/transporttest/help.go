package transporttest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/transport"
)

// openPair opens a stream from one conn to the other and sends a byte, which is when the far end has to see it.
func openPair(ctx context.Context, from, to transport.Conn) (near, far postern.Stream, err error) {
	near, err = from.OpenStream(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("OpenStream: %w", err)
	}
	if _, err := near.Write([]byte{'!'}); err != nil {
		return nil, nil, fmt.Errorf("writing the first byte: %w", err)
	}
	far, err = to.AcceptStream(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("AcceptStream: %w", err)
	}
	var first [1]byte
	if _, err := io.ReadFull(far, first[:]); err != nil {
		return nil, nil, fmt.Errorf("reading the first byte: %w", err)
	}
	if first[0] != '!' {
		return nil, nil, fmt.Errorf("the first byte is %q, want '!'", first[0])
	}
	return near, far, nil
}

// mustOpen is openPair for the goroutine of a case. Both ends are closed when ctx ends, which is when the case does.
func mustOpen(t *testing.T, ctx context.Context, from, to transport.Conn) (near, far postern.Stream) {
	t.Helper()
	near, far, err := openPair(ctx, from, to)
	if err != nil {
		t.Fatal(err)
	}
	return near, far
}

// payload is n bytes that look random and are the same for the same seed.
func payload(n int, seed uint64) []byte {
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	p := make([]byte, n)
	// ChaCha8.Read never fails.
	_, _ = rand.NewChaCha8(key).Read(p)
	return p
}

// sendAll writes p and half-closes.
func sendAll(s postern.Stream, p []byte) error {
	if n, err := s.Write(p); err != nil || n != len(p) {
		return fmt.Errorf("a Write = %d, %w; want %d", n, err, len(p))
	}
	if err := s.CloseWrite(); err != nil {
		return fmt.Errorf("CloseWrite: %w", err)
	}
	return nil
}

// receiveAll reads to the clean end, and compares with want by hash.
func receiveAll(s postern.Stream, want []byte) error {
	hash := sha256.New()
	n, err := io.Copy(hash, onlyReader{s})
	if err != nil {
		return fmt.Errorf("reading failed after %d of %d bytes: %w", n, len(want), err)
	}
	if sum := sha256.Sum256(want); n != int64(len(want)) || !bytes.Equal(hash.Sum(nil), sum[:]) {
		return fmt.Errorf("got %d bytes, want %d; or their hashes differ", n, len(want))
	}
	return nil
}

// onlyReader hides other methods from io.Copy.
type onlyReader struct{ io.Reader }

// echo sends everything back that comes, then half-closes and closes.
func echo(s postern.Stream) error {
	if _, err := io.Copy(struct{ io.Writer }{s}, onlyReader{s}); err != nil {
		return fmt.Errorf("echo: %w", err)
	}
	if err := s.CloseWrite(); err != nil {
		return fmt.Errorf("echo: CloseWrite: %w", err)
	}
	return s.Close()
}

// acceptEach accepts n streams and runs serve for each in a goroutine of g.
func acceptEach(ctx context.Context, g *errgroup.Group, c transport.Conn, n int, serve func(postern.Stream) error) {
	g.Go(func() error {
		for i := range n {
			s, err := c.AcceptStream(ctx)
			if err != nil {
				return fmt.Errorf("accepting stream %d of %d: %w", i+1, n, err)
			}
			g.Go(func() error { return serve(s) })
		}
		return nil
	})
}

// readUntilError reads and throws away; it returns the error, io.EOF too.
func readUntilError(s postern.Stream) error {
	buf := make([]byte, 32<<10)
	for {
		if _, err := s.Read(buf); err != nil {
			return err
		}
	}
}

// writeUntilError writes for as long as that works.
func writeUntilError(s postern.Stream) error {
	buf := make([]byte, 32<<10)
	for {
		if _, err := s.Write(buf); err != nil {
			return err
		}
	}
}

// wantKind checks that err is a failure of kind k and not a clean end.
func wantKind(what string, err error, k postern.Kind) error {
	switch {
	case err == nil:
		return fmt.Errorf("%s: no error, want kind %q", what, k)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%s: a clean end, want kind %q", what, k)
	case postern.KindOf(err) != k:
		return fmt.Errorf("%s: kind %q (%w), want %q", what, postern.KindOf(err), err, k)
	}
	return nil
}

// wantBroken checks that err is a failure and not a clean end.
func wantBroken(what string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %v, want a failure that is not a clean end", what, err)
	}
	return nil
}

// check fails t if err is one.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
