package ingress_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/ingress/ingresstest"
	"github.com/postern-dev/postern/internal/testnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// oneLine is the smallest protocol there can be: the client says "USER SECRET", the answer is "ok" or the kind of the failure.
type oneLine struct{}

func (oneLine) Name() string { return "oneline" }

func (oneLine) Handshake(_ context.Context, c *ingress.Conn, _ *ingress.Server) (ingress.Call, error) {
	line, err := c.Reader().ReadString('\n')
	if err != nil {
		return nil, err
	}
	user, secret, _ := strings.Cut(strings.TrimSpace(line), " ")
	return &oneCall{c, user, secret}, nil
}

type oneCall struct {
	c            *ingress.Conn
	user, secret string
}

func (o *oneCall) Wish() ingress.Wish {
	return ingress.Wish{
		Target:     postern.Target{Network: postern.Service, Host: "web"},
		Credential: &auth.Credential{User: o.user, Secret: o.secret},
	}
}

func (o *oneCall) Accept(net.Addr) error {
	_, err := io.WriteString(o.c, "ok\n")
	return err
}

func (o *oneCall) Reject(err error, trace string) error {
	_, werr := fmt.Fprintf(o.c, "%v\n", postern.KindOf(err))
	if o.user == "again" {
		return ingress.ErrAgain
	}
	return werr
}

// verify is an Authenticator made of a function.
type verify func(context.Context, auth.Credential) (*postern.Identity, error)

func (v verify) Verify(ctx context.Context, c auth.Credential) (*postern.Identity, error) {
	return v(ctx, c)
}

func secretIsSecret(_ context.Context, c auth.Credential) (*postern.Identity, error) {
	if c.Role != postern.RoleClient || c.Secret != "secret" {
		return nil, postern.Errorf(postern.Unauthenticated, postern.HopRelay, "wrong")
	}
	return &postern.Identity{Method: "test", Subject: c.User, Role: c.Role, Agents: []string{"nas"}, Targets: []string{"*:80"}}, nil
}

func openEcho(context.Context, *postern.Request) (postern.Stream, error) {
	near, far := testnet.Pipe()
	go func() {
		// What ends it shows at the client.
		_, _ = io.Copy(far, far)
		_ = far.Close()
	}()
	return near, nil
}

func newServer() *ingress.Server {
	return &ingress.Server{Protocol: oneLine{}, Auth: verify(secretIsSecret), Opener: postern.OpenerFunc(openEcho)}
}

// serve serves one connection in memory until the test ends, and returns the client's side.
func serve(t *testing.T, s *ingress.Server) postern.Stream {
	t.Helper()
	near, far := testnet.Pipe()
	var served sync.WaitGroup
	served.Go(func() { s.ServeConn(t.Context(), far, nil) })
	t.Cleanup(func() {
		_ = near.Close() // it may be closed already
		served.Wait()
	})
	return near
}

func ask(t *testing.T, c net.Conn, line string) string {
	t.Helper()
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(answer)
}

func TestContract(t *testing.T) {
	ingresstest.Run(t, ingresstest.Harness{
		Server: newServer,
		Hello:  func(early []byte) []byte { return append([]byte("me secret\n"), early...) },
		Reply: func(r *bufio.Reader) error {
			if line, err := r.ReadString('\n'); err != nil || line != "ok\n" {
				return fmt.Errorf("%q, %w", line, errors.Join(err, errors.New("not ok")))
			}
			return nil
		},
		Rejected: func(r *bufio.Reader, k postern.Kind) error {
			if line, err := r.ReadString('\n'); err != nil || line != k.String()+"\n" {
				return fmt.Errorf("%q, %v", line, err)
			}
			return nil
		},
		Partial: []byte("me sec"),
	})
}

