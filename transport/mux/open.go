package mux

import (
	"context"
	"math"
	"slices"
	"sync"

	"github.com/postern-dev/postern"
)

// OpenStream starts a stream. Nothing is sent before its first Write, CloseWrite or Close, so that opening costs no write of its
// own. It waits while the far end's limit is used up, and fails with Limited when ctx ends meanwhile.
func (c *Conn) OpenStream(ctx context.Context) (postern.Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.await(ctx, &c.openCond, func() bool { return c.greeted && int64(c.localOpen) < int64(c.remote.maxStreams) })
	switch {
	case err == nil:
	case c.err != nil:
		return nil, c.err
	case !c.greeted:
		return nil, postern.Errorf(postern.Timeout, "", "the far end has not greeted yet: %w", err)
	default:
		// Another one waiting might have been woken in our place.
		c.openCond.Signal()
		return nil, postern.Errorf(postern.Limited, "", "all %d streams that the far end allows are open: %w", c.remote.maxStreams, err)
	}
	// Those in fresh have no number yet, but will need one.
	if uint64(c.nextLocal)+2*uint64(len(c.fresh)) > math.MaxUint32-2 {
		return nil, postern.Errorf(postern.Draining, "", "the numbers of this connection's streams are used up; connect again")
	}
	s := newStream(c, true, c.firstWindow(c.localOpen), uint64(c.remote.window))
	c.localOpen++
	c.fresh[s] = struct{}{}
	return s, nil
}

// AcceptStream returns the next stream that the far end started.
func (c *Conn) AcceptStream(ctx context.Context) (postern.Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.await(ctx, &c.backlogCond, func() bool { return len(c.backlog) > 0 })
	if c.err != nil {
		return nil, c.err
	}
	if err != nil {
		c.backlogCond.Signal()
		return nil, err
	}
	s := c.backlog[0]
	c.backlog[0] = nil
	c.backlog = c.backlog[1:]
	return s, nil
}

// await waits until ready, and fails when ctx ends or the connection does. c.mu is held.
func (c *Conn) await(ctx context.Context, cond *sync.Cond, ready func() bool) error {
	if c.err == nil && ready() {
		return ctx.Err()
	}
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		cond.Broadcast()
	})
	defer stop()
	for {
		switch {
		case c.err != nil:
			return c.err
		case ctx.Err() != nil:
			return ctx.Err()
		case ready():
			return nil
		}
		cond.Wait()
	}
}

// trimBacklog throws streams away that the far end reset before anybody accepted them, when there are so many that
// they would exceed the limit of streams.
func (c *Conn) trimBacklog() {
	if len(c.backlog) >= c.opts.MaxStreams {
		c.backlog = slices.DeleteFunc(c.backlog, func(s *Stream) bool { return s.over && s.err != nil })
	}
}
