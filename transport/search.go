package transport

import (
	"context"
	"slices"
	"time"

	"github.com/postern-dev/postern"
)

// NextRelay is how long a relay is given before the next one is tried beside it.
const NextRelay = 2 * time.Second

// Search looks for a relay that takes us, among several addresses. It is used by one goroutine.
//
//	search := transport.NewSearch(ladder, addrs, nil)
//	for {
//		conn, addr, err := search.Next(ctx)
//		if err != nil {
//			return search.Failures() // why none of them would do
//		}
//		if err = hello(conn); err == nil {
//			return conn
//		}
//		search.Fail(addr, err)
//	}
type Search struct {
	ladder   Ladder
	addrs    []string // that have not been reached yet, in turn
	first    func(addr string) string
	failures []Failure
}

// Failure is why one relay would not do.
type Failure struct {
	Addr string
	Err  error
}

// NewSearch returns a search among addrs, best first. first names the rung to begin with at an address, see DialFrom; nil: the best.
func NewSearch(l Ladder, addrs []string, first func(addr string) string) *Search {
	if first == nil {
		first = func(string) string { return "" }
	}
	s := &Search{ladder: l, first: first}
	for _, addr := range addrs {
		if !slices.Contains(s.addrs, addr) {
			s.addrs = append(s.addrs, addr)
		}
	}
	return s
}

// Fail notes that the relay at addr, which Next has reached, would not do.
func (s *Search) Fail(addr string, err error) {
	s.failures = append(s.failures, Failure{addr, err})
}

// Failures are why the addresses tried so far would not do, in the order in which that was found out.
func (s *Search) Failures() []Failure { return s.failures }

// Next dials the addresses that have not been reached yet in order, each NextRelay after the one before it or as soon as that has
// failed, and returns the first connection that stands and its address. The other dials are given up; their addresses are left to the
// Next after this. Names are resolved anew by every dial. The error is why the last address could not be reached.
func (s *Search) Next(ctx context.Context) (Conn, string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found := make(chan reached)
	running, pending := 0, slices.Clone(s.addrs)
	next := time.NewTimer(NextRelay)
	defer next.Stop()
	start := func() {
		if len(pending) > 0 {
			running++
			s.dial(ctx, pending[0], found)
			pending = pending[1:]
			next.Reset(NextRelay)
		}
	}
	err := errNone
	for start(); running > 0; {
		select {
		case <-next.C:
		case r := <-found:
			running--
			s.addrs = slices.DeleteFunc(s.addrs, func(a string) bool { return a == r.addr })
			if r.err == nil {
				cancel()
				giveUp(found, running)
				return r.conn, r.addr, nil
			}
			err = r.err
			s.Fail(r.addr, r.err)
			if ctx.Err() != nil {
				pending = nil
			}
		}
		start()
	}
	return nil, "", err
}

// errNone is the error of a search that has come to its end.
var errNone error = &postern.Error{Kind: postern.Unreachable, Hop: postern.HopRelay, Detail: "there is no other relay to try"}

func (s *Search) dial(ctx context.Context, addr string, found chan<- reached) {
	go func() {
		conn, err := s.ladder.DialFrom(ctx, addr, s.first(addr))
		found <- reached{conn, addr, err}
	}()
}

// reached is how the dial of one address ended.
type reached struct {
	conn Conn
	addr string
	err  error
}

// giveUp waits for the dials that have lost and closes what they still brought.
func giveUp(found <-chan reached, running int) {
	for range running {
		if r := <-found; r.err == nil {
			refuse(r.conn)
		}
	}
}
