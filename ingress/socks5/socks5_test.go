package socks5

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/internal/testnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeAuth knows the password "right" for every user.
type fakeAuth struct{ calls atomic.Int32 }

func (a *fakeAuth) Verify(_ context.Context, c auth.Credential) (*postern.Identity, error) {
	a.calls.Add(1)
	if c.Secret != "right" || c.Role != postern.RoleClient {
		return nil, &postern.Error{Kind: postern.Unauthenticated, Hop: postern.HopRelay}
	}
	return &postern.Identity{Method: "fake", Subject: c.User, Role: c.Role, Agents: []string{"nas", "pi"}}, nil
}

// fakeOpener notes what is asked of it, and gives err or the near end of a pipe.
type fakeOpener struct {
	err error
	far chan postern.Stream

	mu       sync.Mutex
	requests []*postern.Request
}

func (o *fakeOpener) Open(_ context.Context, req *postern.Request) (postern.Stream, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.requests = append(o.requests, req)
	if o.err != nil {
		return nil, o.err
	}
	near, far := testnet.Pipe()
	o.far <- far
	return bound{near}, nil
}

// bound is a stream whose target saw 192.0.2.1:258.
type bound struct{ postern.Stream }

func (bound) LocalAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:258"))
}

var success = []byte{5, 0, 0, 1, 192, 0, 2, 1, 1, 2}

// dial connects to a server with these parts and returns the client's end. The server has ended when the test has.
func dial(t *testing.T, o Options, opener *fakeOpener, a ingress.Authenticator) postern.Stream {
	t.Helper()
	if opener.far == nil {
		opener.far = make(chan postern.Stream, 1)
	}
	server := &ingress.Server{Protocol: New(o), Opener: opener, Auth: a}
	near, far := testnet.Pipe()
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(done)
		server.ServeConn(ctx, far, nil)
	}()
	t.Cleanup(func() {
		_ = near.Close()
		cancel()
		<-done
	})
	if err := near.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return near
}

func write(t *testing.T, w io.Writer, parts ...[]byte) {
	t.Helper()
	if _, err := w.Write(bytes.Join(parts, nil)); err != nil {
		t.Fatalf("writing: %v", err)
	}
}

func expect(t *testing.T, r io.Reader, want ...byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil {
		t.Fatalf("got % x and then %v, want % x", got[:n], err, want)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("got % x, want % x", got, want)
	}
}

func expectEnd(t *testing.T, r io.Reader) {
	t.Helper()
	if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
		t.Fatalf("got % x and %v, want the end", rest, err)
	}
}

func TestConnectWithPassword(t *testing.T) {
	opener := &fakeOpener{}
	verifier := &fakeAuth{}
	c := dial(t, Options{}, opener, verifier)
	write(t, c, greeting(0, 2))
	expect(t, c, 5, 2)
	write(t, c, password("ann+nas", "right"))
	expect(t, c, 1, 0)
	write(t, c, domainRequest(1, "db.example.com", 5432))
	expect(t, c, success...)

	far := <-opener.far
	defer far.Close()
	req := opener.requests[0]
	if req.Agent != "nas" || req.Target.String() != "tcp db.example.com:5432" || req.Identity.Subject != "ann+nas" {
		t.Errorf("asked for %+v", req)
	}
	if n := verifier.calls.Load(); n != 1 {
		t.Errorf("the credential was verified %d times, want once", n)
	}
	write(t, far, []byte("banner"))
	expect(t, c, []byte("banner")...)
}

func TestFixedAgentNeedsNoPassword(t *testing.T) {
	opener := &fakeOpener{}
	c := dial(t, Options{Agent: "nas"}, opener, nil)
	write(t, c, greeting(2, 0))
	expect(t, c, 5, 0)
	write(t, c, addressRequest(1, "2001:db8::7", 22))
	expect(t, c, success...)
	far := <-opener.far
	defer far.Close()
	if req := opener.requests[0]; req.Agent != "nas" || req.Target.String() != "tcp [2001:db8::7]:22" || req.Identity != nil {
		t.Errorf("asked for %+v", req)
	}
}

// TestPipelined sends everything at once, as clients do that save round trips.
func TestPipelined(t *testing.T) {
	opener := &fakeOpener{}
	c := dial(t, Options{}, opener, &fakeAuth{})
	payload := strings.Repeat("early bytes. ", 10_000)
	write(t, c, greeting(2), password("nas", "right"), domainRequest(1, "ssh.service", 22), []byte(payload))
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	expect(t, c, 5, 2, 1, 0)
	expect(t, c, success...)
	far := <-opener.far
	defer far.Close()
	got, err := io.ReadAll(far)
	if err != nil || string(got) != payload {
		t.Fatalf("%d bytes arrived and %v, want %d", len(got), err, len(payload))
	}
	// The client's half-close has travelled; the answer still does.
	write(t, far, []byte("answer"))
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	expect(t, c, []byte("answer")...)
	expectEnd(t, c)
}

