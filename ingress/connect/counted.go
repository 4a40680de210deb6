package connect

import (
	"sync"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/splice"
)

// counted is the target's stream as net/http sees it: it counts, and an exchange that was given up is aborted, not closed.
// It also helps net/http over targets that answer early, such as servers that are too busy to read:
// nothing is read before something was written, as an answer before its request is not taken;
// and a Write that fails waits for the end of the exchange, as its error would hide the answer.
type counted struct {
	postern.Stream
	counts *splice.Counts // nil: not counted any more
	ctxErr func() error
	named  named

	begin, end   func()        // close what follows
	begun, ended chan struct{} // closed by the first Write, and by Close
}

func newCounted(s postern.Stream, counts *splice.Counts, ctxErr func() error) *counted {
	c := &counted{Stream: s, counts: counts, ctxErr: ctxErr, begun: make(chan struct{}), ended: make(chan struct{})}
	c.begin = sync.OnceFunc(func() { close(c.begun) })
	c.end = sync.OnceFunc(func() { close(c.ended) })
	return c
}

// Read implements net.Conn.
func (c *counted) Read(p []byte) (int, error) {
	select {
	case <-c.begun:
	case <-c.ended:
	}
	n, err := c.Stream.Read(p)
	c.named.pass(p[:n])
	if c.counts != nil {
		c.counts.Received.Add(int64(n))
	}
	return n, err
}

// Write implements net.Conn.
func (c *counted) Write(p []byte) (int, error) {
	c.begin()
	n, err := c.Stream.Write(p)
	if c.counts != nil {
		c.counts.Sent.Add(int64(n))
	}
	if err != nil {
		<-c.ended
	}
	return n, err
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.end()
	if c.ctxErr() != nil {
		c.Abort(postern.Aborted)
	}
	return c.Stream.Close()
}
