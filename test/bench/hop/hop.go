// Package hop is a bare TCP hop: what arrives is passed on to one address, and nothing else is done. Two of them are what a
// tunnel written in Go could reach that had nothing to do but to move bytes: a bound for the benchmark, no tunnel.
//
// Plain hops let the kernel splice. With TLS there is one TLS 1.3 connection for each client, resumed where possible, and records are
// gathered into large reads and writes.
//
//	relay := hop.Options{To: agent.Addr().String(), Client: clientTLS}
//	agent := hop.Options{To: target, Server: serverTLS}
//	go hop.Serve(ctx, agentListener, agent)
//	err := hop.Serve(ctx, relayListener, relay)
package hop

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
)

// Options say where a hop leads.
type Options struct {
	To     string      // host:port
	Server *tls.Config // of what arrives; nil: plain
	Client *tls.Config // of what is passed on; nil: plain
}

// Serve passes on every connection that ln accepts until ctx ends. It closes ln, and returns when no connection is left.
func Serve(ctx context.Context, ln net.Listener, o Options) error {
	var running sync.WaitGroup
	defer running.Wait()
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })() // ends Accept
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return errors.Join(err, ln.Close())
		}
		running.Go(func() { pass(ctx, conn, o) })
	}
}

// end is one end of a passed connection.
type end interface {
	net.Conn
	CloseWrite() error
}

// pass serves one client. What goes wrong shows at both ends.
func pass(ctx context.Context, conn net.Conn, o Options) {
	defer func() { _ = conn.Close() }() // both directions have ended, or it is broken
	next, err := (&net.Dialer{}).DialContext(ctx, "tcp", o.To)
	if err != nil {
		return
	}
	defer func() { _ = next.Close() }() // the same
	client, err := secure(ctx, conn, o.Server, tls.Server)
	if err != nil {
		return
	}
	target, err := secure(ctx, next, o.Client, tls.Client)
	if err != nil {
		return
	}
	abort := func() {
		_ = conn.Close() // wakes whoever waits for it
		_ = next.Close()
	}
	defer context.AfterFunc(ctx, abort)()
	var back sync.WaitGroup
	back.Go(func() {
		if copyAll(client, target) != nil {
			abort()
		}
	})
	if copyAll(target, client) != nil {
		abort()
	}
	back.Wait()
}

// secure puts TLS on a connection, if it is to have any.
func secure(ctx context.Context, conn net.Conn, config *tls.Config, side func(net.Conn, *tls.Config) *tls.Conn) (end, error) {
	if config == nil {
		return conn.(*net.TCPConn), nil
	}
	w := &wire{Conn: conn}
	s := &stream{Conn: side(w, config), wire: w}
	return s, s.HandshakeContext(ctx)
}

// copyAll copies one direction, its end included.
func copyAll(dst, src end) error {
	var err error
	switch s := src.(type) {
	case *stream:
		err = s.copyTo(dst)
	default:
		if d, ok := dst.(*stream); ok {
			err = d.copyFrom(src)
		} else {
			_, err = io.Copy(dst, src) // splice(2), which *net.TCPConn knows
		}
	}
	return errors.Join(err, dst.CloseWrite())
}
