package relay

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/agent"
	"github.com/postern-dev/postern/config"
	"github.com/postern-dev/postern/internal/control"
	"github.com/postern-dev/postern/internal/join"
)

// patience is how long anything may take that should take no time.
const patience = 20 * time.Second

// configure is a relay with a new data folder on free ports of loopback.
func configure(t *testing.T) *config.Relay {
	t.Helper()
	cfg := config.DefaultRelay()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.Agents, cfg.Proxy, cfg.Socks, cfg.Admin = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	return cfg
}

// started is a relay that runs.
type started struct {
	t         *testing.T
	cfg       *config.Relay
	listeners map[string]string
	stop      context.CancelFunc
	ended     chan error // what Run returned
}

// start runs a relay, and ends it with the test.
func start(t *testing.T, cfg *config.Relay) *started {
	t.Helper()
	open := make(chan map[string]string, 1)
	r, err := New(cfg, Options{Version: "test", OnReady: func(listeners map[string]string) { open <- listeners }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := &started{t: t, cfg: cfg, stop: cancel, ended: make(chan error, 1)}
	go func() { s.ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		s.wait()
	})
	select {
	case s.listeners = <-open:
	case err := <-s.ended:
		t.Fatalf("Run returned %v", err)
	case <-time.After(patience):
		t.Fatal("the relay does not come up")
	}
	return s
}

// wait waits until Run has returned, which has to be without an error.
func (s *started) wait() {
	s.t.Helper()
	select {
	case err := <-s.ended:
		if err != nil {
			s.t.Errorf("Run returned %v", err)
		}
		s.ended <- nil
	case <-time.After(patience):
		s.t.Fatal("Run does not return")
	}
}

// ready asks the admin listener.
func (s *started) ready() int {
	s.t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.listeners["admin"]+"/readyz", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// joinString asks for a string on the control socket, as postern join create does.
func (s *started) joinString(role postern.Role) string {
	s.t.Helper()
	made, err := control.NewClient(s.cfg.Data).Join(s.t.Context(), control.JoinRequest{AgentID: "nas", Role: string(role)})
	if err != nil {
		s.t.Fatal(err)
	}
	return made.Join
}

// agent brings an agent with a selftest in, and waits until it is there.
func (s *started) agent() {
	s.t.Helper()
	cfg := config.DefaultAgent()
	cfg.Join, cfg.Data, cfg.Selftest, cfg.Grace = config.Secret(s.joinString(postern.RoleAgent)), s.t.TempDir(), true, 0
	a, err := agent.New(cfg, agent.Options{Version: "test"})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("the agent: %v", err)
		}
	})
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); len(s.agents()) == 0; <-tick.C {
		if time.Now().After(deadline) {
			s.t.Fatal("the agent does not come")
		}
	}
}

func (s *started) agents() []control.Agent {
	s.t.Helper()
	agents, err := control.NewClient(s.cfg.Data).Agents(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return agents
}

// echo opens a tunnel to the agent's echo through the proxy.
func (s *started) echo() (net.Conn, *bufio.Reader) {
	s.t.Helper()
	j, err := join.Parse(s.joinString(postern.RoleClient))
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := new(net.Dialer).DialContext(s.t.Context(), "tcp", s.listeners["proxy"])
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	credential := base64.StdEncoding.EncodeToString([]byte("nas:" + j.Token))
	err = errors.Join(
		c.SetDeadline(time.Now().Add(patience)),
		say(c, "CONNECT selftest.service:1 HTTP/1.1\r\nHost: selftest.service:1\r\nProxy-Authorization: Basic "+credential+"\r\n\r\necho\n"),
	)
	if err != nil {
		s.t.Fatal(err)
	}
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("%v, %v", resp, err)
	}
	return c, r
}

func say(w io.Writer, text string) error {
	_, err := io.WriteString(w, text)
	return err
}
