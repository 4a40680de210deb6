package transport

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern"
)

// two is a ladder of one rung to each listener.
func (r *roads) two() Ladder {
	l := r.ladder("tls", "websocket")
	l[0].At, l[1].At = AgentsAt, WebAt
	return l
}

func TestEachRungGoesToItsListener(t *testing.T) {
	for addr, want := range map[string][]string{
		"r:4242":           {"tls@r:4242", "websocket@https://r/"},
		"https://w:8443/x": {"websocket@https://w:8443/x"},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := &roads{ways: map[string]road{"tls": {err: denied()}, "websocket": {err: denied()}}}
			if _, err := r.two().Dial(t.Context(), addr); postern.KindOf(err) != postern.Unauthenticated {
				t.Error(err)
			}
			var got []string
			for _, dial := range r.dials {
				got = append(got, strings.Fields(dial)[0])
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", addr, got, want)
			}
		})
	}
}

// denied is a failure after which no rung is tried again.
func denied() error { return &postern.Error{Kind: postern.Unauthenticated, Hop: postern.HopRelay} }

func TestALadderThatDoesNotLeadThere(t *testing.T) {
	r := &roads{}
	for addr, l := range map[string]Ladder{"https://w/": r.two()[:1], "nonsense": r.two()[1:]} {
		_, err := l.Dial(t.Context(), addr)
		if postern.KindOf(err) != postern.Unreachable || !strings.Contains(err.Error(), addr) || !strings.Contains(err.Error(), l[0].Name) {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if len(r.dials) > 0 {
		t.Errorf("%q were dialled", r.dials)
	}
}

// Of several failures the one is reported that tells most, and what answers where nobody has said that a relay is tells little.
func TestTheMostTellingFailure(t *testing.T) {
	silent := &postern.Error{Kind: postern.Timeout, Hop: postern.HopRelay, Detail: "silence"}
	answer := &postern.Error{Kind: postern.BadCommand, Hop: postern.HopRelay, Detail: "an answer"}
	other := &postern.Error{Kind: postern.BadAddress, Hop: postern.HopRelay, Detail: "another"}
	told := func(addr string) (string, bool) { return "https://" + addr, true }
	for _, c := range []struct {
		name     string
		tls, web error
		at       func(string) (string, bool)
		want     error
	}{
		{"an answer and silence", silent, answer, told, answer},
		{"an answer from where nobody has said", silent, answer, WebAt, silent},
		{"the first of two", other, answer, told, other},
		{"a wrong certificate", denied(), answer, told, denied()},
		{"a wrong certificate from where nobody has said", silent, denied(), WebAt, denied()},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := &roads{ways: map[string]road{"tls": {takes: 2 * time.Second, err: c.tls}, "websocket": {takes: 2 * time.Second, err: c.web}}}
			l := r.two()
			l[1].At = c.at
			_, err := l.Dial(t.Context(), "r:4242")
			if postern.KindOf(err) != postern.KindOf(c.want) || !errors.Is(err, c.want) && postern.KindOf(c.want) != postern.Unauthenticated {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
		})
	}
}

// What a rung is called does not change with where it leads.
func TestRungsAboveLeadElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &roads{ways: map[string]road{"tls": {takes: time.Millisecond}}}
		l := append(r.two(), r.ladder("longpoll")...)
		conn, err := l.Above("longpoll").Dial(t.Context(), "r:4242")
		if err != nil || conn.Info().Transport != "tls" {
			t.Errorf("%v, %v", conn, err)
		}
		conn, err = l.DialFrom(t.Context(), "r:4242", "websocket")
		if err != nil || conn.Info().Transport != "websocket" {
			t.Errorf("%v, %v", conn, err)
		}
	})
}
