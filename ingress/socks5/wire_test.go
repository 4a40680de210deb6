package socks5

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/postern-dev/postern"
)

// greeting, password and connectTo write messages the way RFC 1928 and 1929 draw them.
func greeting(methods ...byte) []byte {
	return append([]byte{5, byte(len(methods))}, methods...)
}

func password(user, secret string) []byte {
	b := append([]byte{1, byte(len(user))}, user...)
	return append(append(b, byte(len(secret))), secret...)
}

func domainRequest(command byte, host string, port uint16) []byte {
	b := append([]byte{5, command, 0, 3, byte(len(host))}, host...)
	return append(b, byte(port>>8), byte(port))
}

func addressRequest(command byte, host string, port uint16) []byte {
	addr := netip.MustParseAddr(host)
	kind := byte(1)
	if addr.Is6() {
		kind = 4
	}
	b := append([]byte{5, command, 0, kind}, addr.AsSlice()...)
	return append(b, byte(port>>8), byte(port))
}

func TestReadRequest(t *testing.T) {
	name253 := strings.Repeat("a.", 126) + "a"
	for _, tt := range []struct {
		name string
		wire []byte
		want request
		kind postern.Kind
	}{
		{"IPv4", addressRequest(1, "10.0.0.7", 22), request{1, "10.0.0.7", 22}, 0},
		{"IPv6", addressRequest(1, "2001:db8::7", 443), request{1, "2001:db8::7", 443}, 0},
		{"domain", domainRequest(1, "db.example.com", 5432), request{1, "db.example.com", 5432}, 0},
		{"domain of 1", domainRequest(1, "x", 1), request{1, "x", 1}, 0},
		{"domain of 253", domainRequest(1, name253, 80), request{1, name253, 80}, 0},
		{"domain of 255", domainRequest(1, strings.Repeat("y", 255), 80), request{1, strings.Repeat("y", 255), 80}, 0},
		{"empty domain", domainRequest(1, "", 80), request{1, "", 80}, 0},
		{"BIND", addressRequest(2, "0.0.0.0", 0), request{2, "0.0.0.0", 0}, 0},
		{"reserved byte set", []byte{5, 1, 9, 1, 1, 2, 3, 4, 0, 80}, request{1, "1.2.3.4", 80}, 0},
		{"address type 0", []byte{5, 1, 0, 0, 1, 2, 3, 4, 0, 80}, request{}, postern.BadAddressType},
		{"address type 2", []byte{5, 1, 0, 2, 1, 2, 3, 4, 0, 80}, request{}, postern.BadAddressType},
		{"address type 5", []byte{5, 1, 0, 5, 1, 2, 3, 4, 0, 80}, request{}, postern.BadAddressType},
		{"address type 255", []byte{5, 1, 0, 255, 1, 2, 3, 4, 0, 80}, request{}, postern.BadAddressType},
		{"wrong version", []byte{4, 1, 0, 1, 1, 2, 3, 4, 0, 80}, request{}, postern.BadCommand},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := bytes.NewReader(append(tt.wire, "behind"...))
			got, err := readRequest(r)
			if postern.KindOf(err) != tt.kind {
				t.Fatalf("kind %v (%v), want %v", postern.KindOf(err), err, tt.kind)
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if err == nil && r.Len() != len("behind") {
				t.Errorf("%d bytes are left behind the request, want %d", r.Len(), len("behind"))
			}
		})
	}
}

func TestWanted(t *testing.T) {
	for _, tt := range []struct {
		name   string
		q      request
		target string
		reply  byte
	}{
		{"address", request{1, "10.0.0.7", 22}, "tcp 10.0.0.7:22", replySucceeded},
		{"name in capitals", request{1, "DB.Example.com.", 5432}, "tcp db.example.com:5432", replySucceeded},
		{"address as a name", request{1, "127.0.0.1", 80}, "tcp 127.0.0.1:80", replySucceeded},
		{"service", request{1, "ssh.service", 22}, "service ssh", replySucceeded},
		{"service on port 65535", request{1, "ssh.service", 65535}, "service ssh", replySucceeded},
		{"empty name", request{1, "", 80}, "", replyGeneralFailure},
		{"name of 254", request{1, strings.Repeat("a.", 126) + "ab", 80}, "", replyGeneralFailure},
		{"name with a zero", request{1, "a\x00b", 80}, "", replyGeneralFailure},
		{"unix path", request{1, "/run/x.sock", 80}, "", replyGeneralFailure},
		{"octal address", request{1, "0177.0.0.1", 80}, "", replyGeneralFailure},
		{"port 0", request{1, "10.0.0.7", 0}, "", replyGeneralFailure},
		{"BIND", request{2, "10.0.0.7", 22}, "", replyBadCommand},
		{"UDP ASSOCIATE", request{3, "0.0.0.0", 0}, "", replyBadCommand},
		{"command 0", request{0, "10.0.0.7", 22}, "", replyBadCommand},
		{"command 255", request{255, "10.0.0.7", 22}, "", replyBadCommand},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target, err := tt.q.wanted()
			if got := replyCode(postern.KindOf(err)); got != tt.reply {
				t.Fatalf("reply %d (%v), want %d", got, err, tt.reply)
			}
			if err == nil && target.String() != tt.target {
				t.Errorf("target %v, want %v", target, tt.target)
			}
		})
	}
}

