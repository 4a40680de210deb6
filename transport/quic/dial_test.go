package quic

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/quic-go/quic-go"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/transport"
)

func TestDialErrorKinds(t *testing.T) {
	alert := func(n quic.TransportErrorCode) error {
		return &quic.TransportError{Remote: true, ErrorCode: cryptoError + n}
	}
	at := netip.MustParseAddrPort("192.0.2.1:4242")
	for _, c := range []struct {
		name string
		err  error
		want postern.Kind
	}{
		{"our side refuses the certificate", fmt.Errorf("x: %w", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}), postern.Unauthenticated},
		{"the relay refuses ours", alert(alertBadCertificate), postern.Unauthenticated},
		{"the relay wants one", alert(alertCertificateRequired), postern.Unauthenticated},
		{"no protocol in common", alert(alertNoApplication), postern.BadCommand},
		{"another alert", alert(80), postern.Unreachable},
		{"refused by the gate", &quic.TransportError{Remote: true, ErrorCode: quic.ConnectionRefused}, postern.Overloaded},
		{"another QUIC", &quic.VersionNegotiationError{}, postern.BadCommand},
		{"silence", &quic.IdleTimeoutError{}, postern.Timeout},
		{"a handshake without end", &quic.HandshakeTimeoutError{}, postern.Timeout},
		{"our own limit", context.DeadlineExceeded, postern.Timeout},
		{"given up", context.Canceled, postern.Aborted},
		{"no route", &net.OpError{Op: "write", Err: os.NewSyscallError("sendmsg", syscall.ENETUNREACH)}, postern.Unreachable},
		{"refused", &net.OpError{Op: "read", Err: os.NewSyscallError("recvmsg", syscall.ECONNREFUSED)}, postern.Refused},
	} {
		got := dialError(c.err, at)
		if got.Kind != c.want || !strings.Contains(got.Error(), at.String()) {
			t.Errorf("%s: kind %q, %q; want kind %q and the address", c.name, got.Kind, got, c.want)
		}
	}
}

func TestConnErrorKinds(t *testing.T) {
	for _, c := range []struct {
		err          error
		conn, stream postern.Kind
	}{
		{&quic.ApplicationError{ErrorCode: 5, ErrorMessage: "bye"}, postern.Draining, postern.Draining},
		{&quic.ApplicationError{ErrorCode: 0}, postern.OK, postern.Aborted},
		{&quic.ApplicationError{ErrorCode: 1 << 20}, postern.Aborted, postern.Aborted},
		{&quic.IdleTimeoutError{}, postern.Timeout, postern.Timeout},
		{&quic.StatelessResetError{}, postern.Aborted, postern.Aborted},
		{quic.ErrTransportClosed, postern.Aborted, postern.Aborted},
		{&quic.TransportError{ErrorCode: quic.ProtocolViolation}, postern.Aborted, postern.Aborted},
	} {
		if got := connError(c.err); got.Kind != c.conn {
			t.Errorf("a connection that ended with %v: kind %q, want %q", c.err, got.Kind, c.conn)
		}
		if got := streamError(c.err); postern.KindOf(got) != c.stream {
			t.Errorf("a stream that ended with %v: kind %q, want %q", c.err, postern.KindOf(got), c.stream)
		}
	}
	for code, want := range map[quic.StreamErrorCode]postern.Kind{0: postern.Aborted, 2: postern.Denied, 256: postern.Aborted} {
		if got := postern.KindOf(streamError(&quic.StreamError{ErrorCode: code, Remote: true})); got != want {
			t.Errorf("a stream reset with %d: kind %q, want %q", code, got, want)
		}
	}
}

func TestResolveErrorKinds(t *testing.T) {
	for _, c := range []struct {
		err  error
		want postern.Kind
	}{
		{&net.DNSError{Err: "no such host", IsNotFound: true}, postern.NameNotFound},
		{&net.DNSError{Err: "i/o timeout", IsTimeout: true}, postern.Timeout},
		{context.Canceled, postern.Aborted},
	} {
		if got := resolveError(c.err, "relay.example.com"); got.Kind != c.want {
			t.Errorf("%v: kind %q, want %q", c.err, got.Kind, c.want)
		}
	}
}

