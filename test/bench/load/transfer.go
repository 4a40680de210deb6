//go:build linux

package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// transfer is a number of downloads or uploads that go on until they are stopped.
type transfer struct {
	target   *Target
	ids      []uint64
	counts   []*atomic.Int64 // bytes that have arrived; of unread ones, that were sent
	cancel   context.CancelFunc
	running  errgroup.Group
	closers  []func()
	stopping atomic.Bool
}

func (t *transfer) total() int64 {
	var sum int64
	for _, c := range t.counts {
		sum += c.Load()
	}
	return sum
}

// stop ends them and returns what went wrong before.
func (t *transfer) stop() error {
	t.stopping.Store(true)
	t.cancel()
	err := t.running.Wait()
	for _, done := range t.closers {
		done()
	}
	for _, id := range t.ids {
		t.target.forget(id)
	}
	return errors.Join(err, t.target.err())
}

// startTransfers starts n of them; rate is in bytes a second, 0 as fast as it goes.
func (b *Bench) startTransfers(ctx context.Context, n int, verb byte, rate uint64) (*transfer, error) {
	return b.start(ctx, n, verb, rate, func(t *transfer, conn net.Conn, count *atomic.Int64) error {
		if verb == download {
			return t.read(conn, count)
		}
		return t.write(conn)
	})
}

// startUnread starts n downloads that nobody reads.
func (b *Bench) startUnread(ctx context.Context, n int) (*transfer, error) {
	return b.start(ctx, n, download, 0, nil)
}

// start opens n connections, says what is wanted, and has work do the rest in goroutines. Without work the target's counts are
// those of the transfer, as with uploads.
func (b *Bench) start(ctx context.Context, n int, verb byte, rate uint64, work func(*transfer, net.Conn, *atomic.Int64) error) (*transfer, error) {
	t := &transfer{target: b.Target}
	ctx, t.cancel = context.WithCancel(ctx)
	for range n {
		id := rand.Uint64()
		conn, done, err := b.dial(ctx, 0)
		if err != nil {
			return nil, errors.Join(err, t.stop())
		}
		t.closers = append(t.closers, done)
		head := append(make([]byte, 0, transferHead), verb)
		head = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(head, id), rate)
		if _, err := conn.Write(head); err != nil {
			return nil, errors.Join(err, t.stop())
		}
		count := b.Target.transfer(id)
		if verb == download && work != nil {
			count = new(atomic.Int64)
		}
		t.ids, t.counts = append(t.ids, id), append(t.counts, count)
		if work != nil {
			t.running.Go(func() error { return t.unlessStopping(work(t, conn, count)) })
		}
	}
	return t, nil
}

func (t *transfer) unlessStopping(err error) error {
	if t.stopping.Load() {
		return nil
	}
	return fmt.Errorf("a transfer broke off: %w", err)
}

// read reads a download; it ends with an error.
func (t *transfer) read(conn net.Conn, count *atomic.Int64) error {
	c := checker{pattern: t.target.pattern}
	buf := make([]byte, piece)
	for {
		n, err := conn.Read(buf)
		if wrong := c.check(buf[:n]); wrong != nil {
			return wrong
		}
		count.Add(int64(n))
		if err != nil {
			return err
		}
	}
}

// write writes an upload; it ends with an error.
func (t *transfer) write(conn net.Conn) error {
	for offset := int64(0); ; {
		n, err := conn.Write(t.target.pattern.at(offset, piece))
		if err != nil {
			return err
		}
		offset += int64(n)
	}
}
