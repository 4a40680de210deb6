package quic

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"github.com/quic-go/quic-go"

	"github.com/postern-dev/postern/internal/gate"
)

// manyHandshakes is how many unfinished handshakes make us suspect a flood. From then on strangers must first prove by a Retry
// (RFC 9000 §8.1.2) that packets to their address arrive, which costs honest ones a round trip. It is below
// what the gate lets one source hold, so that nobody can lock others out with forged addresses.
const manyHandshakes = 128

// door lets connections in: it counts them as strangers in the gate, and counts unfinished handshakes.
type door struct {
	gate    *gate.Gate // nil: no bound
	shaking atomic.Int64
}

// ticket is a connection's place among the strangers. Both functions may be called repeatedly.
type ticket struct {
	shaken func() // the handshake is complete
	leave  func() // the far end has authenticated, or the connection has ended
}

// ticketKey finds a connection's ticket in its context. A context value is the only thing that quic-go carries from a
// connection's first packet to the connection itself.
type ticketKey struct{}

// errFull makes quic-go answer with CONNECTION_REFUSED.
var errFull = errors.New("quic: too many connections of strangers")

// mustVerify implements quic.Transport.VerifySourceAddress.
func (d *door) mustVerify(net.Addr) bool { return d.shaking.Load() >= manyHandshakes }

// enter implements quic.Transport.ConnContext: it is called with a connection's first packet. ctx ends with the connection.
func (d *door) enter(ctx context.Context, who *quic.ClientInfo) (context.Context, error) {
	leave := func() {}
	if d.gate != nil {
		var ok bool
		if leave, ok = d.gate.Enter(who.RemoteAddr); !ok {
			return nil, errFull
		}
	}
	d.shaking.Add(1)
	t := &ticket{leave: leave, shaken: sync.OnceFunc(func() { d.shaking.Add(-1) })}
	context.AfterFunc(ctx, func() {
		t.shaken()
		t.leave()
	})
	return context.WithValue(ctx, ticketKey{}, t), nil
}
