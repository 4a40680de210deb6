//go:build linux

package rig

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"
)

// Client is somebody who comes in through a relay's proxy listener.
type Client struct {
	Proxy  string // host:port of the proxy
	User   string
	Secret string
	TLS    *tls.Config // nil: in clear
}

// Client returns a client of that agent with a token of its own.
func (r *Relay) Client(t testing.TB, agentID string, tokenArgs ...string) *Client {
	t.Helper()
	return &Client{Proxy: r.Proxy, User: agentID, Secret: r.Token(t, "client", agentID, tokenArgs...)}
}

// OverTLS is the client as one that speaks TLS to the proxy.
func (c Client) OverTLS(t testing.TB, ca string) *Client {
	t.Helper()
	c.TLS = &tls.Config{RootCAs: Pool(t, ca), ServerName: "localhost"}
	return &c
}

// URL is the proxy with user and password, as programs take it.
func (c *Client) URL() *url.URL {
	u := &url.URL{Scheme: "http", Host: c.Proxy, User: url.UserPassword(c.User, c.Secret)}
	if c.TLS != nil {
		u.Scheme = "https"
	}
	return u
}

// Tunnel is a connection to a target through the proxy.
type Tunnel struct {
	net.Conn
	r *bufio.Reader
}

// Read reads what the target sent, also what came together with the proxy's answer.
func (c *Tunnel) Read(b []byte) (int, error) { return c.r.Read(b) }

// CloseWrite ends what the target will read.
func (c *Tunnel) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.New("the connection cannot half-close")
	}
	return half.CloseWrite()
}

// Tunnel connects to a target, or fails the test. The connection is closed with the test at the latest.
func (c *Client) Tunnel(t testing.TB, target string) *Tunnel {
	t.Helper()
	tunnel, answer, err := c.Connect(target, nil)
	if err != nil {
		t.Fatalf("CONNECT %s: %v", target, err)
	}
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("CONNECT %s: %s, Proxy-Status: %s", target, answer.Status, answer.Header.Get("Proxy-Status"))
	}
	t.Cleanup(func() { _ = tunnel.Close() }) // closed before, most often
	return tunnel
}

// Connect sends a CONNECT with early, the first bytes to the target, in the same segment. When the answer is not 200
// its body has been read in full, and the tunnel is nil. Every step has a deadline of 30 s, a tunnel has none.
func (c *Client) Connect(target string, early []byte) (*Tunnel, *Answer, error) {
	conn, err := net.DialTimeout("tcp", c.Proxy, 10*time.Second)
	if err != nil {
		return nil, nil, err
	}
	if c.TLS != nil {
		conn = tls.Client(conn, c.TLS)
	}
	tunnel, answer, err := c.handshake(conn, target, early)
	if tunnel == nil {
		_ = conn.Close() // the error or the answer says more
	}
	return tunnel, answer, err
}

func (c *Client) handshake(conn net.Conn, target string, early []byte) (*Tunnel, *Answer, error) {
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return nil, nil, err
	}
	if _, err := conn.Write(append([]byte(c.Head(http.MethodConnect, target)), early...)); err != nil {
		return nil, nil, err
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, nil, err
	}
	answer := &Answer{Response: resp}
	if resp.StatusCode != http.StatusOK {
		body, err := io.ReadAll(resp.Body)
		answer.Text = string(body)
		return nil, answer, err
	}
	return &Tunnel{Conn: conn, r: r}, answer, conn.SetDeadline(time.Time{})
}

// Head is a whole request without a body, as the proxy takes it from this client.
func (c *Client) Head(method, target string) string {
	host := target
	if u, err := url.Parse(target); err == nil && u.Host != "" {
		host = u.Host
	}
	head := method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n"
	if c.User != "" || c.Secret != "" {
		head += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(c.User+":"+c.Secret)) + "\r\n"
	}
	return head + "\r\n"
}

// Answer is a proxy's answer with its body.
type Answer struct {
	*http.Response

	Text string
}

// Pool reads a file of certificates.
func Pool(t testing.TB, file string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatalf("%s has no certificate", file)
	}
	return pool
}
