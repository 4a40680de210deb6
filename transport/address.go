package transport

import (
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/postern-dev/postern"
)

// The address of a relay, as --relay takes it, is host:port of its agents listener, or the URL of its web listener.

// CheckAddress says what is wrong with the address of a relay, if anything: an *Error of kind BadAddress.
func CheckAddress(addr string) error {
	if isURL(addr) {
		_, err := ParseWeb(addr)
		return err
	}
	_, err := SplitAddress(addr)
	return err
}

// AgentsAt returns where the agents listener is of the relay at addr; empty if that is not known.
func AgentsAt(addr string) (at string, told bool) {
	if isURL(addr) {
		return "", false
	}
	return addr, true
}

// WebAt returns where the web listener is of the relay at addr: at the URL, if it is one, else it is taken to be at https://host/, which
// nobody has told.
func WebAt(addr string) (at string, told bool) {
	if isURL(addr) {
		return addr, true
	}
	host, err := SplitAddress(addr)
	if err != nil {
		return "", false
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return (&url.URL{Scheme: "https", Host: host, Path: "/"}).String(), false
}

// HostOf is the name or address of the host of the relay at addr; empty if addr is none of a relay.
func HostOf(addr string) string {
	if isURL(addr) {
		u, err := ParseWeb(addr)
		if err != nil {
			return ""
		}
		return u.Hostname()
	}
	host, err := SplitAddress(addr)
	if err != nil {
		return ""
	}
	return host
}

func isURL(addr string) bool { return strings.Contains(addr, "://") }

// ParseWeb reads the URL of a web listener; host:port stands for https. The path ends with a slash, what is served there goes below it. The
// error, an *Error of kind BadAddress, shows no password.
func ParseWeb(s string) (*url.URL, error) {
	if !isURL(s) {
		if _, err := SplitAddress(s); err != nil {
			return nil, err
		}
		s = "https://" + s
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, badAddress("the relay's URL cannot be read")
	case u.User != nil:
		return nil, badAddress("the relay's URL has a user or a password, which it does not take")
	case u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "":
		return nil, badAddress("the relay's URL %q is not https://host/ or http://host/", s)
	}
	if u.Port() == "" {
		u.Host = strings.TrimSuffix(u.Host, ":")
	}
	if _, err := SplitAddress(HostPort(u)); err != nil {
		return nil, badAddress("the relay's URL %q names no host, or no port from 1 to 65535", s)
	}
	if !strings.HasSuffix(u.Path, "/") {
		u = u.JoinPath("/")
	}
	return u, nil
}

// HostPort is where the server of a URL listens, host:port.
func HostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// SplitAddress returns the host of host:port, or an *Error of kind BadAddress if it is none.
func SplitAddress(s string) (host string, err error) {
	host, port, err := net.SplitHostPort(s)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || host == "" || perr != nil || n == 0 {
		return "", badAddress("the relay's address %q is not host:port", s)
	}
	return host, nil
}

func badAddress(format string, args ...any) error {
	return postern.Errorf(postern.BadAddress, postern.HopRelay, format, args...)
}
