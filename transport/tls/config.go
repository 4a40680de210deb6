package tls

import (
	"crypto/tls"
	"maps"
	"slices"

	"github.com/postern-dev/postern/transport"
)

// serverConfig is the TLS of the listener: ALPNs that carry streams get TLS 1.3 alone, raw ones TLS 1.2 as well.
func serverConfig(opts transport.ListenOptions) *tls.Config {
	streams := slices.Sorted(maps.Keys(opts.Accept))
	all := slices.Concat(streams, slices.Sorted(maps.Keys(opts.Raw)))
	base := withProtocols(opts.TLS, all, tls.VersionTLS12)
	choose := opts.TLS.GetConfigForClient
	strict := withProtocols(base, streams, tls.VersionTLS13)
	base.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		from := base
		wantsStreams := offersAny(hello, streams)
		if choose != nil {
			chosen, err := choose(hello)
			if err != nil {
				return nil, err
			}
			if chosen != nil {
				return forClient(chosen, all, streams, wantsStreams), nil
			}
		}
		if wantsStreams {
			from = strict
		}
		// Ticket keys are those of base either way: crypto/tls takes them from there if the returned one has none of its own.
		return from, nil
	}
	return base
}

func forClient(chosen *tls.Config, all, streams []string, wantsStreams bool) *tls.Config {
	if wantsStreams {
		return withProtocols(chosen, streams, tls.VersionTLS13)
	}
	return withProtocols(chosen, all, tls.VersionTLS12)
}

func withProtocols(from *tls.Config, protocols []string, least uint16) *tls.Config {
	c := from.Clone()
	c.GetConfigForClient = nil
	c.NextProtos = protocols
	c.MinVersion = max(c.MinVersion, least)
	// Records that begin small are meant for browsers that show the first bytes at once; here they cost system calls.
	c.DynamicRecordSizingDisabled = true
	return c
}

func offersAny(hello *tls.ClientHelloInfo, protocols []string) bool {
	return slices.ContainsFunc(hello.SupportedProtos, func(p string) bool { return slices.Contains(protocols, p) })
}
