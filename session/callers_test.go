package session

import (
	"context"
	"io"
	"sync"
	"testing"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
	"github.com/postern-dev/postern/internal/testnet"
	"github.com/postern-dev/postern/transport"
	"github.com/postern-dev/postern/transport/mux"
)

// roads returns the two ends of a connection in memory; either may open streams.
func roads() (relay, dialled transport.Conn) {
	a, b := testnet.Pipe()
	return mux.New(a, mux.Options{Server: true, MaxStreams: 16}), mux.New(b, mux.Options{MaxStreams: 16})
}

// stranger is a far end that writes whatever it likes.
type stranger struct {
	conn transport.Conn
	ctl  postern.Stream
}

// atRelay starts a session at a relay with this role and opener. over gets what Run returns.
func atRelay(t *testing.T, role postern.Role, opener postern.Opener) (far stranger, over <-chan error) {
	t.Helper()
	near, conn := roads()
	ended := make(chan error, 1)
	var g sync.WaitGroup
	g.Go(func() {
		s, err := Accept(t.Context(), near, AcceptOptions{
			Role: role,
			Verify: func(context.Context, auth.Credential) (*postern.Identity, error) {
				return &postern.Identity{Role: role}, nil
			},
			Serving: Serving{Opener: opener, Side: postern.HopRelay},
		})
		if err != nil {
			t.Error(err)
			return
		}
		err = s.Run(t.Context())
		near.CloseWithError(postern.Internal, "too late") // as a listener does
		ended <- err
	})
	ctl, err := conn.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	send(t, ctl, &hello{MinVersion: Version, MaxVersion: Version, Role: string(role)})
	var w welcome
	if err := readMessage(ctl, &w, maxHello); err != nil || w.Kind != 0 {
		t.Fatalf("welcome %+v, %v", w, err)
	}
	t.Cleanup(func() { conn.CloseWithError(postern.OK, ""); g.Wait() })
	return stranger{conn, ctl}, ended
}

func send(t *testing.T, w io.Writer, m any) {
	t.Helper()
	if err := writeMessage(w, m, maxControl); err != nil {
		t.Fatal(err)
	}
}

