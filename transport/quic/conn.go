package quic

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/transport"
)

// conn is a QUIC connection as a transport.Conn.
type conn struct {
	quic     *quic.Conn
	info     transport.Info
	log      *slog.Logger
	release  func() error   // frees the socket of a connection that was dialled; runs once
	watching sync.WaitGroup // the watch goroutine
}

var (
	_ transport.Conn    = (*conn)(nil)
	_ transport.Witness = (*conn)(nil)
)

// newConn takes over q, whose handshake is complete. release, which may be nil, frees what only q uses.
func newConn(q *quic.Conn, log *slog.Logger, release func() error) *conn {
	state := q.ConnectionState().TLS
	c := &conn{
		quic: q,
		log:  log,
		info: transport.Info{
			Transport: name,
			ALPN:      state.NegotiatedProtocol,
			Local:     q.LocalAddr(),
			Remote:    q.RemoteAddr(),
			TLS:       &state,
		},
		release: func() error { return nil },
	}
	if release != nil {
		c.release = sync.OnceValue(release)
	}
	c.watching.Go(c.watch)
	return c
}

// Info implements transport.Conn.
func (c *conn) Info() transport.Info { return c.info }

// OpenStream implements transport.Conn. QUIC shows a stream to the far end with its first frame: of bytes, of its end, or of its reset.
func (c *conn) OpenStream(ctx context.Context) (postern.Stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, givenUp(err, "opening a stream was given up")
	}
	s, err := c.quic.OpenStreamSync(ctx)
	switch {
	case err == nil:
		return newStream(c, s), nil
	case ctx.Err() != nil && c.quic.Context().Err() == nil:
		return nil, &postern.Error{Kind: postern.Limited, Detail: "the far end takes no more streams at once", Err: err}
	}
	return nil, connError(err)
}

// AcceptStream implements transport.Conn.
func (c *conn) AcceptStream(ctx context.Context) (postern.Stream, error) {
	s, err := c.quic.AcceptStream(ctx)
	switch {
	case err == nil:
		return newStream(c, s), nil
	case ctx.Err() != nil && c.quic.Context().Err() == nil:
		return nil, givenUp(err, "waiting for a stream was given up")
	}
	return nil, connError(err)
}

// CloseWithError implements transport.Conn.
func (c *conn) CloseWithError(kind postern.Kind, reason string) error {
	err := c.quic.CloseWithError(quic.ApplicationErrorCode(kind), clip(reason))
	c.watching.Wait()
	if freed := c.release(); err == nil {
		err = freed
	}
	return err
}

// Signs implements transport.Witness.
func (c *conn) Signs() uint64 { return c.quic.ConnectionStats().PacketsReceived }

// watchEvery is how often watch looks: a silence is noticed at most this much after DeadAfter.
const watchEvery = time.Second

// watch ends the connection when no packet has arrived for DeadAfter. It returns when the connection is over.
func (c *conn) watch() {
	timer := time.NewTimer(watchEvery)
	defer timer.Stop()
	heard, packets := time.Now(), c.quic.ConnectionStats().PacketsReceived
	for {
		select {
		case <-c.quic.Context().Done():
			c.log.Debug("the connection is over", "remote", c.info.Remote, "why", context.Cause(c.quic.Context()))
			return
		case <-timer.C:
		}
		now := time.Now()
		if n := c.quic.ConnectionStats().PacketsReceived; n != packets {
			heard, packets = now, n
		}
		left := transport.DeadAfter - now.Sub(heard)
		if left <= 0 {
			// Nothing can be done about a failure to tell the far end, which is most likely gone.
			_ = c.quic.CloseWithError(quic.ApplicationErrorCode(postern.Timeout), "no sign of life for "+transport.DeadAfter.String())
			return
		}
		timer.Reset(min(left, watchEvery))
	}
}

// maxReason bounds the reason of a CONNECTION_CLOSE frame, which must fit one packet (RFC 9000 §19.19).
const maxReason = 512

func clip(reason string) string {
	if len(reason) <= maxReason {
		return reason
	}
	end := maxReason
	for end > 0 && reason[end]&0xc0 == 0x80 { // not within a character
		end--
	}
	return reason[:end]
}