func TestAuthenticationIsNeverSkipped(t *testing.T) {
	all := make([]byte, 255)
	for i := range all {
		all[i] = byte(i)
	}
	without2 := bytes.ReplaceAll(all, []byte{2}, []byte{0})
	ok := addressRequest(1, "10.0.0.7", 22)
	for _, tt := range []struct {
		name string
		send [][]byte
		want []byte
	}{
		{"no methods", [][]byte{greeting()}, []byte{5, 0xff}},
		{"no authentication only", [][]byte{greeting(0), ok}, []byte{5, 0xff}},
		{"GSSAPI only", [][]byte{greeting(1), ok}, []byte{5, 0xff}},
		{"254 others", [][]byte{greeting(without2...), ok}, []byte{5, 0xff}},
		{"request instead of password", [][]byte{greeting(all...), ok}, []byte{5, 2}},
		{"wrong password, then a request", [][]byte{greeting(2), password("nas", "wrong"), ok}, []byte{5, 2, 1, 1}},
		{"no password", [][]byte{greeting(2), password("nas", ""), ok}, []byte{5, 2, 1, 1}},
		{"no user", [][]byte{greeting(2), password("", "right"), ok}, []byte{5, 2, 1, 1}},
		{"no agent", [][]byte{greeting(2), password("ann+", "right"), ok}, []byte{5, 2, 1, 1}},
		{"user that is no agent", [][]byte{greeting(2), password("a b", "right"), ok}, []byte{5, 2, 1, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opener := &fakeOpener{}
			c := dial(t, Options{}, opener, &fakeAuth{})
			write(t, c, tt.send...)
			expect(t, c, tt.want...)
			_ = c.CloseWrite() // else the server listens for a second before it closes
			expectEnd(t, c)
			if len(opener.requests) > 0 {
				t.Errorf("a stream was opened: %+v", opener.requests[0])
			}
		})
	}
}

func TestWithoutAuthenticatorPasswordsAreWrong(t *testing.T) {
	opener := &fakeOpener{}
	c := dial(t, Options{}, opener, nil)
	write(t, c, greeting(2), password("nas", "anything"), addressRequest(1, "10.0.0.7", 22))
	expect(t, c, 5, 2, 1, 1)
	_ = c.CloseWrite()
	expectEnd(t, c)
}

func TestAgentBeyondTheCredentialIsDenied(t *testing.T) {
	c := dial(t, Options{}, &fakeOpener{}, &fakeAuth{})
	write(t, c, greeting(2), password("other", "right"), addressRequest(1, "10.0.0.7", 22))
	expect(t, c, 5, 2, 1, 0, 5, 2, 0, 1, 0, 0, 0, 0, 0, 0)
	_ = c.CloseWrite()
	expectEnd(t, c)
}

// TestClearPasswordsFromAfarAreNotAskedFor: who is not on loopback must use TLS.
func TestClearPasswordsFromAfarAreNotAskedFor(t *testing.T) {
	ln := testnet.Listen()
	server := &ingress.Server{Protocol: New(Options{}), Opener: &fakeOpener{}, Auth: &fakeAuth{}}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, ln) }()
	c, err := ln.DialFrom(t.Context(), net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.9:4000")))
	if err != nil {
		t.Fatal(err)
	}
	write(t, c, greeting(2), password("nas", "right"))
	expect(t, c, 5, 0xff)
	_ = c.Close()
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestFailuresAreToldByReply(t *testing.T) {
	for _, k := range postern.Kinds() {
		t.Run(k.String(), func(t *testing.T) {
			c := dial(t, Options{Agent: "nas"}, &fakeOpener{err: &postern.Error{Kind: k, Hop: postern.HopAgent}}, nil)
			write(t, c, greeting(0), addressRequest(1, "10.0.0.7", 22), []byte("early bytes"))
			expect(t, c, 5, 0, 5, replyCode(k), 0, 1, 0, 0, 0, 0, 0, 0)
			_ = c.CloseWrite()
			expectEnd(t, c)
		})
	}
}

func TestRequestsThatAreNoConnect(t *testing.T) {
	for _, tt := range []struct {
		name  string
		wire  []byte
		reply byte
	}{
		{"BIND", addressRequest(2, "10.0.0.7", 22), 7},
		{"UDP ASSOCIATE", addressRequest(3, "0.0.0.0", 0), 7},
		{"unknown command", domainRequest(9, "x.example", 1), 7},
		{"address type 2", []byte{5, 1, 0, 2, 1, 2, 3, 4, 0, 80}, 8},
		{"empty name", domainRequest(1, "", 80), 1},
		{"port 0", addressRequest(1, "10.0.0.7", 0), 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opener := &fakeOpener{}
			c := dial(t, Options{Agent: "nas"}, opener, nil)
			write(t, c, greeting(0), tt.wire)
			expect(t, c, 5, 0, 5, tt.reply, 0, 1, 0, 0, 0, 0, 0, 0)
			_ = c.CloseWrite()
			expectEnd(t, c)
			if len(opener.requests) > 0 {
				t.Errorf("a stream was opened: %+v", opener.requests[0])
			}
		})
	}
}

