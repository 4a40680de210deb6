// Package ingresstest is the contract of an ingress as a test: what every kind has to do, whatever language it speaks.
//
//	func TestContract(t *testing.T) {
//		ingresstest.Run(t, ingresstest.Harness{
//			Server:   func() *ingress.Server { return &ingress.Server{Protocol: New(Options{}), Auth: anybody} },
//			Hello:    func(early []byte) []byte { return append([]byte("CONNECT ..."), early...) },
//			Reply:    func(r *bufio.Reader) error { ... },
//			Rejected: func(r *bufio.Reader, k postern.Kind) error { ... },
//			Partial:  []byte("CONN"),
//		})
//	}
package ingresstest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/splice"
)

// Harness is how the suite speaks the language of an ingress. Partial may be nil, all else is required.
type Harness struct {
	// Server returns a new server with Protocol, and Auth if the protocol has credentials. The suite sets the rest.
	Server func() *ingress.Server
	// Hello is all that a client sends to be connected, with a credential that is good, followed by early.
	Hello func(early []byte) []byte
	// Reply reads the answer to Hello, and fails unless it says that the target is connected. It reads nothing after it.
	Reply func(r *bufio.Reader) error
	// Rejected reads the answer to Hello up to the end of the connection, and fails unless it says k.
	Rejected func(r *bufio.Reader, k postern.Kind) error
	// Partial is the beginning of a Hello that is never finished; nil where clients say nothing.
	Partial []byte
}

// Run tests an ingress. The clients and targets are real TCP on loopback, as resets and half-closes are TCP's.
func Run(t *testing.T, h Harness) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Harness)
	}{
		{"ReplyAfterClientsHalfClose", replyAfterClientsHalfClose},
		{"SendingAfterTargetsHalfClose", sendingAfterTargetsHalfClose},
		{"EarlyBytesArrive", earlyBytesArrive},
		{"BannerArrives", bannerArrives},
		{"TargetsResetIsNoEnd", targetsResetIsNoEnd},
		{"ClientsResetIsNoEnd", clientsResetIsNoEnd},
		{"MegabytesBothWays", megabytesBothWays},
		{"EveryKindIsTold", everyKindIsTold},
		{"StreamsAreCounted", streamsAreCounted},
		{"LimitOfCredential", limitOfCredential},
		{"StreamsOutliveDraining", streamsOutliveDraining},
		{"GraceEnds", graceEnds},
		{"CloseCutsOff", closeCutsOff},
		{"SlowHandshakeIsCut", slowHandshakeIsCut},
		{"ExpiredCredentialEndsStream", expiredCredentialEndsStream},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, h) })
	}
}

// patience is how long anything may take that should take no time.
const patience = 20 * time.Second

// world is a server on loopback, and a target behind it.
type world struct {
	t      *testing.T
	h      Harness
	server *ingress.Server
	addr   string
	drain  context.CancelFunc
	served chan struct{} // closed when Serve has returned
	deaf   chan struct{} // closed when the server has closed its listener

	targets chan *net.TCPConn // what was opened, seen from the target

	mu      sync.Mutex // guards what follows
	refusal error      // what the opener returns instead of a stream
}

