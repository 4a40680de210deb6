package client

import (
	"context"
	"net"
	"sync"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/testnet"
	"github.com/postern-dev/postern/transport"
)

// fakeConn is one end of a transport.Conn in memory.
type fakeConn struct {
	incoming chan postern.Stream
	far      *fakeConn
	link     *fakeLink
}

// fakeLink is what both ends of a connection share.
type fakeLink struct {
	over chan struct{}

	mu      sync.Mutex
	err     error // guarded by mu, like streams
	streams []postern.Stream
}

func newFakeConn() (a, b *fakeConn) {
	l := &fakeLink{over: make(chan struct{})}
	a = &fakeConn{incoming: make(chan postern.Stream, 64), link: l}
	b = &fakeConn{incoming: make(chan postern.Stream, 64), link: l, far: a}
	a.far = b
	return a, b
}

func (c *fakeConn) OpenStream(context.Context) (postern.Stream, error) {
	near, far := testnet.Pipe()
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.link.err != nil {
		return nil, c.link.err
	}
	c.link.streams = append(c.link.streams, near)
	c.far.incoming <- far
	return near, nil
}

func (c *fakeConn) AcceptStream(ctx context.Context) (postern.Stream, error) {
	select {
	case s := <-c.incoming:
		return s, nil
	case <-c.link.over:
		return nil, c.link.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *fakeConn) CloseWithError(kind postern.Kind, reason string) error {
	l := c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil
	}
	l.err = &postern.Error{Kind: kind, Detail: reason}
	close(l.over)
	for _, s := range l.streams {
		s.Abort(kind)
	}
	return nil
}

func (c *fakeConn) Info() transport.Info {
	return transport.Info{Transport: "fake", Local: &net.TCPAddr{}, Remote: &net.TCPAddr{}}
}

// fakeDialer dials with a function.
type fakeDialer func(ctx context.Context, addr string) (transport.Conn, error)

func (d fakeDialer) Dial(ctx context.Context, addr string) (transport.Conn, error) {
	return d(ctx, addr)
}

// ladder makes the one way to a relay of a dialer.
func ladder(d fakeDialer) transport.Ladder { return transport.Ladder{{Name: "fake", Dialer: d}} }
