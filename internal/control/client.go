package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"

	"github.com/postern-dev/postern"
)

// Client asks the relay that runs with a data folder. Its methods may be called concurrently; it holds nothing open.
type Client struct{ path string }

// NewClient returns a Client for the relay with that data folder. It opens nothing.
func NewClient(dataDir string) *Client { return &Client{Path(dataDir)} }

// Agents lists the relay's sessions. The error is ErrNoRelay when no relay answers.
func (c *Client) Agents(ctx context.Context) ([]Agent, error) {
	var a Agents
	err := c.do(ctx, http.MethodGet, PathAgents, nil, &a)
	return a.Agents, err
}

// Join asks for a join string. The error is ErrNoRelay when no relay answers, else an *postern.Error of the relay.
func (c *Client) Join(ctx context.Context, r JoinRequest) (JoinAnswer, error) {
	var made JoinAnswer
	err := c.do(ctx, http.MethodPost, PathJoin, r, &made)
	return made, err
}

func (c *Client) do(ctx context.Context, method, path string, ask, answer any) error {
	var body io.Reader
	if ask != nil {
		text, err := json.Marshal(ask)
		if err != nil {
			return fmt.Errorf("ask the relay: %w", err)
		}
		body = bytes.NewReader(text)
	}
	// The host is required by HTTP and means nothing on a unix socket.
	req, err := http.NewRequestWithContext(ctx, method, "http://relay"+path, body)
	if err != nil {
		return fmt.Errorf("ask the relay: %w", err)
	}
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, c.path) },
		DisableKeepAlives: true,
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("ask the relay: %w", err)
	}
	defer resp.Body.Close()
	return read(resp, answer)
}

func read(resp *http.Response, answer any) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxList))
	if err != nil {
		return fmt.Errorf("read the relay's answer: %w", err)
	}
	switch resp.StatusCode {
	case http.StatusOK:
		if err := json.Unmarshal(text, answer); err != nil {
			return fmt.Errorf("read the relay's answer: %w", err)
		}
		return nil
	case http.StatusUnprocessableEntity:
		var f failure
		if err := json.Unmarshal(text, &f); err == nil && f.Kind != uint8(postern.OK) {
			return &postern.Error{Kind: postern.Kind(f.Kind), Hop: postern.Hop(f.Hop), Detail: f.Detail}
		}
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return postern.Errorf(postern.BadCommand, postern.HopRelay, "the relay that runs here is of another version and does not know this command")
	}
	return fmt.Errorf("the relay answered %s", resp.Status)
}

// dial connects to the socket at path. The error is ErrNoRelay when nobody listens there.
func dial(ctx context.Context, path string) (net.Conn, error) {
	short, done, err := shorten(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoRelay
	}
	if err != nil {
		return nil, err
	}
	defer done()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", short)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNoRelay
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, postern.Errorf(postern.Denied, postern.HopRelay, "the control socket %s belongs to another user: run this as the relay's user", path)
	}
	return conn, err
}
