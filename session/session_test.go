package session_test

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
	"github.com/postern-dev/postern/internal/testnet"
	"github.com/postern-dev/postern/session"
	"github.com/postern-dev/postern/transport"
	"github.com/postern-dev/postern/transport/mux"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// conns returns the two ends of a connection in memory.
func conns() (relay, agent transport.Conn) {
	a, b := testnet.Pipe()
	relay = mux.New(a, mux.Options{Server: true})
	agent = mux.New(b, mux.Options{MaxStreams: transport.DefaultMaxStreams})
	return relay, agent
}

// nas is who every credential proves to be, unless a test says otherwise.
func nas(role postern.Role) *postern.Identity {
	return &postern.Identity{Method: "test", Role: role, Subject: "nas", Agents: []string{"nas"}}
}

func accepting(id *postern.Identity) session.AcceptOptions {
	return session.AcceptOptions{
		Role:   id.Role,
		Verify: func(context.Context, auth.Credential) (*postern.Identity, error) { return id, nil },
		Relay:  "r1", Addresses: []string{"relay:4242"}, Software: "postern/test",
	}
}

// pair returns a running session between a relay and an agent that serves by opener. Both end with the test.
func pair(t *testing.T, ao session.AcceptOptions, co session.ConnectOptions) (relay, agent *session.Session) {
	t.Helper()
	rc, ac := conns()
	return pairOver(t, rc, ac, ao, co)
}

// pairOver is pair over a connection of the test's own.
func pairOver(t *testing.T, rc, ac transport.Conn, ao session.AcceptOptions, co session.ConnectOptions) (relay, agent *session.Session) {
	t.Helper()
	var g sync.WaitGroup
	var rerr error
	g.Go(func() { relay, rerr = session.Accept(t.Context(), rc, ao) })
	agent, err := session.Connect(t.Context(), ac, co)
	g.Wait()
	if err := errors.Join(err, rerr); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	g.Go(func() { relay.Run(ctx) })
	g.Go(func() { agent.Run(ctx) })
	t.Cleanup(func() { cancel(); g.Wait() })
	return relay, agent
}

// echo opens streams that send back what they get, after their end.
func echo() postern.Opener {
	return postern.OpenerFunc(func(context.Context, *postern.Request) (postern.Stream, error) {
		near, far := testnet.Pipe()
		go func() {
			io.Copy(far, far)
			far.Close()
		}()
		return near, nil
	})
}

func agentOptions(o postern.Opener) session.ConnectOptions {
	return session.ConnectOptions{
		Role: postern.RoleAgent, Token: "secret", Instance: "i1", Software: "postern/test", Services: []string{"web"},
		Serving: session.Serving{Opener: o, Side: postern.HopAgent},
	}
}

func request() *postern.Request {
	return &postern.Request{
		Agent: "nas", Target: postern.Target{Network: postern.TCP, Host: "10.0.0.7", Port: 22},
		Client: netip.MustParseAddrPort("192.0.2.1:4711"), Trace: "t1", Allow: [][]string{{"10.0.0.0/8"}},
	}
}

func TestBothSidesLearnWhoTheOtherIs(t *testing.T) {
	relay, agent := pair(t, accepting(nas(postern.RoleAgent)), agentOptions(echo()))
	if agent.Agent() != "nas" || agent.Peer().Relay != "r1" || agent.Peer().Addresses[0] != "relay:4242" {
		t.Errorf("the agent knows %q, %+v", agent.Agent(), agent.Peer())
	}
	if relay.Agent() != "nas" || relay.Peer().Instance != "i1" || relay.Peer().Services[0] != "web" {
		t.Errorf("the relay knows %q, %+v", relay.Agent(), relay.Peer())
	}
	if relay.ID() != agent.ID() || relay.ID() == "" {
		t.Errorf("the session is %q here and %q there", relay.ID(), agent.ID())
	}
}

