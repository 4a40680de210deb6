package ingress

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/splice"
)

// serveCall takes one call of a client from its first byte to its last, and reports whether another may follow.
//
//  1. handshake: what does the client want?
//  2. authorise: who is it, and may it?
//  3. open: connect to the target
//  4. accept: only now tell the client that it worked
//  5. splice: copy until both directions have ended
//  6. report: one line
func (s *Server) serveCall(ctx context.Context, c *Conn) (again bool) {
	call, err := s.handshake(ctx, c)
	if err != nil {
		return s.noCall(ctx, c, err)
	}
	stream := s.NewStream(c, call.Wish())
	upstream, err := s.connect(ctx, c, call, stream)
	if err != nil {
		return s.reject(ctx, c, call, stream, err)
	}
	err = s.acceptCall(c, call, upstream)
	if err != nil {
		s.End(ctx, stream, splice.Result{Duration: time.Since(stream.Started), Reason: splice.AAborted, Err: err})
		return false
	}
	s.End(ctx, stream, s.Join(ctx, c.Stream(), upstream, stream))
	return false
}

// handshake lets the protocol read a call, within the time there is for it.
func (s *Server) handshake(ctx context.Context, c *Conn) (Call, error) {
	if err := c.SetDeadline(c.due); err != nil {
		return nil, err
	}
	call, err := s.Protocol.Handshake(ctx, c, s)
	if err != nil {
		return nil, err
	}
	return call, c.SetDeadline(time.Time{})
}

// noCall ends a handshake that brought no call. The protocol has told the client why, if there was anything to tell.
func (s *Server) noCall(ctx context.Context, c *Conn, err error) (again bool) {
	switch {
	case errors.Is(err, ErrAgain):
		return c.again()
	case errors.Is(err, ErrServed), errors.Is(err, io.EOF), errors.Is(err, ErrDraining):
	default:
		s.log().Debug("no call", "ingress", s.Protocol.Name(), "client", c.RemoteAddr(), "error", err)
	}
	c.linger(ctx)
	return false
}

// connect authorises a call and opens its stream, unless the client leaves meanwhile.
func (s *Server) connect(ctx context.Context, c *Conn, call Call, stream *Stream) (postern.Stream, error) {
	if err := s.Authorise(ctx, c, call.Wish(), stream); err != nil {
		return nil, err
	}
	ctx, stop := c.Watch(ctx, graceOf(call))
	defer stop()
	return s.Open(ctx, stream)
}

// reject tells the client why its call failed, and reports it.
func (s *Server) reject(ctx context.Context, c *Conn, call Call, stream *Stream, err error) (again bool) {
	s.Failed(ctx, stream, err)
	told := c.SetWriteDeadline(time.Now().Add(HandshakeTimeout))
	if told == nil {
		told = call.Reject(err, stream.Trace)
	}
	if errors.Is(told, ErrAgain) {
		return c.again()
	}
	if told != nil {
		s.log().Debug("the client was not told", "trace", stream.Trace, "error", told)
	}
	c.linger(ctx)
	return false
}

// acceptCall tells the client that it is connected. A client that does not read that must not hold the stream.
func (s *Server) acceptCall(c *Conn, call Call, upstream postern.Stream) error {
	err := c.SetWriteDeadline(time.Now().Add(HandshakeTimeout))
	if err == nil {
		err = call.Accept(upstream.LocalAddr())
	}
	if err == nil {
		err = c.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		upstream.Abort(postern.Aborted)
		// Abort has told the far end; Close only frees what is left.
		_ = upstream.Close()
	}
	return err
}

// Open connects to the target of a stream that Authorise has filled in, within OpenTimeout. The caller closes what it returns.
func (s *Server) Open(ctx context.Context, stream *Stream) (postern.Stream, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, OpenTimeout, errOpenTimeout)
	defer cancel()
	req := &postern.Request{
		Agent: stream.Agent, Target: stream.Target, Client: stream.Client, Identity: stream.Identity, Trace: stream.Trace,
	}
	if id := stream.Identity; id != nil && len(id.Targets) > 0 {
		req.Allow = [][]string{id.Targets}
	}
	upstream, err := s.Opener.Open(ctx, req)
	if err != nil && ctx.Err() != nil {
		// The context's own error says neither the hop nor why.
		return nil, context.Cause(ctx)
	}
	return upstream, err
}

// errOpenTimeout is for openers that leave it to their caller to lose patience.
var errOpenTimeout = &postern.Error{Kind: postern.Timeout, Hop: postern.HopAgent, Detail: "the agent did not answer in time"}

// Join copies between a client and what was opened for it, within the limits of the server and until the stream's credential has
// expired, and closes both. It keeps the stream's Counts.
func (s *Server) Join(ctx context.Context, client, upstream postern.Stream, stream *Stream) splice.Result {
	ctx, cancel := s.untilExpiry(ctx, stream.Identity)
	defer cancel()
	options := s.Splice
	options.Counts = &stream.Counts
	return splice.Join(ctx, client, upstream, options)
}

// Bound is Join's limits for protocols that move a stream's bytes by themselves: the context ends, with an *Error as its cause, when
// the stream's Counts have not changed for Splice.Idle, or its credential has expired. cancel frees it.
func (s *Server) Bound(ctx context.Context, stream *Stream) (bounded context.Context, cancel func()) {
	ctx, end := s.untilExpiry(ctx, stream.Identity)
	if s.Splice.Idle <= 0 {
		return ctx, end
	}
	ctx, stop := context.WithCancelCause(ctx)
	unwatch := splice.WatchIdle(s.Splice.Idle, &stream.Counts, func() { stop(splice.ErrIdle) })
	return ctx, func() {
		unwatch()
		stop(nil)
		end()
	}
}

// untilExpiry ends ctx when the credential that id was proved with has expired, and the grace after that has passed.
func (s *Server) untilExpiry(ctx context.Context, id *postern.Identity) (context.Context, context.CancelFunc) {
	if id == nil || id.Expires.IsZero() {
		return ctx, func() {}
	}
	grace := s.ExpiredGrace
	if grace == 0 {
		grace = postern.ExpiryGrace
	}
	return context.WithDeadlineCause(ctx, id.Expires.Add(grace), errExpired)
}

// errExpired is why a stream is cut off that outlived its credential.
var errExpired = &postern.Error{
	Kind: postern.Unauthenticated, Hop: postern.HopRelay, Detail: "the credential that the stream was opened with has expired",
}
