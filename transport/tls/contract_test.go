package tls_test

import (
	"testing"

	"github.com/postern-dev/postern/transport"
	"github.com/postern-dev/postern/transport/tls"
	"github.com/postern-dev/postern/transport/transporttest"
)

func TestContract(t *testing.T) {
	transporttest.RunListener(t, transport.Maker{Network: "tcp", Listen: tls.Listen, Dial: tls.Dialer})
}
