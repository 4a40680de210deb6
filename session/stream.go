package session

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/splice"
)

// Open asks the far end for a stream to req.Target and returns it once the target is connected. Errors are *Error with the
// far end's kind and hop; AgentOffline when the session is over, Draining when it takes nothing new.
func (s *Session) Open(ctx context.Context, req *postern.Request) (postern.Stream, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	stream, err := s.conn.OpenStream(ctx)
	if err != nil {
		s.end(0, 0)
		return nil, s.openFailed(err)
	}
	bound, err := s.ask(ctx, stream, req)
	if err != nil {
		stream.Abort(postern.KindOf(err))
		_ = stream.Close()
		s.end(0, 0)
		return nil, err
	}
	return &opened{Stream: stream, session: s, bound: bound}, nil
}

// ask sends the open frame and reads the answer.
func (s *Session) ask(ctx context.Context, stream postern.Stream, req *postern.Request) (net.Addr, error) {
	stop := abortAt(ctx, stream)
	err := writeMessage(stream, openOf(req), maxOpen)
	var a answer
	if err == nil {
		err = readMessage(stream, &a, maxOpen)
	}
	if !stop() && ctx.Err() != nil {
		return nil, postern.Errorf(postern.KindOf(ctx.Err()), s.far(), "no answer in time: %w", context.Cause(ctx))
	}
	if err != nil {
		return nil, s.openFailed(err)
	}
	if err := errorFromWire(a.Kind, a.Hop, a.Detail); err != nil {
		return nil, err
	}
	return parseBound(a.Bound), nil
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

// begin counts a stream in, if the session takes any.
func (s *Session) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over != nil {
		return postern.Errorf(postern.AgentOffline, s.far(), "the session is over")
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

// acceptStreams serves the streams that the far end opens, until the session ends and all of them have ended.
func (s *Session) acceptStreams(ctx context.Context) error {
	var streams waitGroup
	defer streams.Wait()
	for {
		stream, err := s.conn.AcceptStream(ctx)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return err
		}
		if s.serve.Opener == nil {
			return &postern.Error{Kind: postern.BadCommand, Hop: s.far(), Detail: "the other side opened a stream, which is not its part"}
		}
		streams.Go(func() { s.serveStream(ctx, stream) })
	}
}

// defaultOpenTimeout leaves room for a dial of 10 s.
const defaultOpenTimeout = 15 * time.Second

// serveStream answers one stream of the far end and joins it with its target.
func (s *Session) serveStream(ctx context.Context, stream postern.Stream) {
	start := time.Now()
	req, target, err := s.answerOpen(ctx, stream)
	if err != nil {
		s.log.Info("stream refused", attrs(req, "kind", postern.KindOf(err).String(), "error", err.Error(), "duration", time.Since(start))...)
		// The answer has been sent as far as it could be; the far end reads it, then closes.
		_ = stream.Close()
		return
	}
	result := splice.Join(ctx, stream, target, s.serve.Splice)
	s.end(result.Sent, result.Received)
	s.log.Info("stream", attrs(req, "sent", result.Sent, "received", result.Received,
		"duration", time.Since(start), "reason", string(result.Reason), "error", errText(result.Err))...)
}

// answerOpen reads the open frame, connects to the target and tells the far end how that went. Without an error the stream
// has been counted in.
func (s *Session) answerOpen(ctx context.Context, stream postern.Stream) (req *postern.Request, target postern.Stream, err error) {
	timeout := s.serve.OpenTimeout
	if timeout == 0 {
		timeout = defaultOpenTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	stop := abortAt(ctx, stream)

	var o open
	if err := readMessage(stream, &o, maxOpen); err != nil {
		stop()
		return nil, nil, err
	}
	req, err = o.request()
	if err == nil {
		target, err = s.connect(ctx, req)
	}
	if !stop() {
		// The time is up; the deadline that ended the dial must not end the answer.
		_ = stream.SetDeadline(time.Now().Add(controlWrite))
		defer func() { _ = stream.SetDeadline(time.Time{}) }()
	}
	a := answerTo(err, s.serve.Side)
	if err == nil {
		a.Bound = boundOf(target)
	}
	if werr := writeMessage(stream, a, maxOpen); werr != nil && err == nil {
		target.Abort(postern.Aborted)
		_ = target.Close()
		s.end(0, 0)
		return req, nil, werr
	}
	return req, target, err
}

// connect counts the stream in and opens its target.
func (s *Session) connect(ctx context.Context, req *postern.Request) (postern.Stream, error) {
	// On a relay it is the session that says who asks and from where, not the frame.
	if id := s.Identity(); id != nil {
		req.Identity, req.Client = id, addrPort(s.conn.Info().Remote)
	}
	if err := s.begin(); err != nil {
		return nil, err
	}
	target, err := s.serve.Opener.Open(ctx, req)
	if err != nil {
		s.end(0, 0)
	}
	return target, err
}

// addrPort is the address of a connection's far end, if it has one of IP.
func addrPort(a net.Addr) netip.AddrPort {
	if ip, ok := a.(interface{ AddrPort() netip.AddrPort }); ok {
		return netip.AddrPortFrom(ip.AddrPort().Addr().Unmap(), ip.AddrPort().Port())
	}
	return netip.AddrPort{}
}

func answerTo(err error, here postern.Hop) *answer {
	if err == nil {
		return &answer{}
	}
	a := &answer{Kind: uint8(postern.KindOf(err)), Hop: string(postern.HopOf(err, here))}
	// Only an Error's detail was written to be read by strangers to this process; its cause may name things that are ours.
	if e, ok := errors.AsType[*postern.Error](err); ok {
		a.Detail = e.Detail
	}
	return a
}

func boundOf(target postern.Stream) string {
	if a, ok := target.LocalAddr().(*net.TCPAddr); ok {
		return a.String()
	}
	return ""
}

// attrs are the fields that every line about a stream has.
func attrs(req *postern.Request, more ...any) []any {
	if req == nil {
		return more
	}
	out := []any{"target", req.Target.String(), "trace", req.Trace}
	if req.Agent != "" {
		out = append(out, "agent", string(req.Agent))
	}
	if req.Client.IsValid() {
		out = append(out, "client", req.Client.String())
	}
	if req.Identity != nil {
		out = append(out, "user", req.Identity.Subject)
	}
	return append(out, more...)
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
