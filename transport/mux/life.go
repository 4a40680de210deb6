package mux

import (
	"sync"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/splice"
	"github.com/postern-dev/postern/transport"
)

// CloseWithError ends the connection and all its streams, and tells the far end kind and reason (of which it hears up to
// 1 KiB) if that works within a second. It returns when nothing of the Conn runs any more, always with nil. The first call counts.
func (c *Conn) CloseWithError(kind postern.Kind, reason string) error {
	c.mu.Lock()
	c.fail(&postern.Error{Kind: kind, Detail: reason}, true)
	c.mu.Unlock()
	<-c.finished
	return nil
}

// fail ends the connection with err, unless it is over already, and has the far end told if tell is set. It
// reports whether the far end will be told. c.mu is held.
func (c *Conn) fail(err *postern.Error, tell bool) bool {
	if c.err != nil {
		return false
	}
	c.err = err
	c.control.close, c.control.kind, c.control.reason = tell, err.Kind, err.Detail
	c.clean = c.clean || tell
	for _, s := range c.streams {
		s.endWith(err)
	}
	for s := range c.fresh {
		s.endWith(err)
	}
	clear(c.streams)
	clear(c.fresh)
	c.backlog, c.urgent, c.bulk = nil, fifo{}, fifo{}
	c.backlogCond.Broadcast()
	c.openCond.Broadcast()
	c.workCond.Signal()
	close(c.failed)
	c.opts.Log.Debug("connection over", "transport", c.opts.Info.Transport, "remote", c.opts.Info.Remote, "reason", err.Error())
	return tell
}

// endWith fails the stream together with its connection.
func (s *Stream) endWith(err error) {
	s.over = true
	if s.err == nil {
		s.failWith(err)
	}
}

// run is the life of the connection: two goroutines and the watch over them, and then the end of the road.
func (c *Conn) run() {
	defer close(c.finished)
	var loops sync.WaitGroup
	loops.Go(c.readLoop)
	loops.Go(c.writeLoop)
	c.watch()
	c.leave()
	loops.Wait()
}

// Signs implements transport.Witness.
func (c *Conn) Signs() uint64 { return uint64(c.heard.Load()) }

// flushLimit is how long one flush may take. A far end that goes on sending but reads nothing is as good as dead.
const flushLimit = 30 * time.Second

// watch looks for signs of life until the connection is over.
func (c *Conn) watch() {
	timer := time.NewTimer(transport.ProbeAfter)
	defer timer.Stop()
	for {
		select {
		case <-c.failed:
			return
		case <-timer.C:
			timer.Reset(c.probe())
		}
	}
}

// probe does what is due after the silence so far, and returns when to look again.
func (c *Conn) probe() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	silent := time.Since(c.started) - time.Duration(c.heard.Load())
	switch {
	case silent >= transport.DeadAfter:
		c.fail(postern.Errorf(postern.Timeout, "", "nothing was heard from the far end for %v", transport.DeadAfter), false)
	case c.flushing && time.Since(c.flushSince) >= flushLimit:
		c.fail(postern.Errorf(postern.Timeout, "", "the far end has taken nothing for %v", flushLimit), false)
	case silent >= transport.ProbeAfter:
		c.control.ping = true
		c.workCond.Signal()
		return transport.DeadAfter - silent
	}
	return max(transport.ProbeAfter-silent, 0)
}

// leave ends the road: with a clean close when the ends have said why to each other, else so that nobody takes it for one.
func (c *Conn) leave() {
	c.mu.Lock()
	clean := c.clean
	c.mu.Unlock()
	if clean {
		// The far end ends the road when it has read CLOSE. To do so before would let TCP throw CLOSE away.
		timer := time.NewTimer(closeWait)
		defer timer.Stop()
		select {
		case <-c.readerDone:
			// An error would only say that the far end was faster.
			_ = c.road.Close()
			return
		case <-timer.C:
		}
	}
	splice.Abort(c.road)
}
