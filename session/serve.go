package session

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/splice"
)

// acceptStreams takes the streams that the far end opens, until the session ends and all of them have ended.
func (s *Session) acceptStreams(ctx context.Context) error {
	var streams sync.WaitGroup
	defer streams.Wait()
	for {
		stream, err := s.conn.AcceptStream(ctx)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return err
		}
		switch {
		case s.turned:
			streams.Go(func() {
				if err := s.takeStream(stream); err != nil {
					s.breakOff(err, err.Error())
				}
			})
		case s.serve.Opener != nil:
			streams.Go(func() { s.serveStream(ctx, stream) })
		default:
			return &postern.Error{Kind: postern.BadCommand, Hop: s.far(), Detail: "the other side opened a stream, which is not its part"}
		}
	}
}

// serveStream answers one stream of the far end and joins it with its target.
func (s *Session) serveStream(ctx context.Context, stream postern.Stream) {
	start := time.Now()
	req, target, err := s.answerOpen(ctx, stream)
	if err != nil {
		s.logRefused(req, start, err)
		// The answer has been sent as far as it could be; the far end reads it, then closes.
		_ = stream.Close()
		return
	}
	s.join(ctx, start, req, stream, target)
}

// join copies between a stream that was counted in and its target until both have ended, and reports it.
func (s *Session) join(ctx context.Context, start time.Time, req *postern.Request, stream, target postern.Stream) {
	result := splice.Join(ctx, stream, target, s.serve.Splice)
	s.end(result.Sent, result.Received)
	s.log.Info("stream", attrs(req, "sent", result.Sent, "received", result.Received,
		"duration", time.Since(start), "reason", string(result.Reason), "error", errText(result.Err))...)
}

func (s *Session) logRefused(req *postern.Request, start time.Time, err error) {
	s.log.Info("stream refused", attrs(req, "kind", postern.KindOf(err).String(), "error", err.Error(), "duration", time.Since(start))...)
}

// defaultOpenTimeout leaves room for a dial of 10 s.
const defaultOpenTimeout = 15 * time.Second

func (s *Session) openTimeout() time.Duration {
	if s.serve.OpenTimeout == 0 {
		return defaultOpenTimeout
	}
	return s.serve.OpenTimeout
}

// answerOpen reads the open frame, connects to the target and tells the far end how that went. Without an error the stream
// has been counted in.
func (s *Session) answerOpen(ctx context.Context, stream postern.Stream) (req *postern.Request, target postern.Stream, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.openTimeout())
	defer cancel()
	var o open
	stop := abortAt(ctx, stream)
	err = readMessage(stream, &o, maxOpen)
	if !stop() {
		return nil, nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, nil, err
	}
	req, err = o.request()
	if err == nil {
		connecting, heeded := heed(ctx, stream)
		target, err = s.connect(connecting, req)
		heeded()
	}
	a := answerTo(err, s.serve.Side)
	if err == nil {
		a.Bound = boundOf(target)
	}
	if werr := sendAnswer(ctx, stream, a); werr != nil && err == nil {
		called{stream: target}.drop()
		s.end(0, 0)
		return req, nil, werr
	}
	return req, target, err
}

// heedAfter is how long an open has to take for anybody to look whether its opener is still there: most are answered before.
const heedAfter = 20 * time.Millisecond

// heed returns a context that ends when the opener breaks the stream off, or sends anything, which it must not before the
// answer. The caller calls stop when it has connected; after that the stream is as it was.
func heed(ctx context.Context, stream postern.Stream) (heeding context.Context, stop func()) {
	heeding, cancel := context.WithCancelCause(ctx)
	looked := make(chan struct{})
	timer := time.AfterFunc(heedAfter, func() {
		defer close(looked)
		var b [1]byte
		if _, err := stream.Read(b[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
			cancel(errWithdrawn)
		}
	})
	return heeding, func() {
		if !timer.Stop() {
			// A stream that cannot set a deadline is over, and then the Read is as well.
			_ = stream.SetReadDeadline(time.Unix(1, 0))
			<-looked
			_ = stream.SetReadDeadline(time.Time{})
		}
		cancel(nil)
	}
}

// sendAnswer writes the answer to an open while ctx lasts. When the time for connecting is up, there is still some for the answer.
func sendAnswer(ctx context.Context, stream postern.Stream, a *answer) error {
	if ctx.Err() != nil {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), controlWrite)
		defer cancel()
		ctx = late
	}
	stop := abortAt(ctx, stream)
	err := writeMessage(stream, a, maxOpen)
	if !stop() && err == nil {
		err = stream.SetDeadline(time.Time{})
	}
	return err
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
		a.Detail = clipTo(e.Detail, maxDetail)
	}
	return a
}

// maxDetail is how many bytes of an error's detail travel.
const maxDetail = 512

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
