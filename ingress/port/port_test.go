package port

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"testing"

	"go.uber.org/goleak"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/ingress/ingresstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	options := Options{Agent: "nas", Target: postern.Target{Network: postern.TCP, Host: "127.0.0.1", Port: 22}}
	ingresstest.Run(t, ingresstest.Harness{
		Server:   func() *ingress.Server { return &ingress.Server{Protocol: New(options)} },
		Hello:    func(early []byte) []byte { return early },
		Reply:    func(*bufio.Reader) error { return nil },
		Rejected: wantReset,
	})
}

// wantReset is all that a client of a port can be told, whatever the kind.
func wantReset(r *bufio.Reader, _ postern.Kind) error {
	n, err := io.Copy(io.Discard, r)
	switch {
	case n != 0:
		return fmt.Errorf("%d bytes were sent to a client whose call failed", n)
	case err == nil:
		return errors.New("the connection ended cleanly, as if the target had nothing to say")
	case postern.KindOf(err) == postern.Timeout:
		return errors.New("the connection was not ended")
	}
	return nil
}
