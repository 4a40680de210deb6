package connect

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/ingress/ingresstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// onePassword lets in whoever has the password "secret", to the agents nas and nas2.
type onePassword struct{}

func (onePassword) Verify(_ context.Context, c auth.Credential) (*postern.Identity, error) {
	if c.Secret != "secret" {
		return nil, postern.Errorf(postern.Unauthenticated, postern.HopRelay, "the password of %q is wrong", c.User)
	}
	return &postern.Identity{Method: "test", Subject: c.User, Role: c.Role, Agents: []string{"nas", "nas2"}}, nil
}

func basic(userinfo string) string {
	return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(userinfo)) + "\r\n"
}

func TestContract(t *testing.T) {
	hello := "CONNECT 10.0.0.7:22 HTTP/1.1\r\nHost: 10.0.0.7:22\r\n" + basic("me+nas:secret") + "\r\n"
	ingresstest.Run(t, ingresstest.Harness{
		Server:   func() *ingress.Server { return &ingress.Server{Protocol: New(Options{}), Auth: onePassword{}} },
		Hello:    func(early []byte) []byte { return append([]byte(hello), early...) },
		Reply:    readEstablished,
		Rejected: readRejected,
		Partial:  []byte(hello[:40]),
	})
}

func TestContractWithFixedAgent(t *testing.T) {
	hello := "CONNECT ssh.service HTTP/1.1\r\n\r\n"
	ingresstest.Run(t, ingresstest.Harness{
		Server:   func() *ingress.Server { return &ingress.Server{Protocol: New(Options{Agent: "nas"})} },
		Hello:    func(early []byte) []byte { return append([]byte(hello), early...) },
		Reply:    readEstablished,
		Rejected: readRejected,
		Partial:  []byte("CONNECT ssh.service HTTP/1.1\r\n"),
	})
}

// readEstablished wants the success to the byte: it must have neither a length nor an encoding.
func readEstablished(r *bufio.Reader) error {
	const want = "HTTP/1.1 200 Connection established\r\n\r\n"
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || string(got) != want {
		return fmt.Errorf("got %q, %v", got[:n], err)
	}
	return nil
}

// wanted is the table of DESIGN §3, written out a second time.
var wanted = map[postern.Kind]struct {
	status int
	error  string
}{
	postern.Unauthenticated: {407, "http_request_denied"},
	postern.Denied:          {403, "http_request_denied"},
	postern.NoSuchAgent:     {404, "destination_not_found"},
	postern.AgentOffline:    {503, "destination_unavailable"},
	postern.Draining:        {503, "destination_unavailable"},
	postern.Refused:         {502, "connection_refused"},
	postern.Unreachable:     {502, "destination_ip_unroutable"},
	postern.NameNotFound:    {502, "dns_error"},
	postern.Timeout:         {504, "connection_timeout"},
	postern.Limited:         {429, "connection_limit_reached"},
	postern.Overloaded:      {503, "connection_limit_reached"},
	postern.Conflict:        {409, "http_request_denied"},
	postern.BadAddress:      {400, "http_request_error"},
	postern.BadCommand:      {400, "http_request_error"},
	postern.BadAddressType:  {400, "http_request_error"},
	postern.Internal:        {500, "proxy_internal_error"},
	postern.Aborted:         {502, "connection_terminated"},
}

func readRejected(r *bufio.Reader, k postern.Kind) error {
	resp, err := http.ReadResponse(r, &http.Request{Method: "CONNECT"})
	if err != nil {
		return err
	}
	want, ok := wanted[k]
	if !ok {
		return fmt.Errorf("the kind %v is not in the table", k)
	}
	if resp.StatusCode != want.status {
		return fmt.Errorf("status %d, want %d", resp.StatusCode, want.status)
	}
	status := resp.Header.Get("Proxy-Status")
	if !strings.Contains(status, "; error="+want.error+"; details=\"") {
		return fmt.Errorf("Proxy-Status %q, want error=%s", status, want.error)
	}
	if trace := resp.Header.Get("X-Request-Id"); len(trace) != 16 {
		return fmt.Errorf("X-Request-Id %q", trace)
	}
	if retry := resp.Header.Get("Retry-After"); (retry != "") != (want.status == 503) {
		return fmt.Errorf("Retry-After %q with status %d", retry, want.status)
	}
	return nil
}

func TestEveryKindHasItsRow(t *testing.T) {
	for _, k := range postern.Kinds() {
		want, ok := wanted[k]
		if status, proxyError := statusOf(k); !ok || status != want.status || proxyError != want.error {
			t.Errorf("%v: %d %s, want %d %s", k, status, proxyError, want.status, want.error)
		}
	}
	if status, _ := statusOf(postern.Kind(200)); status != 500 {
		t.Errorf("a kind of a later version: %d, want 500", status)
	}
}
