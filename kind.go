package postern

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Kind is why something failed, said the same way on every wire and by every ingress.
// The numbers cross the wire: append, never reorder. docs/wire.md lists them.
type Kind uint8

// The kinds of failure, with the hop that usually reports them.
const (
	OK              Kind = 0  // no failure
	Unauthenticated Kind = 1  // the credential is missing, wrong or expired
	Denied          Kind = 2  // a rule of the relay, the agent or the token forbids it
	NoSuchAgent     Kind = 3  // nobody of that name is known
	AgentOffline    Kind = 4  // the agent is known but away
	Draining        Kind = 5  // the relay or agent is going away and takes nothing new
	Refused         Kind = 6  // the target refused the connection
	Unreachable     Kind = 7  // no route to the target
	NameNotFound    Kind = 8  // the target's name does not resolve
	Timeout         Kind = 9  // the target, agent or client took too long
	Limited         Kind = 10 // the caller's own limit of streams or rate is used up
	Overloaded      Kind = 11 // the relay or agent sheds load
	Conflict        Kind = 12 // somebody else holds the name or port
	BadAddress      Kind = 13 // the address is malformed
	BadCommand      Kind = 14 // the command is not known or not supported
	BadAddressType  Kind = 15 // the type of address is not known
	Internal        Kind = 16 // a defect or a broken machine; the log of the hop has more
	Aborted         Kind = 17 // the stream was broken off by one of its ends
)

// kinds is the name and the sentence of each kind, by its number.
var kinds = [...]struct{ name, sentence string }{
	OK:              {"ok", "no failure"},
	Unauthenticated: {"unauthenticated", "the credential is missing, wrong or expired"},
	Denied:          {"denied", "the rules do not allow it"},
	NoSuchAgent:     {"no such agent", "there is no such agent"},
	AgentOffline:    {"agent offline", "the agent is not connected"},
	Draining:        {"draining", "the service is shutting down"},
	Refused:         {"target refused", "the target refused the connection"},
	Unreachable:     {"target unreachable", "the target cannot be reached"},
	NameNotFound:    {"name not found", "the target's name does not resolve"},
	Timeout:         {"timeout", "it took too long"},
	Limited:         {"limit reached", "a limit of yours is used up"},
	Overloaded:      {"overloaded", "the service is busy"},
	Conflict:        {"conflict", "somebody else holds it"},
	BadAddress:      {"bad address", "the address is malformed"},
	BadCommand:      {"bad command", "the command is not supported"},
	BadAddressType:  {"bad address type", "the type of address is not supported"},
	Internal:        {"internal", "something broke inside"},
	Aborted:         {"aborted", "the connection was broken off"},
}

// Kinds returns every kind but OK, in order, for tests that walk them all.
func Kinds() []Kind {
	all := make([]Kind, 0, len(kinds)-1)
	for k := Unauthenticated; int(k) < len(kinds); k++ {
		all = append(all, k)
	}
	return all
}

// String is the short name, as in logs.
func (k Kind) String() string {
	if int(k) < len(kinds) {
		return kinds[k].name
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Sentence says the kind to a person.
func (k Kind) Sentence() string {
	if int(k) < len(kinds) {
		return kinds[k].sentence
	}
	return "it failed for a reason that this version does not know"
}

// Hop is a station on a stream's way.
type Hop string

// The hops, in the order bytes from a client meet them.
const (
	HopClient Hop = "client"
	HopRelay  Hop = "relay"
	HopAgent  Hop = "agent"
	HopTarget Hop = "target"
)

// Error is a failure with its kind and the hop it happened at. Kind, Hop and Detail cross the wire and are
// shown to clients that have authenticated; Err is the cause and stays in the process.
type Error struct {
	Kind   Kind
	Hop    Hop
	Detail string // one lower-case sentence without secrets; empty: the kind's own
	Err    error

	// RetryAfter is how long whoever refused wants to be left alone; zero: it did not say.
	RetryAfter time.Duration
}

// Error writes the detail, or the kind's sentence, and the cause.
func (e *Error) Error() string {
	s := e.Detail
	if s == "" {
		s = e.Kind.Sentence()
	}
	if _, told := e.Err.(silentError); e.Err != nil && !told {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an Error of kind k at hop with the given detail. A %w in format becomes the cause,
// and its text a part of the detail.
func Errorf(k Kind, hop Hop, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: k, Hop: hop, Detail: err.Error(), Err: silent(errors.Unwrap(err))}
}

// silent keeps a cause for errors.Is and As without writing its text a second time.
func silent(err error) error {
	if err == nil {
		return nil
	}
	return silentError{err}
}

type silentError struct{ error }

func (s silentError) Unwrap() error { return s.error }

// KindOf returns the kind of the first Error in err's chain; OK for nil; Timeout for a context's deadline and
// anything else that calls itself a timeout; Internal for the rest.
func KindOf(err error) Kind {
	if err == nil {
		return OK
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	if t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && t.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return Timeout
	}
	return Internal
}

// HopOf returns the hop of the first Error in err's chain, or here if there is none.
func HopOf(err error, here Hop) Hop {
	if e, ok := errors.AsType[*Error](err); ok && e.Hop != "" {
		return e.Hop
	}
	return here
}

// RetryAfterOf returns how long the first Error in err's chain that says so asks to wait before the next try; zero: none does.
func RetryAfterOf(err error) time.Duration {
	for e, ok := errors.AsType[*Error](err); ok; e, ok = errors.AsType[*Error](e.Err) {
		if e.RetryAfter > 0 {
			return e.RetryAfter
		}
	}
	return 0
}

// Clip shortens text from outside before it is put into an error or an answer.
func Clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