func TestInterleave(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"192.0.2.1", "192.0.2.1"},
		{"2001:db8::1 2001:db8::2 2001:db8::3 192.0.2.1", "2001:db8::1 192.0.2.1 2001:db8::2 2001:db8::3"},
		{"192.0.2.1 192.0.2.2 2001:db8::1", "192.0.2.1 2001:db8::1 192.0.2.2"},
		{"::ffff:192.0.2.1 2001:db8::1", "192.0.2.1 2001:db8::1"},
	} {
		var in []netip.Addr
		for _, s := range strings.Fields(c.in) {
			in = append(in, netip.MustParseAddr(s))
		}
		var got []string
		for _, ip := range interleave(in) {
			got = append(got, ip.String())
		}
		if diff := cmp.Diff(strings.Fields(c.want), append([]string{}, got...)); diff != "" {
			t.Errorf("interleave(%s): %s", c.in, diff)
		}
	}
}

// attempts is a fake network for race: what each address does, and when it was tried.
type attempts struct {
	start time.Time
	does  map[string]func(ctx context.Context) error

	mu  sync.Mutex
	log []string // guarded by mu
}

func (a *attempts) dial(ctx context.Context, to netip.AddrPort) (*conn, error) {
	a.mu.Lock()
	a.log = append(a.log, fmt.Sprint(to.Addr(), " at ", time.Since(a.start)))
	a.mu.Unlock()
	if err := a.does[to.Addr().String()](ctx); err != nil {
		return nil, err
	}
	return &conn{}, nil
}

func TestRace(t *testing.T) {
	silent := func(ctx context.Context) error {
		<-ctx.Done()
		return givenUp(ctx.Err(), "given up")
	}
	fails := func(k postern.Kind) func(context.Context) error {
		return func(context.Context) error { return &postern.Error{Kind: k} }
	}
	answers := func(context.Context) error { return nil }
	for _, c := range []struct {
		name   string
		does   []func(context.Context) error
		tried  []string
		failed postern.Kind // OK: somebody won
	}{
		{"the first wins", []func(context.Context) error{answers, answers}, []string{"192.0.2.0 at 0s"}, postern.OK},
		{"the second starts late", []func(context.Context) error{silent, answers}, []string{"192.0.2.0 at 0s", "192.0.2.1 at 250ms"}, postern.OK},
		{"a failure starts the next at once", []func(context.Context) error{fails(postern.Unreachable), answers}, []string{"192.0.2.0 at 0s", "192.0.2.1 at 0s"}, postern.OK},
		{
			"the most telling error",
			[]func(context.Context) error{fails(postern.Unreachable), fails(postern.Unauthenticated), fails(postern.Timeout)},
			[]string{"192.0.2.0 at 0s", "192.0.2.1 at 0s", "192.0.2.2 at 0s"},
			postern.Unauthenticated,
		},
		{"nobody answers", []func(context.Context) error{silent, silent}, []string{"192.0.2.0 at 0s", "192.0.2.1 at 250ms"}, postern.Timeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := &attempts{start: time.Now(), does: make(map[string]func(context.Context) error)}
				var addrs []netip.AddrPort
				for i, does := range c.does {
					ip := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
					net.does[ip.String()] = does
					addrs = append(addrs, netip.AddrPortFrom(ip, 4242))
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				won, err := race(ctx, addrs, net.dial)
				if postern.KindOf(err) != c.failed || (won != nil) != (err == nil) {
					t.Errorf("race = %v, %v; want kind %q", won, err, c.failed)
				}
				if diff := cmp.Diff(c.tried, net.log); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestClip(t *testing.T) {
	for _, s := range []string{"", "short", strings.Repeat("x", maxReason), strings.Repeat("ü", maxReason), "x" + strings.Repeat("ü", maxReason)} {
		got := clip(s)
		if len(got) > maxReason || !utf8.ValidString(got) || !strings.HasPrefix(s, got) || len(s)-len(got) > 1 && len(got) < maxReason-3 {
			t.Errorf("clip of %d bytes is %d bytes", len(s), len(got))
		}
	}
}

func TestDialWithoutAnAnswerKeepsNothing(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	d := Dialer(dialOptions(t))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := d.Dial(ctx, silent.LocalAddr().String()); postern.KindOf(err) != postern.Timeout || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Dial: %v", err)
	}
}

func TestAClosedPortIsRefusedAtOnce(t *testing.T) {
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := socket.LocalAddr().String()
	if err := socket.Close(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err = Dialer(dialOptions(t)).Dial(t.Context(), addr)
	if d := time.Since(start); postern.KindOf(err) != postern.Refused || d > 2*time.Second {
		t.Errorf("Dial failed after %v with %v", d, err)
	}
}

func TestOnlyTheFarEndOfADialTakesFewStreams(t *testing.T) {
	addr, client := serveOne(t, nil)
	c, err := Dialer(transport.DialOptions{TLS: client}).Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Info().FewStreams {
		t.Error("the relay is said to take many streams")
	}
	if err := c.CloseWithError(postern.OK, ""); err != nil {
		t.Error(err)
	}
}