// TestReplyCodes is the failure table of DESIGN §3, for every kind there is.
func TestReplyCodes(t *testing.T) {
	table := map[postern.Kind]byte{
		postern.Unauthenticated: 2,
		postern.Denied:          2,
		postern.NoSuchAgent:     4,
		postern.AgentOffline:    3,
		postern.Draining:        3,
		postern.Refused:         5,
		postern.Unreachable:     4,
		postern.NameNotFound:    4,
		postern.Timeout:         6,
		postern.Limited:         1,
		postern.Overloaded:      1,
		postern.Conflict:        1,
		postern.BadAddress:      1,
		postern.BadCommand:      7,
		postern.BadAddressType:  8,
		postern.Internal:        1,
		postern.Aborted:         1,
	}
	for _, k := range postern.Kinds() {
		want, ok := table[k]
		if !ok {
			t.Errorf("%v has no reply in the table", k)
		}
		if got := replyCode(k); got != want {
			t.Errorf("%v: reply %d, want %d", k, got, want)
		}
	}
	if got := replyCode(200); got != 1 {
		t.Errorf("a kind of a later version: reply %d, want 1", got)
	}
}

func TestAppendReply(t *testing.T) {
	tcp := func(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
	for _, tt := range []struct {
		name  string
		bound net.Addr
		want  []byte
	}{
		{"IPv4", tcp("10.0.0.7:258"), []byte{5, 0, 0, 1, 10, 0, 0, 7, 1, 2}},
		{"IPv4 in IPv6", tcp("[::ffff:10.0.0.7]:258"), []byte{5, 0, 0, 1, 10, 0, 0, 7, 1, 2}},
		{"IPv6", tcp("[2001:db8::1]:258"), append(append([]byte{5, 0, 0, 4}, netip.MustParseAddr("2001:db8::1").AsSlice()...), 1, 2)},
		{"unknown", nil, []byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}},
		{"unix", &net.UnixAddr{Name: "/run/x.sock", Net: "unix"}, []byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}},
		{"TCP without an address", &net.TCPAddr{}, []byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}},
	} {
		if got := appendReply(nil, replySucceeded, tt.bound); !bytes.Equal(got, tt.want) {
			t.Errorf("%s: % x, want % x", tt.name, got, tt.want)
		}
	}
}

// TestTruncated cuts every message at each byte.
func TestTruncated(t *testing.T) {
	messages := map[string]struct {
		wire []byte
		read func(io.Reader) error
	}{
		"greeting": {greeting(0, 1, 2), func(r io.Reader) error { _, err := readGreeting(r); return err }},
		"password": {password("nas", "secret"), func(r io.Reader) error { _, _, err := readPassword(r); return err }},
		"IPv4":     {addressRequest(1, "10.0.0.7", 22), func(r io.Reader) error { _, err := readRequest(r); return err }},
		"IPv6":     {addressRequest(1, "2001:db8::7", 22), func(r io.Reader) error { _, err := readRequest(r); return err }},
		"domain":   {domainRequest(1, "example.com", 22), func(r io.Reader) error { _, err := readRequest(r); return err }},
	}
	for name, m := range messages {
		for n := range m.wire {
			want := io.ErrUnexpectedEOF
			if n == 0 {
				want = io.EOF
			}
			if err := m.read(bytes.NewReader(m.wire[:n])); !errors.Is(err, want) {
				t.Errorf("%s cut at %d: %v, want %v", name, n, err, want)
			}
		}
		if err := m.read(bytes.NewReader(m.wire)); err != nil {
			t.Errorf("%s in full: %v", name, err)
		}
	}
}
