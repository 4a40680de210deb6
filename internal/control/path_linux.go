package control

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// maxPath is sun_path less its final zero byte, see unix(7).
const maxPath = 107

// shorten returns a path to the same place that fits a socket address, good until done is called: deep data folders
// are reached through a descriptor of their own.
func shorten(path string) (short string, done func(), err error) {
	if len(path) <= maxPath {
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	// The descriptor was only read from, so closing it cannot lose anything.
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), func() { _ = dir.Close() }, nil
}

// ownerOnly gives the socket its mode before it has a name, so that there is no moment when others may connect.
func ownerOnly(_, _ string, c syscall.RawConn) error {
	var chmod error
	err := c.Control(func(fd uintptr) { chmod = syscall.Fchmod(int(fd), 0o600) })
	if err != nil {
		return err
	}
	return chmod
}
