package quic

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/gate"
	"github.com/postern-dev/postern/internal/testnet"
	"github.com/postern-dev/postern/transport"
)

// serveOne runs a listener on loopback whose handler stays until the connection is over, and returns its address and what a
// client needs.
func serveOne(t *testing.T, g *gate.Gate) (addr string, client *tls.Config) {
	t.Helper()
	server, client := testnet.TLS(t)
	client.NextProtos = []string{transport.ALPNAgent}
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ran := make(chan error, 1)
	l := Listen(transport.ListenOptions{UDP: socket, TLS: server, Gate: g, Accept: map[string]transport.Accept{
		transport.ALPNAgent: {Handle: func(ctx context.Context, c transport.Conn, _ func()) {
			// It ends with the connection.
			_, _ = c.AcceptStream(ctx)
		}},
	}})
	go func() { ran <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return socket.LocalAddr().String(), client
}

func dialOptions(t *testing.T) transport.DialOptions {
	t.Helper()
	_, client := testnet.TLS(t)
	client.NextProtos = []string{transport.ALPNAgent}
	return transport.DialOptions{TLS: client}
}

// TestOptimisationsStayOnAndLogStaysQuiet: quic-go finds a descriptor to optimise, and nothing to complain about, although the
// system may allow less of a buffer than it wants.
func TestOptimisationsStayOnAndLogStaysQuiet(t *testing.T) {
	var out bytes.Buffer
	log.SetOutput(&out)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	addr, client := serveOne(t, nil)
	c, err := Dialer(transport.DialOptions{TLS: client}).Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	state := c.(*conn).quic.ConnectionState()
	if runtime.GOOS == "linux" && !state.GSO {
		t.Error("GSO is off: quic-go has not found the socket's descriptor")
	}
	if !state.SupportsDatagrams.Local || !state.SupportsDatagrams.Remote {
		t.Error("datagrams are off")
	}
	if err := c.CloseWithError(postern.OK, ""); err != nil {
		t.Error(err)
	}
	if out.Len() > 0 {
		t.Errorf("the standard logger got %q", out.String())
	}
}

func TestDescriptorOnlyAfterTheBuffers(t *testing.T) {
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := udp.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &sizedUDP{UDPConn: udp}
	if _, err := s.SyscallConn(); !errors.Is(err, errSizing) {
		t.Errorf("before the buffers: %v", err)
	}
	if err := errors.Join(s.SetReadBuffer(1), s.SetWriteBuffer(1)); err != nil {
		t.Error(err)
	}
	if _, err := s.SyscallConn(); err != nil {
		t.Errorf("after the buffers: %v", err)
	}
}

// TestUniStreamsAreRefused: the wire has no use for them.
func TestUniStreamsAreRefused(t *testing.T) {
	addr, client := serveOne(t, nil)
	c, err := Dialer(transport.DialOptions{TLS: client}).Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.(*conn).quic.OpenUniStream(); err == nil {
		t.Error("the far end takes a unidirectional stream")
	}
	if err := c.CloseWithError(postern.OK, ""); err != nil {
		t.Error(err)
	}
}

// TestFloodOfHelloIsAnsweredByRetry: handshakes that are begun and never finished make newcomers prove their address, and honest
// ones still get in.
func TestFloodOfHelloIsAnsweredByRetry(t *testing.T) {
	addr, client := serveOne(t, &gate.Gate{})
	var hello [2]int
	for i := range manyHandshakes + 20 {
		late := i >= manyHandshakes
		if n := abandonHello(t, addr, client); late {
			hello[1] += n
		} else {
			hello[0] += n
		}
	}
	if hello[0] != 0 || hello[1] == 0 {
		t.Errorf("Retry was sent %d times before the flood and %d times of 20 in it", hello[0], hello[1])
	}
	c, err := Dialer(transport.DialOptions{TLS: client}).Dial(t.Context(), addr)
	if err != nil {
		t.Fatalf("an honest dial in the flood: %v", err)
	}
	if err := c.CloseWithError(postern.OK, ""); err != nil {
		t.Error(err)
	}
}

// abandonHello sends the first packet of a handshake, and returns 1 if the answer is a Retry. It goes on no further.
func abandonHello(t *testing.T, addr string, client *tls.Config) int {
	t.Helper()
	near, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	to, err := net.ResolveUDPAddr("udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	stub := &helloOnly{UDPConn: near, answered: make(chan byte, 1)}
	tr := &quic.Transport{Conn: sizedConn{stub}}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	dialled := make(chan error, 1)
	go func() {
		_, err := tr.Dial(ctx, to, client, config(0))
		dialled <- err
	}()
	retry := 0
	select {
	case first := <-stub.answered:
		// RFC 9000 §17.2.5: a long header (0x80) of type 3.
		if first&0xf0 == 0xf0 {
			retry = 1
		}
	case <-ctx.Done():
		t.Error("the listener has not answered a hello")
	}
	cancel()
	if err := <-dialled; err == nil {
		t.Error("the handshake was completed")
	}
	if err := errors.Join(tr.Close(), near.Close()); err != nil {
		t.Error(err)
	}
	return retry
}

// helloOnly lets a client's packets out until there is an answer, which it keeps to itself.
type helloOnly struct {
	*net.UDPConn
	answered chan byte
	done     bool // used by ReadFrom alone
}

func (h *helloOnly) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := h.UDPConn.ReadFrom(p)
		if err != nil {
			return n, from, err
		}
		if n > 0 && !h.done {
			h.done = true
			h.answered <- p[0]
		}
	}
}
