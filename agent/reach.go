package agent

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/postern-dev/postern/internal/join"
	"github.com/postern-dev/postern/transport"
	"github.com/postern-dev/postern/transport/all"
)

// Relays are where to look for a relay, best first, and where their web listeners are: as given, as --relay takes it, else as the join
// string says. webs is what Rung.At is for transports over HTTP.
func Relays(given []string, j join.Join) (addrs []string, webs func(addr string) (at string, told bool), err error) {
	switch {
	case len(given) > 0:
		addrs, webs = slices.Clone(given), transport.WebAt
	case j.Web == "":
		addrs, webs = slices.Clone(j.Addresses), transport.WebAt
	default:
		addrs = slices.Clone(j.Addresses)
		if len(addrs) == 0 {
			addrs = []string{j.Web}
		}
		// They are all of one relay, whose web listener is looked for once, beside the best of its addresses.
		best := addrs[0]
		webs = func(addr string) (string, bool) {
			if addr == best {
				return j.Web, true
			}
			return "", false
		}
	}
	for _, addr := range addrs {
		if err := transport.CheckAddress(addr); err != nil {
			return nil, nil, err
		}
	}
	return addrs, webs, nil
}

// auto is the order of the transports where none is given (DESIGN §3); those that this program does not have are left out.
func auto() []string { return []string{"tls", "quic", "websocket", "longpoll"} }

// Ladder makes the ladder of the transports named, best first, for one ALPN; webs is as Relays returns it. "auto" stands for all
// there are; where the operator has named a proxy, for those that can go through one.
func Ladder(names []string, alpn string, webs func(string) (string, bool), o transport.DialOptions) (transport.Ladder, error) {
	o.TLS = o.TLS.Clone()
	o.TLS.NextProtos = []string{alpn}
	o.MaxStreams = transport.DefaultMaxStreams
	table := all.Transports()
	var ladder transport.Ladder
	add := func(name string) {
		rung := transport.Rung{Name: name, Dialer: table[name].Dial(o), At: transport.AgentsAt}
		if table[name].Network == transport.NetworkWeb {
			rung.At = webs
		}
		ladder = append(ladder, rung)
	}
	for _, name := range names {
		_, ok := table[name]
		switch {
		case ok:
			add(name)
		case name == "auto":
			for _, name := range auto() {
				if maker, ok := table[name]; ok && (maker.Network != transport.NetworkUDP || !o.Proxies.Always()) {
					add(name)
				}
			}
		default:
			return nil, fmt.Errorf("transport: %q is not in this version; there are auto, %s", name, strings.Join(slices.Sorted(maps.Keys(table)), ", "))
		}
	}
	if len(ladder) == 0 {
		return nil, errors.New("transport: the list is empty; leave it out for auto")
	}
	return ladder, nil
}