func TestAStreamCarriesBytesBothWaysAndItsRequest(t *testing.T) {
	var got *postern.Request
	inner := echo()
	opener := postern.OpenerFunc(func(ctx context.Context, req *postern.Request) (postern.Stream, error) {
		got = req
		return inner.Open(ctx, req)
	})
	relay, _ := pair(t, accepting(nas(postern.RoleAgent)), agentOptions(opener))
	s, err := relay.Open(t.Context(), request())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	io.WriteString(s, "hello")
	s.CloseWrite()
	if back, err := io.ReadAll(s); string(back) != "hello" || err != nil {
		t.Errorf("read %q, %v", back, err)
	}
	want := request()
	if got.Target != want.Target || got.Client != want.Client || got.Trace != want.Trace || got.Allow[0][0] != want.Allow[0][0] {
		t.Errorf("the agent got the request %+v", got)
	}
}

func TestFailuresKeepKindHopAndDetail(t *testing.T) {
	for _, k := range postern.Kinds() {
		opener := postern.OpenerFunc(func(context.Context, *postern.Request) (postern.Stream, error) {
			return nil, &postern.Error{Kind: k, Hop: postern.HopTarget, Detail: "because"}
		})
		relay, _ := pair(t, accepting(nas(postern.RoleAgent)), agentOptions(opener))
		_, err := relay.Open(t.Context(), request())
		if postern.KindOf(err) != k || postern.HopOf(err, "") != postern.HopTarget || err.Error() != "because" {
			t.Errorf("%v arrived as %v at %v: %v", k, postern.KindOf(err), postern.HopOf(err, ""), err)
		}
	}
}

func TestTheCauseOfAnInternalErrorStaysWhereItHappened(t *testing.T) {
	cause := errors.New("open /etc/secret: permission denied")
	for _, inner := range []error{cause, &postern.Error{Kind: postern.Refused, Hop: postern.HopAgent, Detail: "no", Err: cause}} {
		opener := postern.OpenerFunc(func(context.Context, *postern.Request) (postern.Stream, error) { return nil, inner })
		relay, _ := pair(t, accepting(nas(postern.RoleAgent)), agentOptions(opener))
		_, err := relay.Open(t.Context(), request())
		if err == nil || strings.Contains(err.Error(), "secret") || postern.HopOf(err, "") != postern.HopAgent {
			t.Errorf("err = %v", err)
		}
	}
}

func TestRefusalsReachTheOneRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*session.AcceptOptions, *session.ConnectOptions)
		kind   postern.Kind
	}{
		"wrong credential": {func(a *session.AcceptOptions, _ *session.ConnectOptions) {
			a.Verify = func(context.Context, auth.Credential) (*postern.Identity, error) {
				return nil, &postern.Error{Kind: postern.Unauthenticated, Detail: "the token has expired"}
			}
		}, postern.Unauthenticated},
		"name in use": {func(a *session.AcceptOptions, _ *session.ConnectOptions) {
			a.Admit = func(*session.Session) error { return &postern.Error{Kind: postern.Conflict, Detail: "taken"} }
		}, postern.Conflict},
		"wrong role":    {func(_ *session.AcceptOptions, c *session.ConnectOptions) { c.Role = postern.RoleClient }, postern.Unauthenticated},
		"unknown scope": {func(_ *session.AcceptOptions, c *session.ConnectOptions) { c.Scope = "everything" }, postern.BadCommand},
	} {
		t.Run(name, func(t *testing.T) {
			ao, co := accepting(nas(postern.RoleAgent)), agentOptions(echo())
			tt.change(&ao, &co)
			rc, ac := conns()
			var g sync.WaitGroup
			var rerr error
			g.Go(func() { _, rerr = session.Accept(t.Context(), rc, ao) })
			_, err := session.Connect(t.Context(), ac, co)
			g.Wait()
			if postern.KindOf(err) != tt.kind || postern.KindOf(rerr) != tt.kind {
				t.Errorf("the agent got %v, the relay %v; want kind %v", err, rerr, tt.kind)
			}
		})
	}
}

func TestAStrangerThatSaysNothingIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rc, ac := conns()
		start := time.Now()
		_, err := session.Accept(t.Context(), rc, accepting(nas(postern.RoleAgent)))
		if d := time.Since(start); err == nil || d < 4*time.Second || d > 5*time.Second {
			t.Errorf("Accept ended after %v with %v, want an error after 4 to 5 s", d, err)
		}
		ac.CloseWithError(postern.OK, "")
	})
}

func TestARelayThatDoesNotAnswerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rc, ac := conns()
		start := time.Now()
		_, err := session.Connect(t.Context(), ac, agentOptions(echo()))
		if d := time.Since(start); postern.KindOf(err) != postern.Timeout || d != 5*time.Second {
			t.Errorf("Connect ended after %v with %v, want a timeout after 5s", d, err)
		}
		rc.CloseWithError(postern.OK, "")
	})
}

func TestDrainLetsStreamsFinishAndTakesNoNewOnes(t *testing.T) {
	drained := make(chan struct{})
	co := agentOptions(echo())
	co.OnDrain = func() { close(drained) }
	relay, _ := pair(t, accepting(nas(postern.RoleAgent)), co)
	s, err := relay.Open(t.Context(), request())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- relay.Drain(t.Context(), "restart") }()
	<-drained
	for {
		// Drain marks the session after it has told the agent; both happen soon.
		s, err := relay.Open(t.Context(), request())
		if postern.KindOf(err) == postern.Draining {
			break
		}
		s.Close()
	}
	io.WriteString(s, "still here")
	s.CloseWrite()
	if back, err := io.ReadAll(s); string(back) != "still here" || err != nil {
		t.Errorf("the open stream read %q, %v", back, err)
	}
	select {
	case err := <-done:
		t.Fatalf("Drain returned before the stream was closed: %v", err)
	default:
	}
	s.Close()
	if err := <-done; err != nil {
		t.Errorf("Drain = %v", err)
	}
}

func TestTheEndOfASessionBreaksItsStreams(t *testing.T) {
	relay, agent := pair(t, accepting(nas(postern.RoleAgent)), agentOptions(echo()))
	s, err := relay.Open(t.Context(), request())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	agent.Close(postern.Conflict, "replaced")
	if _, err := io.ReadAll(s); err == nil {
		t.Error("the stream saw a clean end when its session ended")
	}
	for {
		_, err := relay.Open(t.Context(), request())
		if postern.KindOf(err) == postern.AgentOffline {
			break
		}
	}
}

func TestRunSaysWhyTheSessionEnded(t *testing.T) {
	rc, ac := conns()
	var relay *session.Session
	var g sync.WaitGroup
	g.Go(func() { relay, _ = session.Accept(t.Context(), rc, accepting(nas(postern.RoleAgent))) })
	agent, err := session.Connect(t.Context(), ac, agentOptions(echo()))
	if err != nil {
		t.Fatal(err)
	}
	g.Wait()
	g.Go(func() { relay.Run(t.Context()) })
	over := make(chan error, 1)
	go func() { over <- agent.Run(t.Context()) }()
	relay.Close(postern.Conflict, "a newer session took over")
	if err := <-over; postern.KindOf(err) != postern.Conflict || !strings.Contains(err.Error(), "took over") {
		t.Errorf("Run = %v, want the relay's reason", err)
	}
	g.Wait()
}

func TestAFreshTokenComesAtTwoThirdsOfTheOldOnesLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		id := nas(postern.RoleAgent)
		id.Expires = time.Now().Add(24 * time.Hour)
		ao, co := accepting(id), agentOptions(echo())
		ao.Renew = func(old *postern.Identity) (string, *postern.Identity, error) {
			next := *old
			next.Expires = time.Now().Add(24 * time.Hour)
			return "fresh", &next, nil
		}
		tokens := make(chan string, 10)
		co.OnToken = func(token string) { tokens <- token }
		start := time.Now()
		pair(t, ao, co)
		for i := 1; i <= 3; i++ {
			if token := <-tokens; token != "fresh" {
				t.Fatalf("token = %q", token)
			}
			if d := time.Since(start); d != time.Duration(i)*16*time.Hour {
				t.Errorf("token %d came after %v, want %v", i, d, time.Duration(i)*16*time.Hour)
			}
		}
	})
}

