package config

import (
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/postern-dev/postern/internal/viaproxy"
)

// Addr is where a listener listens: host:port, :port for every address, host:0 for a free port, or off.
type Addr string

// Off switches a listener off.
const Off Addr = "off"

// IsOff reports whether there is to be no listener.
func (a Addr) IsOff() bool { return a == Off || a == "" }

// HostPort returns the address for net.Listen; empty when the listener is off.
func (a Addr) HostPort() string {
	if a.IsOff() {
		return ""
	}
	return string(a)
}

// AnyPort reports whether the port is to be chosen by the system.
func (a Addr) AnyPort() bool { return strings.HasSuffix(string(a), ":0") }

// Check says what is wrong with the address, if anything.
func (a Addr) Check() error {
	if a.IsOff() {
		return nil
	}
	_, port, err := net.SplitHostPort(string(a))
	if err != nil {
		return fmt.Errorf("%q is not host:port", string(a))
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("%q has no port from 0 to 65535", string(a))
	}
	return nil
}

// Secret is a token or a join string, or where it is kept: file:PATH or @PATH. Printed or logged in any
// way it is never more than "(set)" or the place; string(s) is what was written.
type Secret string

// IsZero reports whether nothing was said.
func (s Secret) IsZero() bool { return s == "" }

// File returns the path of a secret that is kept in a file.
func (s Secret) File() (path string, ok bool) {
	if p, found := strings.CutPrefix(string(s), "file:"); found {
		return p, true
	}
	return strings.CutPrefix(string(s), "@")
}

// maxSecret bounds a secret's file: a token has at most 8 KiB, a join string holds one and some addresses.
const maxSecret = 64 << 10

// Read returns the secret itself, from its file if it is kept in one, without white space around it. It reads the file each time.
func (s Secret) Read() (string, error) {
	path, ok := s.File()
	if !ok {
		return strings.TrimSpace(string(s)), nil
	}
	text, err := readFile(path, maxSecret)
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return secret, nil
}

// isSecret reports whether the secret itself was written.
func (s Secret) isSecret() bool {
	_, elsewhere := s.File()
	return !elsewhere && !s.IsZero()
}

// String is empty, the place of the secret, or "(set)".
func (s Secret) String() string {
	if _, ok := s.File(); ok || s == "" {
		return string(s)
	}
	return "(set)"
}

// GoString keeps %#v from telling.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// LogValue keeps the log from telling.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText keeps JSON and YAML from telling.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// ProxyURL is a proxy on the way to a relay, or off. It may have a password, which is never printed or logged; string(p) is what was
// written.
type ProxyURL string

// Check says what is wrong with the URL, if anything.
func (p ProxyURL) Check() error {
	if p == "" || p == viaproxy.Off {
		return nil
	}
	_, err := viaproxy.Parse(string(p))
	return err
}

// isSecret reports whether the URL has a password.
func (p ProxyURL) isSecret() bool { return p.String() != string(p) }

// String is the URL without its password.
func (p ProxyURL) String() string {
	u, err := viaproxy.Parse(string(p))
	switch {
	case p == "" || p == viaproxy.Off:
		return string(p)
	case err != nil:
		return "(not a proxy)"
	case u.User == nil:
		return string(p)
	}
	return u.Redacted()
}

// GoString keeps %#v from telling.
func (p ProxyURL) GoString() string { return strconv.Quote(p.String()) }

// LogValue keeps the log from telling.
func (p ProxyURL) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalText keeps JSON and YAML from telling.
func (p ProxyURL) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// readFile returns the content of the file at path, which must be a regular one (or a pipe) of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f, path, limit)
}

// readLimited reads r to its end and refuses more than limit bytes. name is for the error.
func readLimited(r io.Reader, name string, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("it has more than %d bytes", limit)}
	}
	return text, nil
}
