// Package all is the table of ingresses: a kind is its folder and a line here.
//
//	protocol := all.Table()["connect"](all.Options{})
package all

import (
	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/ingress/connect"
	"github.com/postern-dev/postern/ingress/port"
	"github.com/postern-dev/postern/ingress/socks5"
)

// Options are what kinds of ingress are made with. The zero value is for clients that name the agent and prove who they are.
type Options struct {
	// Agent, if set, is the agent that all clients reach, and nobody is asked for credentials. Kind port requires it.
	Agent postern.AgentID
	// Target is where kind port leads; the others are told by their clients.
	Target postern.Target
	// Identity is on whose behalf streams are opened where Agent is set; nil: nobody in particular.
	Identity *postern.Identity
}

// Table returns how to make each kind of ingress, by its name in config and logs.
func Table() map[string]func(Options) ingress.Protocol {
	return map[string]func(Options) ingress.Protocol{
		connect.Name: func(o Options) ingress.Protocol {
			return connect.New(connect.Options{Agent: o.Agent, Identity: o.Identity})
		},
		port.Name: func(o Options) ingress.Protocol {
			return port.New(port.Options{Agent: o.Agent, Target: o.Target, Identity: o.Identity})
		},
		socks5.Name: func(o Options) ingress.Protocol {
			return socks5.New(socks5.Options{Agent: o.Agent, Identity: o.Identity})
		},
	}
}
