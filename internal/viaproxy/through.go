package viaproxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// through connects to the proxy and has it connect to addr. When ctx ends, it gives up.
func (p *Proxies) through(ctx context.Context, proxy *url.URL, addr string) (net.Conn, error) {
	tcp, err := (&net.Dialer{}).DialContext(ctx, "tcp", proxy.Host)
	if err != nil {
		return nil, fmt.Errorf("the proxy itself cannot be reached: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = tcp.SetDeadline(time.Unix(1, 0)) }) // fails on closed sockets only
	conn, err := p.ask(ctx, tcp, proxy, addr)
	if !stop() {
		err = fmt.Errorf("it has not answered so far: %w", context.Cause(ctx))
	}
	if err != nil {
		_ = conn.Close() // nothing but the error is of use
		return nil, err
	}
	return conn, nil
}

// ask speaks the proxy's protocol. The connection it returns, in any case, stands for conn.
func (p *Proxies) ask(ctx context.Context, conn net.Conn, proxy *url.URL, addr string) (net.Conn, error) {
	switch proxy.Scheme {
	case "socks5", "socks5h":
		return conn, askSocks(conn, proxy.User, addr)
	case "https":
		secure := tls.Client(conn, &tls.Config{ServerName: proxy.Hostname(), RootCAs: p.roots, NextProtos: []string{"http/1.1"}})
		if err := secure.HandshakeContext(ctx); err != nil {
			return conn, fmt.Errorf("no TLS with the proxy: %w", err)
		}
		conn = secure
	}
	return conn, askHTTP(conn, proxy.User, addr)
}

// maxAnswer bounds the head of a proxy's answer.
const maxAnswer = 64 << 10

// askHTTP sends CONNECT and reads the answer, and no byte after it.
func askHTTP(conn net.Conn, user *url.Userinfo, addr string) error {
	if strings.ContainsFunc(addr, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return errors.New("the address has characters that addresses do not have")
	}
	head := "CONNECT " + addr + " HTTP/1.1\r\nHost: " + addr + "\r\n"
	if user != nil {
		password, _ := user.Password()
		credentials := base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
		head += "Proxy-Authorization: Basic " + credentials + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		return err
	}
	r := bufio.NewReader(io.LimitReader(conn, maxAnswer))
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return fmt.Errorf("its answer cannot be read; is it an HTTP proxy? %w", err)
	}
	// A body has no use, and the connection is closed when there is one.
	switch {
	case resp.StatusCode == http.StatusProxyAuthRequired:
		return refusedUser(resp, user != nil)
	case resp.StatusCode/100 != 2:
		return fmt.Errorf("it answers %q", resp.Status)
	case r.Buffered() > 0:
		// We are the one who speaks first, whatever the protocol.
		return errors.New("it sends bytes that nobody has asked for")
	}
	return nil
}

// refusedUser says what the proxy wants to know.
func refusedUser(resp *http.Response, given bool) error {
	var schemes []string
	for _, challenge := range resp.Header.Values("Proxy-Authenticate") {
		scheme, _, _ := strings.Cut(challenge, " ")
		schemes = append(schemes, scheme)
		if strings.EqualFold(scheme, "Basic") {
			if given {
				return fmt.Errorf("it answers %q: user and password are not the right ones", resp.Status)
			}
			return fmt.Errorf("it answers %q; give user and password: http://USER:PASSWORD@host:port", resp.Status)
		}
	}
	return fmt.Errorf("it answers %q and takes %s only, not Basic", resp.Status, strings.Join(schemes, ", "))
}
