package session

import (
	"context"
	"errors"
	"net"
	"sync/atomic"

	"github.com/postern-dev/postern"
)

// Open asks the far end for a stream to req.Target and returns it once the target is connected. Errors are *Error with the
// far end's kind and hop; AgentOffline when the session is over, Draining when it takes nothing new.
func (s *Session) Open(ctx context.Context, req *postern.Request) (postern.Stream, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	open := s.openHere
	if s.turned {
		open = s.openTurned
	}
	stream, bound, err := open(ctx, req)
	if err != nil {
		s.end(0, 0)
		return nil, err
	}
	return &opened{Stream: stream, session: s, bound: bound}, nil
}

// openHere opens a stream and asks the far end to connect it to req.Target.
func (s *Session) openHere(ctx context.Context, req *postern.Request) (postern.Stream, net.Addr, error) {
	stream, err := s.conn.OpenStream(ctx)
	if err != nil {
		return nil, nil, s.openFailed(err)
	}
	bound, err := s.ask(ctx, stream, req)
	if err != nil {
		stream.Abort(postern.KindOf(err))
		_ = stream.Close()
		return nil, nil, err
	}
	return stream, bound, nil
}

// ask sends the open frame and reads the answer.
func (s *Session) ask(ctx context.Context, stream postern.Stream, req *postern.Request) (net.Addr, error) {
	stop := abortAt(ctx, stream)
	err := writeMessage(stream, openOf(req), maxOpen)
	var a answer
	if err == nil {
		err = readMessage(stream, &a, maxOpen)
	}
	if !stop() {
		return nil, s.noAnswer(ctx)
	}
	if err != nil {
		return nil, s.openFailed(err)
	}
	if err := errorFromWire(a.Kind, a.Hop, a.Detail); err != nil {
		return nil, err
	}
	return parseBound(a.Bound), nil
}

// noAnswer is the error of an open whose ctx has ended.
func (s *Session) noAnswer(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return &postern.Error{Kind: postern.Aborted, Hop: postern.HopClient, Detail: "the caller gave up before the target was connected", Err: context.Cause(ctx)}
	}
	return postern.Errorf(postern.Timeout, s.far(), "no answer in time: %w", context.Cause(ctx))
}

// openFailed says what a broken stream means to whoever wanted it: the far end cannot be asked. A kind that the
// transport gives for a reason of its own (Limited, BadAddress) stays.
func (s *Session) openFailed(err error) error {
	switch k := postern.KindOf(err); k {
	case postern.Limited, postern.BadAddress, postern.Draining:
		return err
	case postern.Timeout:
		return postern.Errorf(postern.Timeout, s.far(), "no answer in time: %w", err)
	}
	return postern.Errorf(postern.AgentOffline, s.far(), "the session broke off: %w", err)
}

// far is the hop on the other side of the session.
func (s *Session) far() postern.Hop {
	if s.dialled {
		return postern.HopRelay
	}
	return postern.HopAgent
}

func (s *Session) sessionOver() error {
	return postern.Errorf(postern.AgentOffline, s.far(), "the session is over")
}

// begin counts a stream in, if the session takes any.
func (s *Session) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over != nil {
		return s.sessionOver()
	}
	if s.draining {
		return &postern.Error{Kind: postern.Draining, Hop: s.far()}
	}
	s.streams++
	return nil
}

// end counts a stream out.
func (s *Session) end(sent, received int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams--
	s.sent += sent
	s.received += received
	s.noteDrained()
}

// counter counts a stream's bytes until it is closed.
type counter struct {
	sent, received atomic.Int64
	closed         atomic.Bool
}

// opened is a stream that Open returned: it counts itself out when it is closed.
type opened struct {
	postern.Stream
	session *Session
	bound   net.Addr
	counts  counter
}

// LocalAddr is the address that the target saw.
func (o *opened) LocalAddr() net.Addr {
	if o.bound != nil {
		return o.bound
	}
	return o.Stream.LocalAddr()
}

func (o *opened) Read(p []byte) (int, error) {
	n, err := o.Stream.Read(p)
	o.counts.received.Add(int64(n))
	return n, err
}

func (o *opened) Write(p []byte) (int, error) {
	n, err := o.Stream.Write(p)
	o.counts.sent.Add(int64(n))
	return n, err
}

func (o *opened) Close() error {
	if o.counts.closed.CompareAndSwap(false, true) {
		defer func() { o.session.end(o.counts.sent.Load(), o.counts.received.Load()) }()
	}
	return o.Stream.Close()
}

// CloseRead passes on that nobody reads any more, where the transport can say so.
func (o *opened) CloseRead() error {
	if c, ok := o.Stream.(interface{ CloseRead() error }); ok {
		return c.CloseRead()
	}
	return nil
}

// parseBound reads the address of an answer; nil if it is none. A far end's word on its own address is shown, never used.
func parseBound(s string) net.Addr {
	addr, err := net.ResolveTCPAddr("tcp", s)
	if s == "" || err != nil {
		return nil
	}
	return addr
}
