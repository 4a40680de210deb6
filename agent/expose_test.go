package agent

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/session"
)

// exposing is an agent of public ports only, for a TCP target and a unix socket.
func exposing(told chan<- string) Options {
	return Options{
		Expose: []session.Expose{
			{Network: postern.TCP, Target: postern.Target{Network: postern.TCP, Host: "127.0.0.1", Port: 22}},
			{Network: postern.TCP, Port: 20500, Target: postern.Target{Network: postern.Unix, Host: "/run/x.sock"}},
		},
		OnExposed: func(e session.Expose, address string) { told <- fmt.Sprintf("%s leads to %s", address, e.Target) },
	}
}

func TestAPublicPortStaysTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := newFakeRelay(t)
		asked := make(chan session.Expose, 10)
		relay.expose = func(_ context.Context, _ *session.Session, e session.Expose) (string, error) {
			asked <- e
			if e.Port == 0 {
				e.Port = 20007
			}
			return fmt.Sprintf(":%d", e.Port), nil // it knows no name for itself
		}
		told := make(chan string, 10)
		start(t, relay, configure(), exposing(told))
		for i, first := range []uint16{0, 20007} {
			s := relay.next()
			if s.Peer().Scope != session.TunnelsOnly {
				t.Errorf("the session has the scope %q: it would be asked for other things", s.Peer().Scope)
			}
			for j, want := range []session.Expose{
				{Network: postern.TCP, Port: first, Target: postern.Target{Network: postern.Service, Host: "exposed-0"}},
				{Network: postern.TCP, Port: 20500, Target: postern.Target{Network: postern.Service, Host: "exposed-1"}},
			} {
				if diff := cmp.Diff(want, <-asked); diff != "" {
					t.Errorf("session %d, port %d (-want +asked):\n%s", i, j, diff)
				}
			}
			for _, want := range []string{"relay:20007 leads to tcp 127.0.0.1:22", "relay:20500 leads to unix /run/x.sock"} {
				if got := <-told; got != want {
					t.Errorf("session %d: told %q, want %q", i, got, want)
				}
			}
			s.Close(postern.Aborted, "the road broke")
		}
	})
}

func TestExposedTargetsAreTheOnlyOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := newFakeRelay(t)
		relay.expose = func(context.Context, *session.Session, session.Expose) (string, error) { return "127.0.0.1:20007", nil }
		start(t, relay, configure(), exposing(make(chan string, 10)))
		s := relay.next()
		_, err := s.Open(t.Context(), &postern.Request{Target: postern.Target{Network: postern.TCP, Host: "127.0.0.1", Port: 22}})
		if postern.KindOf(err) != postern.Denied {
			t.Errorf("the target's own address: %v, want denied", err)
		}
	})
}

func TestAPortThatIsRefusedAtFirstEndsTheAgent(t *testing.T) {
	for _, k := range []postern.Kind{postern.Denied, postern.Conflict, postern.BadCommand} {
		t.Run(k.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				relay := newFakeRelay(t)
				relay.expose = func(context.Context, *session.Session, session.Expose) (string, error) {
					return "", postern.Errorf(k, postern.HopRelay, "not this port")
				}
				err := newAgent(t, relay, configure(), exposing(make(chan string, 10))).Run(t.Context())
				if postern.KindOf(err) != k || !errors.Is(err, errPort) {
					t.Errorf("Run returned %v", err)
				}
			})
		})
	}
}

func TestAnAddressThatIsNoneIsNotShown(t *testing.T) {
	l := &link{addr: "relay.example.com:4242"}
	for in, want := range map[string]string{
		":20007":              "relay.example.com:20007",
		"192.0.2.1:20007":     "192.0.2.1:20007",
		"[2001:db8::1]:20007": "[2001:db8::1]:20007",
		"20007":               "",
		":99999":              "",
		"":                    "",
	} {
		got, port, err := l.publicAddress(in)
		if want == "" {
			if err == nil {
				t.Errorf("%q became %q", in, got)
			}
			continue
		}
		if got != want || port != 20007 || err != nil {
			t.Errorf("%q became %q, port %d, %v", in, got, port, err)
		}
	}
}
