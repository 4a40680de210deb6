package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"github.com/postern-dev/postern/config"
	"github.com/postern-dev/postern/internal/control"
)

// listeners are the relay's open sockets. A listener that is off is nil.
type listeners struct {
	agentsTCP                net.Listener
	agentsUDP                net.PacketConn
	proxy, socks, web, admin net.Listener
	control                  *control.Listener
}

// listen opens every socket that the configuration names, or none.
func (r *Relay) listen(ctx context.Context) (_ *listeners, err error) {
	l := new(listeners)
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	// The socket first: it tells at once that another relay runs with the folder.
	if r.cfg.Data != "" {
		if l.control, err = control.Listen(ctx, control.Path(r.cfg.Data)); err != nil {
			return nil, err
		}
	}
	if !r.cfg.Agents.IsOff() {
		if l.agentsTCP, l.agentsUDP, err = listenBoth(ctx, r.cfg.Agents); err != nil {
			return nil, err
		}
	}
	for _, one := range []struct {
		key  string
		addr config.Addr
		to   *net.Listener
	}{
		{"proxy", r.cfg.Proxy, &l.proxy},
		{"socks", r.cfg.Socks, &l.socks},
		{"web", r.cfg.Web, &l.web},
		{"admin", r.cfg.Admin, &l.admin},
	} {
		if one.addr.IsOff() {
			continue
		}
		if *one.to, err = listenTCP(ctx, one.key, one.addr.HostPort()); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// close closes all sockets. Those that a server has closed already make no difference.
func (l *listeners) close() {
	for _, ln := range []net.Listener{l.agentsTCP, l.proxy, l.socks, l.web, l.admin} {
		if ln != nil {
			_ = ln.Close()
		}
	}
	if l.agentsUDP != nil {
		_ = l.agentsUDP.Close()
	}
	if l.control != nil {
		_ = l.control.Close()
	}
}

// addresses are the open listeners by their key, as in the ready file.
func (l *listeners) addresses() map[string]string {
	all := make(map[string]string)
	for key, ln := range map[string]net.Listener{
		"agents": l.agentsTCP, "proxy": l.proxy, "socks": l.socks, "web": l.web, "admin": l.admin,
	} {
		if ln != nil {
			all[key] = ln.Addr().String()
		}
	}
	return all
}

// sameNumberTries is how many free TCP ports are tried for one whose UDP twin is free as well.
const sameNumberTries = 20

// listenBoth opens TCP and UDP on the same number.
func listenBoth(ctx context.Context, addr config.Addr) (net.Listener, net.PacketConn, error) {
	var lc net.ListenConfig
	for try := 1; ; try++ {
		tcp, err := listenTCP(ctx, "agents", addr.HostPort())
		if err != nil {
			return nil, nil, err
		}
		host, _, err := net.SplitHostPort(addr.HostPort())
		if err != nil {
			return nil, nil, errors.Join(err, tcp.Close())
		}
		port := tcp.Addr().(*net.TCPAddr).Port
		udp, err := lc.ListenPacket(ctx, "udp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err == nil {
			return tcp, udp, nil
		}
		_ = tcp.Close() // nothing was accepted
		if !addr.AnyPort() || try == sameNumberTries {
			return nil, nil, listenError("agents", addr.HostPort(), err)
		}
	}
}

func listenTCP(ctx context.Context, key, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, listenError(key, addr, err)
	}
	return ln, nil
}

// listenError names the listener, and says who may hold the port.
func listenError(key, addr string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s: %s is in use by another program; give --%s another address: %w", key, addr, key, err)
	}
	return fmt.Errorf("%s: cannot listen on %s: %w", key, addr, err)
}

// portOf is the port of a listener's address.
func portOf(a net.Addr) (uint16, error) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("%v is no TCP address", a)
	}
	return uint16(tcp.Port), nil
}
