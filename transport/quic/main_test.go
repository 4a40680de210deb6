package quic

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/postern-dev/postern/transport"
	"github.com/postern-dev/postern/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	transporttest.RunListener(t, transport.Maker{Network: "udp", Listen: Listen, Dial: Dialer})
}