func TestSuccessIsNotSaidBeforeTheTargetIsConnected(t *testing.T) {
	release, opening := make(chan struct{}), make(chan struct{})
	near, far := testnet.Pipe()
	opener := postern.OpenerFunc(func(context.Context, *postern.Request) (postern.Stream, error) {
		close(opening)
		<-release
		return nil, &postern.Error{Kind: postern.Refused, Hop: postern.HopTarget}
	})
	server := &ingress.Server{Protocol: New(Options{Agent: "nas"}), Opener: opener}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.ServeConn(t.Context(), far, nil)
	}()
	write(t, near, greeting(0), addressRequest(1, "10.0.0.7", 22))
	expect(t, near, 5, 0)
	<-opening
	// The server waits for the opener; whatever it had said before is here by now.
	if err := near.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := near.Read(make([]byte, 1)); n != 0 || !isTimeout(err) {
		t.Fatalf("read %d bytes and %v before the target was connected", n, err)
	}
	if err := near.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	close(release)
	expect(t, near, 5, 5, 0, 1, 0, 0, 0, 0, 0, 0)
	_ = near.Close()
	<-done
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

func TestOtherProtocols(t *testing.T) {
	t.Run("SOCKS4", func(t *testing.T) {
		c := dial(t, Options{Agent: "nas"}, &fakeOpener{}, nil)
		write(t, c, []byte{4, 1, 0, 80, 10, 0, 0, 7}, []byte("ann\x00"))
		expect(t, c, 0, 0x5b, 0, 0, 0, 0, 0, 0)
		_ = c.CloseWrite()
		expectEnd(t, c)
	})
	t.Run("HTTP", func(t *testing.T) {
		c := dial(t, Options{}, &fakeOpener{}, &fakeAuth{})
		write(t, c, []byte("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"))
		_ = c.CloseWrite()
		got, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 400 ") || !strings.Contains(string(got), "SOCKS5") {
			t.Fatalf("got %q and %v", got, err)
		}
		head, body, _ := strings.Cut(string(got), "\r\n\r\n")
		if want := fmt.Sprintf("Content-Length: %d", len(body)); !strings.Contains(head, want) {
			t.Errorf("the head %q has no %s", head, want)
		}
	})
	for name, wire := range map[string][]byte{"SSH": []byte("SSH-2.0-x\r\n"), "zeros": make([]byte, 1000), "TLS": {0x16, 3, 1, 2, 0}} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, Options{}, &fakeOpener{}, &fakeAuth{})
			write(t, c, wire)
			_ = c.CloseWrite()
			expectEnd(t, c)
		})
	}
}

// TestCutOffAnywhere ends the client's bytes at each offset: the server answers what was complete, opens nothing and closes.
func TestCutOffAnywhere(t *testing.T) {
	whole := bytes.Join([][]byte{greeting(0, 2), password("nas", "right"), domainRequest(1, "example.com", 80)}, nil)
	for n := range whole {
		opener := &fakeOpener{}
		c := dial(t, Options{}, opener, &fakeAuth{})
		write(t, c, whole[:n])
		_ = c.CloseWrite()
		got, err := io.ReadAll(c)
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		var want []byte
		if n >= len(greeting(0, 2)) {
			want = append(want, 5, 2)
		}
		if n >= len(greeting(0, 2))+len(password("nas", "right")) {
			want = append(want, 1, 0)
		}
		if !bytes.Equal(got, want) || len(opener.requests) > 0 {
			t.Errorf("cut at %d: answered % x, want % x; %d streams opened", n, got, want, len(opener.requests))
		}
	}
}
