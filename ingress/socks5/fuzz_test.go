package socks5

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"testing"

	"github.com/postern-dev/postern"
)

// checkTaken holds what is true of every reader: it takes a whole message and nothing behind it, or fails in one of the ways
// that are promised. rebuilt is the message as it would be written again.
func checkTaken(t *testing.T, wire []byte, left int, rebuilt []byte, err error) {
	t.Helper()
	taken := wire[:len(wire)-left]
	switch {
	case err == nil && !bytes.Equal(taken, rebuilt):
		t.Fatalf("% x was taken, which is written % x", taken, rebuilt)
	case errors.Is(err, io.EOF) && len(wire) > 0, errors.Is(err, io.ErrUnexpectedEOF) && left > 0:
		t.Fatalf("%v with %d of %d bytes left", err, left, len(wire))
	}
	if err != nil && postern.KindOf(err) == postern.Internal &&
		!errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, errSOCKS4) && !errors.Is(err, errHTTP) {
		t.Fatalf("an error without a kind: %v", err)
	}
}

func FuzzGreeting(f *testing.F) {
	for _, seed := range [][]byte{greeting(), greeting(0), greeting(0, 1, 2), greeting(bytes.Repeat([]byte{0x80}, 255)...), {4, 1, 0, 80}, []byte("GET / HTTP/1.1\r\n\r\n"), {5}, {}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := bytes.NewReader(wire)
		methods, err := readGreeting(r)
		checkTaken(t, wire, r.Len(), greeting(methods...), err)
		for _, p := range []*Protocol{New(Options{}), New(Options{Agent: "nas"})} {
			m := p.method(methods)
			if m != methodNoneFits && !bytes.Contains(methods, []byte{m}) {
				t.Fatalf("method %d was chosen, %v are offered", m, methods)
			}
			if p.options.Agent == "" && m == methodNone {
				t.Fatal("authentication was skipped")
			}
		}
	})
}

func FuzzPassword(f *testing.F) {
	for _, seed := range [][]byte{password("nas", "x"), password("", ""), password("ann+nas", string(bytes.Repeat([]byte{'t'}, 255))), {5, 1}, {1}, {}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := bytes.NewReader(wire)
		user, secret, err := readPassword(r)
		checkTaken(t, wire, r.Len(), password(user, secret), err)
	})
}

func FuzzRequest(f *testing.F) {
	for _, seed := range [][]byte{
		addressRequest(1, "10.0.0.7", 22), addressRequest(1, "::ffff:10.0.0.7", 22), domainRequest(1, "example.com", 443),
		domainRequest(2, "", 0), addressRequest(3, "0.0.0.0", 0),
		{5, 1, 0, 2, 0},
		{5, 1},
		{},
		domainRequest(1, "00\x99\x80000000000", 80), // its A-label is no valid name
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := bytes.NewReader(wire)
		q, err := readRequest(r)
		var rebuilt []byte
		if err == nil {
			rebuilt = rebuild(wire[3], q)
			rebuilt[2] = wire[2] // reserved, and not looked at
		}
		checkTaken(t, wire, r.Len(), rebuilt, err)
		if err != nil {
			return
		}
		target, err := q.wanted()
		if err == nil && (q.command != commandConnect || target.Valid() != nil) {
			t.Fatalf("%+v became %v: %v", q, target, target.Valid())
		}
		if err != nil && replyCode(postern.KindOf(err)) == replySucceeded {
			t.Fatalf("%v is answered with success", err)
		}
	})
}

func rebuild(kind byte, q request) []byte {
	if kind == addressDomain {
		return domainRequest(q.command, q.host, q.port)
	}
	b := append([]byte{5, q.command, 0, kind}, netip.MustParseAddr(q.host).AsSlice()...)
	return append(b, byte(q.port>>8), byte(q.port))
}