func TestTheRequestSaysWhoAsksForWhat(t *testing.T) {
	var got *postern.Request
	s := newServer()
	s.Opener = postern.OpenerFunc(func(_ context.Context, req *postern.Request) (postern.Stream, error) {
		got = req
		return nil, postern.Errorf(postern.Refused, postern.HopTarget, "")
	})
	if answer := ask(t, serve(t, s), "me secret"); answer != "target refused" {
		t.Errorf("got %q", answer)
	}
	want := &postern.Request{
		Agent: "nas", Target: postern.Target{Network: postern.Service, Host: "web"}, Client: netip.MustParseAddrPort("127.0.0.1:1"),
		Identity: &postern.Identity{Method: "test", Subject: "me", Role: postern.RoleClient, Agents: []string{"nas"}, Targets: []string{"*:80"}},
		Allow:    [][]string{{"*:80"}}, Trace: got.Trace,
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestOneLinePerStreamInTheLog(t *testing.T) {
	var log bytes.Buffer
	s := newServer()
	s.Log = slog.New(slog.NewJSONHandler(&log, nil))
	near, far := testnet.Pipe()
	done := make(chan struct{})
	go func() { s.ServeConn(t.Context(), far, nil); close(done) }()
	if answer := ask(t, near, "me secret\nhello"); answer != "ok" {
		t.Fatalf("got %q", answer)
	}
	if err := near.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	<-done
	if err := near.Close(); err != nil {
		t.Fatal(err)
	}
	var line map[string]any
	if err := json.Unmarshal(log.Bytes(), &line); err != nil {
		t.Fatalf("%v: %s", err, &log)
	}
	for name, want := range map[string]any{
		"msg": "stream", "level": "INFO", "ingress": "oneline", "agent": "nas", "target": "service web", "client": "127.0.0.1:1",
		"user": "me", "sent": 6.0, "received": 6.0, "reason": "done",
	} {
		if line[name] != want {
			t.Errorf("%s is %v, want %v", name, line[name], want)
		}
	}
	if trace, ok := line["trace"].(string); !ok || len(trace) != 16 {
		t.Errorf("trace is %v", line["trace"])
	}
	if _, ok := line["duration"]; !ok || strings.Contains(log.String(), "secret") {
		t.Errorf("the line is %s", &log)
	}
}

func TestStrangersAreOnlyLoggedForDebugging(t *testing.T) {
	for _, c := range []struct {
		line  string
		lines int
	}{{"me wrong", 0}, {"me secret", 1}} {
		var log bytes.Buffer
		s := newServer()
		s.Log = slog.New(slog.NewTextHandler(&log, nil))
		s.Opener = postern.OpenerFunc(func(context.Context, *postern.Request) (postern.Stream, error) {
			return nil, postern.Errorf(postern.Denied, postern.HopAgent, "")
		})
		near, far := testnet.Pipe()
		done := make(chan struct{})
		go func() { s.ServeConn(t.Context(), far, nil); close(done) }()
		ask(t, near, c.line)
		if err := near.Close(); err != nil {
			t.Fatal(err)
		}
		<-done
		if got := strings.Count(log.String(), "\n"); got != c.lines {
			t.Errorf("%q: %d lines, want %d: %s", c.line, got, c.lines, &log)
		}
	}
}

// TestASecretInPlaceOfTheNameIsNotLogged: what a stranger gives as the user may be anything, and no name is as long as a token.
func TestASecretInPlaceOfTheNameIsNotLogged(t *testing.T) {
	for name, line := range map[string]string{
		"from a stranger": "hunter2 wrong",
		"a token":         strings.Repeat("hunter2", 20) + " secret",
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			s := newServer()
			s.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			s.Auth = verify(func(ctx context.Context, c auth.Credential) (*postern.Identity, error) {
				c.User = "me"
				return secretIsSecret(ctx, c)
			})
			near, far := testnet.Pipe()
			done := make(chan struct{})
			go func() { s.ServeConn(t.Context(), far, nil); close(done) }()
			ask(t, near, line)
			if err := near.Close(); err != nil {
				t.Fatal(err)
			}
			<-done
			if !strings.Contains(log.String(), "msg=stream") || strings.Contains(log.String(), "hunter2") {
				t.Errorf("the log is\n%s", &log)
			}
		})
	}
}

func TestAgainMeansAnotherHandshake(t *testing.T) {
	c := serve(t, newServer())
	for range 3 {
		if answer := ask(t, c, "again wrong"); answer != "unauthenticated" {
			t.Fatalf("got %q", answer)
		}
	}
	if answer := ask(t, c, "me secret"); answer != "ok" {
		t.Errorf("got %q", answer)
	}
}

func TestSlowPartsAreBounded(t *testing.T) {
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for _, c := range []struct {
		name  string
		setup func(*ingress.Server)
		most  time.Duration
	}{
		{"auth", func(s *ingress.Server) {
			s.Auth = verify(func(ctx context.Context, _ auth.Credential) (*postern.Identity, error) { return nil, hang(ctx) })
		}, ingress.AuthTimeout},
		{"open", func(s *ingress.Server) {
			s.Opener = postern.OpenerFunc(func(ctx context.Context, _ *postern.Request) (postern.Stream, error) { return nil, hang(ctx) })
		}, ingress.OpenTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer()
				c.setup(s)
				near, far := testnet.Pipe()
				go s.ServeConn(t.Context(), far, nil)
				begin := time.Now()
				if answer := ask(t, near, "me secret"); answer != "timeout" || time.Since(begin) != c.most {
					t.Errorf("got %q after %v, want it after %v", answer, time.Since(begin), c.most)
				}
				if err := near.Close(); err != nil {
					t.Error(err)
				}
				synctest.Wait()
			})
		})
	}
}
