package socks5

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/ingress/ingresstest"
)

func TestContract(t *testing.T) {
	request := domainRequest(commandConnect, "target.example", 80)
	for name, tt := range map[string]struct {
		server func() *ingress.Server
		hello  []byte
		ready  []byte // what comes before the reply to the request
	}{
		"password": {
			server: func() *ingress.Server { return &ingress.Server{Protocol: New(Options{}), Auth: &fakeAuth{}} },
			hello:  slices.Concat(greeting(methodNone, methodPassword), password("nas", "right")),
			ready:  []byte{5, 2, 1, 0},
		},
		"fixed agent": {
			server: func() *ingress.Server { return &ingress.Server{Protocol: New(Options{Agent: "nas"})} },
			hello:  greeting(methodNone),
			ready:  []byte{5, 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			ingresstest.Run(t, ingresstest.Harness{
				Server:   tt.server,
				Hello:    func(early []byte) []byte { return slices.Concat(tt.hello, request, early) },
				Reply:    func(r *bufio.Reader) error { return wantReply(r, tt.ready, replySucceeded) },
				Rejected: func(r *bufio.Reader, k postern.Kind) error { return wantRejection(r, tt.ready, replyCode(k)) },
				Partial:  tt.hello[:2],
			})
		})
	}
}

// wantReply reads what comes before a reply, and the reply.
func wantReply(r io.Reader, ready []byte, code byte) error {
	got := make([]byte, len(ready)+10)
	if n, err := io.ReadFull(r, got); err != nil {
		return fmt.Errorf("got % x, then %w", got[:n], err)
	}
	if !bytes.HasPrefix(got, ready) || got[len(ready)] != version5 || got[len(ready)+1] != code {
		return fmt.Errorf("got % x, want % x and the reply %d", got, ready, code)
	}
	return nil
}

// wantRejection is wantReply and a clean end.
func wantRejection(r io.Reader, ready []byte, code byte) error {
	if err := wantReply(r, ready, code); err != nil {
		return err
	}
	if n, err := io.Copy(io.Discard, r); n != 0 || err != nil {
		return fmt.Errorf("%d bytes and %v follow the reply, want the end", n, err)
	}
	return nil
}
