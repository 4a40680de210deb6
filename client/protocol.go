package client

import (
	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/ingress/connect"
	"github.com/postern-dev/postern/ingress/port"
	"github.com/postern-dev/postern/ingress/socks5"
)

// protocol is the ingress that a forward's mode stands for.
func protocol(f Forward) ingress.Protocol {
	switch f.Mode {
	case Socks:
		return socks5.New(socks5.Options{Agent: f.Agent})
	case HTTP:
		return connect.New(connect.Options{Agent: f.Agent})
	default:
		return port.New(port.Options{Agent: f.Agent, Target: f.Target})
	}
}
