package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"

	"github.com/postern-dev/postern"
)

// listen opens the listener of f. Errors are *Error: Conflict if somebody has the address already.
func listen(ctx context.Context, f Forward) (net.Listener, error) {
	if f.Network == "unix" {
		return listenUnix(ctx, f.Address)
	}
	var config net.ListenConfig
	ln, err := config.Listen(ctx, f.Network, f.Address)
	if err != nil {
		return nil, listenError(f.Address, err)
	}
	return ln, nil
}

// listenError says what a failure to listen means to the person who chose the address.
func listenError(address string, err error) error {
	kind, hint := postern.BadAddress, "is it an address of this machine?"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		kind, hint = postern.Conflict, "choose another LISTEN, or stop the program that has it"
	case errors.Is(err, fs.ErrPermission):
		kind, hint = postern.Denied, "this user may not listen there"
	}
	return postern.Errorf(kind, postern.HopClient, "cannot listen on %s (%s): %w", address, hint, err)
}

// socket is a listener on a unix socket that takes its file away when it closes, if it is still its own.
type socket struct {
	net.Listener
	path string
	file fs.FileInfo
	once sync.Once
	err  error
}

// listenUnix listens on a unix socket that only this user may connect to. The file of a program that is gone is replaced; one that
// somebody listens on, or that is no socket, is not touched.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	if err := clearStale(ctx, path); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: ownerOnly}
	ln, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, listenError(path, err)
	}
	// By name alone it could take away a successor's.
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	s := &socket{Listener: ln, path: path}
	// Where ownerOnly has no effect (it has on Linux) this comes a moment after the socket exists.
	err = os.Chmod(path, 0o600)
	if err == nil {
		s.file, err = os.Lstat(path)
	}
	if err != nil {
		return nil, errors.Join(listenError(path, err), ln.Close(), os.Remove(path))
	}
	return s, nil
}

// Close stops listening and removes the file. Idempotent.
func (s *socket) Close() error {
	s.once.Do(func() {
		// The file first: as long as it is there, the path leads to this listener and to nobody else.
		if now, err := os.Lstat(s.path); err == nil && os.SameFile(now, s.file) {
			s.err = os.Remove(s.path)
		}
		s.err = errors.Join(s.err, s.Listener.Close())
	})
	return s.err
}

// clearStale removes a socket that nobody listens on from path.
func clearStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return listenError(path, err)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return postern.Errorf(postern.Conflict, postern.HopClient, "cannot listen on %s: the file exists and is no socket; remove it or choose another path", path)
	}
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "unix", path)
	if err == nil {
		// It has served its purpose.
		_ = c.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return postern.Errorf(postern.Conflict, postern.HopClient, "cannot listen on %s: another program listens there; stop it or choose another path", path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing the socket of a program that is gone: %w", listenError(path, err))
	}
	return nil
}