func TestASessionEndsWithinAMinuteAfterItsTokenWhereNobodyRenewsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		id := nas(postern.RoleAgent)
		id.Expires = time.Now().Add(20 * time.Second)
		rc, ac := conns()
		var relay *session.Session
		var g sync.WaitGroup
		start := time.Now()
		var toldRelay, toldAgent time.Duration
		ao, co := accepting(id), agentOptions(echo())
		ao.OnDrain = func(*session.Session) { toldRelay = time.Since(start) }
		co.OnDrain = func() { toldAgent = time.Since(start) }
		g.Go(func() { relay, _ = session.Accept(t.Context(), rc, ao) })
		agent, err := session.Connect(t.Context(), ac, co)
		if err != nil {
			t.Fatal(err)
		}
		g.Wait()
		g.Go(func() { relay.Run(t.Context()) })
		g.Go(func() {
			live, err := relay.Open(t.Context(), request())
			if err != nil {
				t.Errorf("a stream with a good token: %v", err)
				return
			}
			defer live.Close()
			<-time.After(26 * time.Second)
			if _, err := relay.Open(t.Context(), request()); postern.KindOf(err) != postern.Draining {
				t.Errorf("a new stream after the token has expired: %v, want draining", err)
			}
			io.ReadFull(live, make([]byte, 1)) // until the end
			if d := time.Since(start); d != 75*time.Second {
				t.Errorf("a live stream ended after %v, want 1m15s", d)
			}
		})
		err = agent.Run(t.Context())
		if d := time.Since(start); postern.KindOf(err) != postern.Unauthenticated || d != 75*time.Second {
			t.Errorf("the session ended after %v with %v, want unauthenticated after 1m15s", d, err)
		}
		g.Wait()
		if toldRelay != 25*time.Second || toldAgent != 25*time.Second {
			t.Errorf("the relay drained after %v, the agent after %v, want 25s: exp and the leeway of the clocks", toldRelay, toldAgent)
		}
	})
}

func TestPublicPortsAreAskedFor(t *testing.T) {
	ao := accepting(nas(postern.RoleAgent))
	ao.OnExpose = func(_ context.Context, s *session.Session, e session.Expose) (string, error) {
		if e.Port == 22 {
			return "", &postern.Error{Kind: postern.Denied, Hop: postern.HopRelay, Detail: "port 22 is not permitted"}
		}
		return "relay:20000", nil
	}
	co := agentOptions(echo())
	co.Scope = session.TunnelsOnly
	relay, agent := pair(t, ao, co)
	target := postern.Target{Network: postern.Service, Host: "ssh"}
	if addr, err := agent.Expose(t.Context(), session.Expose{Network: postern.TCP, Target: target}); addr != "relay:20000" || err != nil {
		t.Errorf("Expose = %q, %v", addr, err)
	}
	if _, err := agent.Expose(t.Context(), session.Expose{Network: postern.TCP, Port: 22, Target: target}); postern.KindOf(err) != postern.Denied {
		t.Errorf("Expose of a port that is not permitted = %v", err)
	}
	if relay.Peer().Scope != session.TunnelsOnly {
		t.Errorf("the relay sees the scope %q", relay.Peer().Scope)
	}
}

func TestAProgramOfAClientOpensStreamsAsItself(t *testing.T) {
	var got *postern.Request
	inner := echo()
	id := nas(postern.RoleClient)
	ao := accepting(id)
	ao.Serving = session.Serving{Side: postern.HopRelay, Opener: postern.OpenerFunc(func(ctx context.Context, req *postern.Request) (postern.Stream, error) {
		got = req
		return inner.Open(ctx, req)
	})}
	_, client := pair(t, ao, session.ConnectOptions{Role: postern.RoleClient, Token: "t"})
	req := request()
	req.Identity = &postern.Identity{Subject: "root"}
	s, err := client.Open(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if got.Identity != id {
		t.Errorf("the relay opens for %+v, want the identity that the session was proved with", got.Identity)
	}
	if got.Agent != "nas" {
		t.Errorf("the stream is for agent %q", got.Agent)
	}
}

func TestASideThatServesNothingIsNotAsked(t *testing.T) {
	// An agent must not open streams at its relay.
	relay, agent := pair(t, accepting(nas(postern.RoleAgent)), agentOptions(echo()))
	if _, err := agent.Open(t.Context(), request()); err == nil {
		t.Error("an agent opened a stream at its relay")
	}
	for {
		if _, err := relay.Open(t.Context(), request()); err != nil {
			break // the session is over
		}
	}
}
