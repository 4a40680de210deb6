package testnet

import (
	"context"
	"net"
	"sync"

	"github.com/postern-dev/postern"
)

// backlog is how many connections wait to be accepted before Dial fails.
const backlog = 1024

// firstPort is the port of a listener; those who dial have the ones above.
const firstPort = 1024

// Listener is a net.Listener in memory. Its methods may be called concurrently.
type Listener struct {
	queue chan *stream
	done  chan struct{}

	mu     sync.Mutex
	closed bool   // guarded by mu
	port   uint16 // the last port given to somebody who dials; guarded by mu
}

var _ net.Listener = (*Listener)(nil)

// Listen returns a Listener. Close ends it.
func Listen() *Listener {
	return &Listener{queue: make(chan *stream, backlog), done: make(chan struct{}), port: firstPort}
}

// Dial connects to l from a port of its own on 127.0.0.1. It does not wait for Accept; when l is closed the error has
// the kind Refused. Whoever dialled closes the stream.
func (l *Listener) Dial(ctx context.Context) (postern.Stream, error) {
	l.mu.Lock()
	l.port++
	from := loopback(l.port)
	l.mu.Unlock()
	return l.DialFrom(ctx, from)
}

// DialFrom is Dial with the address that the accepting side shall see.
func (l *Listener) DialFrom(ctx context.Context, from net.Addr) (postern.Stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, postern.Errorf(postern.Refused, postern.HopTarget, "the listener in memory is closed")
	}
	near, far := pipe(DefaultBuffer, from, l.Addr())
	select {
	case l.queue <- far:
		return near, nil
	default:
		return nil, postern.Errorf(postern.Refused, postern.HopTarget, "%d connections wait to be accepted already", backlog)
	}
}

// Accept waits for the next connection, which is a postern.Stream. After Close it returns net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	case s := <-l.queue:
		return s, nil
	}
}

// Addr is 127.0.0.1 and a port that means nothing.
func (l *Listener) Addr() net.Addr { return loopback(firstPort) }

// Close ends l; connections that nobody has accepted are broken off. Idempotent.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	close(l.done)
	for {
		select {
		case s := <-l.queue:
			s.Abort(postern.Refused)
		default:
			return nil
		}
	}
}
