package egress

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/postern-dev/postern"
)

// parseServices reads all declarations into where each service is, a TCP or unix target, and joins what is wrong with them.
func parseServices(urls map[string]string) (map[string]postern.Target, error) {
	services := make(map[string]postern.Target, len(urls))
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(urls)) {
		t, err := postern.ServiceTarget(name)
		if err != nil {
			problems = append(problems, fmt.Errorf("service %q: %w", name, err))
			continue
		}
		if _, twice := services[t.Host]; twice {
			problems = append(problems, fmt.Errorf("service %s: it is declared twice, in upper and lower case; give one of them another name", name))
			continue
		}
		if services[t.Host], err = parseService(urls[name]); err != nil {
			problems = append(problems, fmt.Errorf("service %s: %w", name, err))
		}
	}
	return services, errors.Join(problems...)
}

const remedyService = "write tcp://host:port, http://host:port or unix:///path"

// parseService reads the URL of one service.
func parseService(s string) (postern.Target, error) {
	u, err := url.Parse(s)
	if err != nil {
		// The error of url.Parse repeats the URL, and with it a password that somebody may have put there.
		return postern.Target{}, errors.New("it has no well-formed URL; " + remedyService)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery {
		return postern.Target{}, fmt.Errorf("the URL has a user, a query or a fragment, which a service does not use; %s", remedyService)
	}
	switch u.Scheme {
	case "tcp", "http":
		return tcpEndpoint(u)
	case "unix":
		if u.Host != "" || u.Opaque != "" {
			return postern.Target{}, errors.New("the path of a unix socket is absolute: write unix:///path, with three slashes")
		}
		t := postern.Target{Network: postern.Unix, Host: u.Path}
		if err := t.Valid(); err != nil {
			return postern.Target{}, fmt.Errorf("%w; write unix:///path", err)
		}
		return t, nil
	case "file", "udp":
		return postern.Target{}, fmt.Errorf("%s services are not supported by this version; remove it, or use tcp, http or unix", u.Scheme)
	case "https":
		return postern.Target{}, errors.New("https is not a scheme of services: the bytes are carried as they are; write tcp://host:443")
	default:
		return postern.Target{}, fmt.Errorf("the scheme %q is not known; %s", u.Scheme, remedyService)
	}
}

// tcpEndpoint reads host and port. Port 80 may be left out for http; a path has no meaning for a stream.
func tcpEndpoint(u *url.URL) (postern.Target, error) {
	if u.Opaque != "" || u.Path != "" && u.Path != "/" {
		return postern.Target{}, fmt.Errorf("write %s://host:port, without a path", u.Scheme)
	}
	hostport := u.Host
	if u.Port() == "" && u.Scheme == "http" {
		hostport = strings.TrimSuffix(hostport, ":") + ":80"
	}
	t, err := postern.HostPortTarget(postern.TCP, hostport)
	if err != nil {
		return postern.Target{}, fmt.Errorf("%w; write %s://host:port", err, u.Scheme)
	}
	if t.Network == postern.Service {
		return postern.Target{}, fmt.Errorf("%s is itself a service; write the address that it has", t.Address())
	}
	return t, nil
}
