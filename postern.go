// Package postern holds the nouns that every other package of the module speaks in:
// an agent and its id, a target, a request for a stream, a stream, who asked, and why something failed.
// It imports nothing of the module, so that everything may import it.
//
// A stream from a client to a target, seen from the relay, is
//
//	req := &postern.Request{Agent: "nas", Target: postern.Target{Network: postern.TCP, Host: "10.0.0.7", Port: 22}}
//	stream, err := opener.Open(ctx, req) // a router, a session, or the egress of an agent: all the same to the caller
//	if err != nil {
//		return postern.KindOf(err) // Denied, AgentOffline, Refused, ...
//	}
//	splice.Join(ctx, client, stream, splice.Options{})
package postern

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// AgentID names an agent: 1 to 64 characters of A-Z a-z 0-9 . _ -
type AgentID string

// maxAgentID is what fits every place an id is written to: a host label, a directory key, a log line.
const maxAgentID = 64

// ParseAgentID returns s as an AgentID, or an Error of kind BadAddress that says what is wrong with it.
func ParseAgentID(s string) (AgentID, error) {
	if s == "" {
		return "", Errorf(BadAddress, HopRelay, "the agent id is empty")
	}
	if len(s) > maxAgentID {
		return "", Errorf(BadAddress, HopRelay, "the agent id has %d characters, at most %d are allowed", len(s), maxAgentID)
	}
	for _, c := range s {
		if !isIDRune(c) {
			return "", Errorf(BadAddress, HopRelay, "the agent id %q has a %q; allowed are letters, digits and . _ -", s, c)
		}
	}
	return AgentID(s), nil
}

func isIDRune(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
}

// Stream is one client's bytes inside a session, or the connection at either end of it.
//
// One goroutine may read while another writes; CloseWrite, Abort, Close and the deadlines may be
// called from any. Whoever obtained the stream closes it.
//
// Read returns io.EOF only after the far end has called CloseWrite or Close and every byte before that
// was read. When the far end, or anything between, broke off, Read and Write return an error that is not
// io.EOF; if the far end called Abort, KindOf gives its kind.
type Stream interface {
	net.Conn

	// CloseWrite says that nothing more will be written; reading goes on. Idempotent.
	CloseWrite() error

	// Abort ends both directions at once so that the far end sees a failure of kind k, never a clean end.
	// What was written but not yet sent may be lost. Idempotent; a no-op after Close.
	Abort(k Kind)

	// Close frees the stream. What was written is still delivered, followed by a clean end;
	// what the far end goes on to write is thrown away and its Write fails. Idempotent.
	Close() error
}

// Request asks for one stream to a target.
type Request struct {
	// Agent is whom to ask. Empty between a relay and the agent itself.
	Agent AgentID
	// Target is where the agent shall connect to.
	Target Target
	// Client is the address of the client as the relay saw it; zero if unknown.
	Client netip.AddrPort
	// Identity is who asks, already authenticated; nil for nobody in particular (a public port).
	Identity *Identity
	// Allow are rule sets beyond the agent's own: the target must pass each of them. See egress/allow.
	Allow [][]string
	// Trace is a request id that stands in the logs of relay and agent, and in answers to clients.
	Trace string
}

// Opener opens streams. The relay's router, a session and an agent's egress are Openers.
//
// Open returns when the target is connected, or with an *Error. Cancelling ctx gives the attempt up; it has
// no effect on a stream that was returned. The stream's LocalAddr is the address the target saw, if known.
type Opener interface {
	Open(ctx context.Context, req *Request) (Stream, error)
}

// OpenerFunc makes an Opener of a function.
type OpenerFunc func(ctx context.Context, req *Request) (Stream, error)

// Open calls f.
func (f OpenerFunc) Open(ctx context.Context, req *Request) (Stream, error) { return f(ctx, req) }

// PortRange is the ports from Low to High, both included.
type PortRange struct{ Low, High uint16 }

// ParsePortRange reads what String writes, and a range of one port. The error is an *Error of kind BadAddress.
func ParsePortRange(s string) (PortRange, error) {
	low, high, isRange := strings.Cut(s, "-")
	if !isRange {
		high = low
	}
	l, errLow := parsePort(low)
	h, errHigh := parsePort(high)
	if errLow != nil || errHigh != nil || l > h {
		return PortRange{}, Errorf(BadAddress, HopRelay, "%q is neither a port nor a range like 20000-20999", Clip(s))
	}
	return PortRange{Low: l, High: h}, nil
}

// Contains reports whether p lies in the range.
func (r PortRange) Contains(p uint16) bool { return r.Low <= p && p <= r.High }

// String writes the range as "80" or "1000-2000".
func (r PortRange) String() string {
	if r.Low == r.High {
		return fmt.Sprint(r.Low)
	}
	return fmt.Sprintf("%d-%d", r.Low, r.High)
}