// start begins a world that ends with the test. adjust, if not nil, may change the server before it serves.
func start(t *testing.T, h Harness, adjust func(*ingress.Server)) *world {
	t.Helper()
	target := listen(t)
	front := listen(t)
	w := &world{t: t, h: h, server: h.Server(), addr: front.Addr().String(), served: make(chan struct{}), deaf: make(chan struct{}), targets: make(chan *net.TCPConn, 1)}
	w.server.Opener = postern.OpenerFunc(func(ctx context.Context, req *postern.Request) (postern.Stream, error) {
		return w.open(ctx, target, req)
	})
	if adjust != nil {
		adjust(w.server)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.drain = cancel
	go func() {
		defer close(w.served)
		if err := w.server.Serve(ctx, &tellingListener{Listener: front, closed: sync.OnceFunc(func() { close(w.deaf) })}); err != nil {
			t.Errorf("Serve: %v", err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		if err := w.server.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		w.ended()
	})
	return w
}

// tellingListener tells when it is closed.
type tellingListener struct {
	net.Listener
	closed func()
}

func (l *tellingListener) Close() error {
	defer l.closed()
	return l.Listener.Close()
}

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatalf("listening: %v", err)
	}
	// The server closes its listener too; a second time is no matter.
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// open connects to the target, and hands the target's side to the test.
func (w *world) open(ctx context.Context, target *net.TCPListener, _ *postern.Request) (postern.Stream, error) {
	w.mu.Lock()
	refusal := w.refusal
	w.mu.Unlock()
	if refusal != nil {
		return nil, refusal
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", target.Addr().String())
	if err != nil {
		return nil, err
	}
	far, err := target.AcceptTCP()
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	w.targets <- far
	return splice.Stream(c), nil
}

func (w *world) refuse(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refusal = err
}

// ended waits until Serve has returned.
func (w *world) ended() {
	w.t.Helper()
	select {
	case <-w.served:
	case <-time.After(patience):
		w.t.Fatal("Serve did not return")
	}
}

// client is a connection to the server, with its read-ahead.
type client struct {
	*net.TCPConn
	r *bufio.Reader
}

func (c *client) Read(p []byte) (int, error) { return c.r.Read(p) }

// dial connects to the server and says hello.
func (w *world) dial(early []byte) *client {
	w.t.Helper()
	c, err := w.try(early)
	w.must("dialling", err)
	return c
}

func (w *world) try(early []byte) (*client, error) {
	var d net.Dialer
	c, err := d.DialContext(w.t.Context(), "tcp", w.addr)
	if err != nil {
		return nil, err
	}
	tcp := c.(*net.TCPConn)
	w.t.Cleanup(func() { _ = tcp.Close() }) // most tests have closed it
	if err := tcp.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	_, err = tcp.Write(w.h.Hello(early))
	return &client{tcp, bufio.NewReader(tcp)}, err
}

// rejected makes a call that has to fail with k, and lets the harness judge the answer. A server that resets at once may be
// seen to do so before anything can be read.
func (w *world) rejected(early []byte, k postern.Kind) error {
	c, err := w.try(early)
	if err != nil {
		return w.h.Rejected(bufio.NewReader(iotest.ErrReader(err)), k)
	}
	return w.h.Rejected(c.r, k)
}

// connect is dial with a client that has got its answer, and the target's side of it.
func (w *world) connect(early []byte) (*client, *net.TCPConn) {
	w.t.Helper()
	c := w.dial(early)
	target := w.target()
	w.must("reading the reply", w.h.Reply(c.r))
	return c, target
}

// target is the far side of the stream that was opened last.
func (w *world) target() *net.TCPConn {
	w.t.Helper()
	select {
	case far := <-w.targets:
		w.t.Cleanup(func() { _ = far.Close() }) // most tests have closed it
		w.must("setting a deadline", far.SetDeadline(time.Now().Add(patience)))
		return far
	case <-time.After(patience):
		w.t.Fatal("no stream was opened")
		return nil
	}
}

func (w *world) must(what string, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
}

func (w *world) write(c io.Writer, p []byte) {
	w.t.Helper()
	if len(p) > 0 {
		_, err := c.Write(p)
		w.must("writing", err)
	}
}

// expect reads exactly what is wanted.
func (w *world) expect(r io.Reader, want string) {
	w.t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || string(got) != want {
		w.t.Fatalf("read %q, %v; want %q", got[:n], err, want)
	}
}

// expectEnd reads a clean end.
func (w *world) expectEnd(r io.Reader) {
	w.t.Helper()
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		w.t.Fatalf("read %d bytes, %v; want a clean end", n, err)
	}
}

// expectFailure reads until the connection ends, which must not be cleanly.
func (w *world) expectFailure(r io.Reader) {
	w.t.Helper()
	_, err := io.Copy(io.Discard, r)
	if err == nil {
		w.t.Fatal("the connection ended cleanly")
	}
	if postern.KindOf(err) == postern.Timeout {
		w.t.Fatal("the connection did not end")
	}
}
