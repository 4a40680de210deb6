//go:build linux

package load

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// What a client wants, the first byte that it sends. Downloads and uploads go on with the number of the transfer and its rate
// in bytes a second, 0 for as fast as it goes, eight bytes each.
const (
	echo     = 'E' // everything after this byte comes back
	download = 'D'
	upload   = 'U'
	request  = 'G' // of GET: HTTP/1.1
)

const transferHead = 1 + 8 + 8

// Target is where the tunnels lead to. Its methods may be called concurrently.
type Target struct {
	pattern pattern
	failure atomic.Pointer[error] // the first transfer that was not what it should be

	mu        sync.Mutex
	transfers map[uint64]*atomic.Int64 // guarded by mu; bytes sent or received
}

// NewTarget returns a target that serves nothing yet.
func NewTarget() *Target {
	return &Target{pattern: newPattern(), transfers: make(map[uint64]*atomic.Int64)}
}

// Serve serves the connections of ln until ctx ends. It closes ln, and returns when no connection is left.
func (t *Target) Serve(ctx context.Context, ln net.Listener) error {
	var running sync.WaitGroup
	defer running.Wait()
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })() // ends Accept
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return errors.Join(err, ln.Close())
		}
		running.Go(func() {
			defer func() { _ = conn.Close() }()                         // whatever went wrong, the client sees
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // the same
			t.serve(conn)
		})
	}
}

// serve does what one client wants. Its errors are the client's, or those of a client that has gone.
func (t *Target) serve(conn net.Conn) {
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		return
	}
	switch buf[0] {
	case echo:
		sendBack(conn, buf, 1, n)
	case request:
		answer(conn, buf, n)
	case download, upload:
		if n < transferHead {
			if _, err := io.ReadFull(conn, buf[n:transferHead]); err != nil {
				return
			}
			n = transferHead
		}
		count := t.transfer(binary.BigEndian.Uint64(buf[1:]))
		if buf[0] == download {
			t.send(conn, count, binary.BigEndian.Uint64(buf[9:]))
		} else {
			t.receive(conn, count, buf[transferHead:n])
		}
	}
}

// transfer is the count of a transfer.
func (t *Target) transfer(id uint64) *atomic.Int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	count, ok := t.transfers[id]
	if !ok {
		count = new(atomic.Int64)
		t.transfers[id] = count
	}
	return count
}

// forget forgets a transfer that is over.
func (t *Target) forget(id uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.transfers, id)
}

// err is the first failure since it was asked last.
func (t *Target) err() error {
	if failure := t.failure.Swap(nil); failure != nil {
		return *failure
	}
	return nil
}

func sendBack(conn net.Conn, buf []byte, from, to int) {
	for {
		if from < to {
			if _, err := conn.Write(buf[from:to]); err != nil {
				return
			}
		}
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		from, to = 0, n
	}
}

// ticks is how many times a second a paced transfer sends its share.
const ticks = 200

func (t *Target) send(conn net.Conn, count *atomic.Int64, rate uint64) {
	share := piece
	var tick <-chan time.Time
	if rate > 0 {
		share = int(rate / ticks)
		ticker := time.NewTicker(time.Second / ticks)
		defer ticker.Stop()
		tick = ticker.C
	}
	for offset := int64(0); ; {
		if tick != nil {
			<-tick
		}
		n, err := conn.Write(t.pattern.at(offset, share))
		count.Add(int64(n))
		if err != nil {
			return
		}
		offset += int64(n)
	}
}

func (t *Target) receive(conn net.Conn, count *atomic.Int64, first []byte) {
	c := checker{pattern: t.pattern}
	buf := make([]byte, piece)
	for n, err := copy(buf, first), error(nil); ; n, err = conn.Read(buf) {
		if wrong := c.check(buf[:n]); wrong != nil {
			t.failure.CompareAndSwap(nil, &wrong)
			return
		}
		count.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// What a request of the HTTP case and its answer are, to the byte.
const (
	page = "GET /bench HTTP/1.1\r\nHost: target.example\r\nUser-Agent: postern-bench\r\nAccept: */*\r\n\r\n"
	text = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 128\r\n\r\n" +
		"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

// answer is as little of an HTTP server as its clients need: it is not what is measured.
func answer(conn net.Conn, buf []byte, n int) {
	for have := buf[:n]; ; {
		end := bytes.Index(have, []byte("\r\n\r\n"))
		if end >= 0 {
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
			have = have[end+4:]
			continue
		}
		n := copy(buf, have)
		if n == len(buf) {
			return // no head of ours is that long
		}
		more, err := conn.Read(buf[n:])
		if err != nil {
			return
		}
		have = buf[:n+more]
	}
}