// never connects, until nobody waits for it any more.
func never(ctx context.Context, _ *postern.Request) (postern.Stream, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestBreachesOfTurnedOpeningsEndTheSession(t *testing.T) {
	ssh := &open{Network: "tcp", Host: "10.0.0.7", Port: 22, Agent: "nas"}
	for name, tt := range map[string]struct {
		role     postern.Role
		opener   postern.Opener
		messages []*control
	}{
		"an id twice":                {postern.RoleClient, postern.OpenerFunc(never), []*control{{Type: ctlOpen, ID: 1, Open: ssh}, {Type: ctlOpen, ID: 1, Open: ssh}}},
		"an open of nothing":         {postern.RoleClient, postern.OpenerFunc(never), []*control{{Type: ctlOpen, ID: 1}}},
		"text that is no text":       {postern.RoleClient, postern.OpenerFunc(never), []*control{{Type: ctlOpen, ID: 1, Network: "\xff"}}},
		"an agent that asks a relay": {postern.RoleAgent, nil, []*control{{Type: ctlOpen, ID: 1, Open: ssh}}},
	} {
		t.Run(name, func(t *testing.T) {
			far, over := atRelay(t, tt.role, tt.opener)
			for _, m := range tt.messages {
				send(t, far.ctl, m)
			}
			if err := <-over; postern.KindOf(err) != postern.BadCommand {
				t.Errorf("the session ended with %v", err)
			}
			if _, err := far.conn.AcceptStream(t.Context()); postern.KindOf(err) != postern.BadCommand {
				t.Errorf("the far end was told %v", err)
			}
		})
	}
}

func TestMessagesAboutNoOpeningArePassedOver(t *testing.T) {
	far, over := atRelay(t, postern.RoleClient, postern.OpenerFunc(never))
	send(t, far.ctl, &control{Type: ctlCancel, ID: 7})
	send(t, far.ctl, &control{Type: ctlRefused, ID: 7, Kind: 6})
	// An open whose target is no target is refused, and only it.
	send(t, far.ctl, &control{Type: ctlOpen, ID: 1, Open: &open{Network: "tcp", Host: "10.0.0.7"}})
	var m control
	if err := readMessage(far.ctl, &m, maxControl); err != nil || m.Type != ctlRefused || m.ID != 1 || postern.Kind(m.Kind) != postern.BadAddress {
		t.Errorf("got %+v, %v", m, err)
	}
	// An id may be used again once its stream has ended.
	send(t, far.ctl, &control{Type: ctlOpen, ID: 1, Open: &open{Network: "tcp", Host: "10.0.0.7", Port: 22}})
	send(t, far.ctl, &control{Type: ctlCancel, ID: 1})
	select {
	case err := <-over:
		t.Errorf("the session ended with %v", err)
	default:
	}
}

// asking is the conn of a program that asks for its streams.
type asking struct{ transport.Conn }

func (asking) Info() transport.Info { return transport.Info{FewStreams: true} }

// atClient starts the session of a program that asks for its streams.
func atClient(t *testing.T) (client *Session, far stranger, over <-chan error) {
	t.Helper()
	conn, near := roads()
	var g sync.WaitGroup
	g.Go(func() {
		ctl, err := conn.AcceptStream(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		var h hello
		if err := readMessage(ctl, &h, maxHello); err != nil {
			t.Error(err)
		}
		send(t, ctl, &welcome{Version: Version})
		far = stranger{conn, ctl}
	})
	client, err := Connect(t.Context(), asking{near}, ConnectOptions{Role: postern.RoleClient})
	g.Wait()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	g.Go(func() { ended <- client.Run(t.Context()) })
	t.Cleanup(func() { conn.CloseWithError(postern.OK, ""); g.Wait() })
	return client, far, ended
}

// opens has the client open a stream and returns the id that it asks with.
func (f stranger) opens(t *testing.T, client *Session) (id uint64, result <-chan error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		s, err := client.Open(t.Context(), &postern.Request{Agent: "nas", Target: postern.Target{Network: postern.Service, Host: "web"}})
		if err == nil {
			err = s.Close()
		}
		done <- err
	}()
	var m control
	if err := readMessage(f.ctl, &m, maxControl); err != nil || m.Type != ctlOpen || m.Open == nil || m.Open.Host != "web" {
		t.Fatalf("the client sent %+v, %v", m, err)
	}
	return m.ID, done
}

func (f stranger) stream(t *testing.T) postern.Stream {
	t.Helper()
	s, err := f.conn.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestAStreamThatNobodyAskedForIsBrokenOff(t *testing.T) {
	client, far, _ := atClient(t)
	id, result := far.opens(t, client)
	wrong := far.stream(t)
	send(t, wrong, &answer{ID: id + 1})
	if _, err := io.ReadAll(wrong); err == nil {
		t.Error("the stream ended cleanly")
	}
	// One that is broken off before its answer is no breach either.
	far.stream(t).Abort(postern.Timeout)
	right := far.stream(t)
	send(t, right, &answer{ID: id})
	if err := <-result; err != nil {
		t.Errorf("Open = %v", err)
	}
	// What was answered once is not answered again.
	again := far.stream(t)
	send(t, again, &answer{ID: id})
	if _, err := io.ReadAll(again); err == nil {
		t.Error("the second stream ended cleanly")
	}
}

func TestAStreamThatBeginsWithNoAnswerEndsTheSession(t *testing.T) {
	client, far, over := atClient(t)
	_, result := far.opens(t, client)
	if _, err := far.stream(t).Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := <-result; postern.KindOf(err) != postern.AgentOffline {
		t.Errorf("Open = %v", err)
	}
	if err := <-over; postern.KindOf(err) != postern.BadCommand {
		t.Errorf("the session ended with %v", err)
	}
}

func TestARefusalWithoutAReasonIsStillOne(t *testing.T) {
	client, far, _ := atClient(t)
	id, result := far.opens(t, client)
	send(t, far.ctl, &control{Type: ctlRefused, ID: id})
	if err := <-result; err == nil {
		t.Error("Open succeeded")
	}
}
