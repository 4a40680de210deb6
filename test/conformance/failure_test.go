//go:build linux

package conformance

import (
	"encoding/json"
	"net"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-dev/postern/test/rig"
)

// failure is one row of the table: what is asked for, and what the answer must be.
type failure struct {
	name   string
	client *rig.Client
	target string
	status int
	hop    string        // which Proxy-Status must name
	within time.Duration // 0: 5 s
}

// TestFailureTable is the table of how failures are said, by CONNECT.
func TestFailureTable(t *testing.T) {
	echo, refusing, hole := rig.Echo(t), rig.Refusing(t), rig.BlackHole(t)
	_, echoPort, err := net.SplitHostPort(echo)
	if err != nil {
		t.Fatal(err)
	}
	overEachTransport(t, func(t *testing.T, b *bed) {
		limited := rig.StartAgent(t, b.relay, rig.AgentOptions{ID: "limited", Allow: []string{"127.0.0.1:1-1023", "*.allowed.test"}})
		gone := rig.StartAgent(t, b.relay, rig.AgentOptions{ID: "gone"})
		gone.Signal(syscall.SIGTERM)
		gone.Exit(short)

		with := func(user, secret string) *rig.Client {
			return &rig.Client{Proxy: b.relay.Proxy, User: user, Secret: secret}
		}
		own := b.client.Secret
		for _, f := range []failure{
			{name: "no credential", client: with("", ""), target: echo, status: 407, hop: "relay"},
			{name: "a wrong token", client: with(agentID, "not-a-token"), target: echo, status: 407, hop: "relay"},
			{name: "a token with a broken signature", client: with(agentID, breakSignature(own)), target: echo, status: 407, hop: "relay"},
			{name: "an expired token", client: b.relay.Client(t, agentID, "--duration", "1s"), target: echo, status: 407, hop: "relay"},
			{name: "an agent's token", client: with(agentID, b.relay.Token(t, "agent", agentID)), target: echo, status: 407, hop: "relay"},
			{name: "another agent's token", client: with(limited.ID, own), target: echo, status: 407, hop: "relay"},
			{name: "an unknown agent", client: b.relay.Client(t, "ghost"), target: echo, status: 404, hop: "relay"},
			{name: "an agent that is away", client: b.relay.Client(t, gone.ID), target: echo, status: 503, hop: "relay"},
			{name: "a target that the agent denies", client: b.relay.Client(t, limited.ID), target: echo, status: 403, hop: "agent"},
			{name: "a name that the agent denies", client: b.relay.Client(t, limited.ID), target: "localhost:" + echoPort, status: 403, hop: "agent"},
			{name: "a target that the token denies", client: b.relay.Client(t, agentID, "--targets", "10.0.0.0/8"), target: echo, status: 403},
			{name: "an undeclared service", client: b.client, target: "nothing.service:1", status: 502, hop: "agent"},
			{name: "a refused port", client: b.client, target: refusing, status: 502, hop: "target"},
			{name: "a name that does not resolve", client: b.client, target: "nothing.invalid:" + echoPort, status: 502, hop: "target", within: 15 * time.Second},
			{name: "a black hole", client: b.client, target: hole, status: 504, hop: "target", within: 15 * time.Second},
			{name: "port 0", client: b.client, target: "127.0.0.1:0", status: 400, hop: "relay"},
			{name: "an address in a form that programs read differently", client: b.client, target: "0177.0.0.1:80", status: 400, hop: "relay"},
		} {
			t.Run(f.name, func(t *testing.T) { f.check(t) })
		}
	})
}

func (f failure) check(t *testing.T) {
	if f.name == "an expired token" {
		// Tokens are good to the second, with some leeway for clocks that differ: up to 5 s (P-8).
		rig.Eventually(t, 10*time.Second, "the token expires", func() bool {
			_, answer, err := f.client.Connect(f.target, nil)
			return err == nil && answer.StatusCode != http.StatusOK
		})
	}
	start := time.Now()
	conn, answer, err := f.client.Connect(f.target, nil)
	took := time.Since(start)
	if err != nil {
		t.Fatal(err)
	}
	if conn != nil {
		t.Fatalf("the answer is %s", answer.Status)
	}
	if answer.StatusCode != f.status {
		t.Errorf("the status is %d, want %d; %q", answer.StatusCode, f.status, answer.Text)
	}
	proxyStatus := answer.Header.Get("Proxy-Status")
	if f.hop == "" {
		f.hop = "relay|agent"
	}
	if !regexp.MustCompile(`\b(?:` + f.hop + `)\b`).MatchString(proxyStatus) {
		t.Errorf("Proxy-Status: %q, which does not name the hop %s", proxyStatus, f.hop)
	}
	if f.within == 0 {
		f.within = 5 * time.Second
	}
	if took > f.within {
		t.Errorf("it took %v", took)
	}
	f.checkFields(t, answer)
}

// checkFields checks what a status obliges to, and that nothing secret is told.
func (f failure) checkFields(t *testing.T, answer *rig.Answer) {
	t.Helper()
	switch answer.StatusCode {
	case http.StatusProxyAuthRequired:
		if got := answer.Header.Get("Proxy-Authenticate"); !strings.HasPrefix(got, "Basic") {
			t.Errorf("Proxy-Authenticate: %q", got)
		}
	case http.StatusServiceUnavailable:
		if got := answer.Header.Get("Retry-After"); got == "" {
			t.Error("there is no Retry-After")
		}
	}
	if strings.TrimSpace(answer.Text) == "" {
		t.Error("the answer has no body that says why")
	}
	var head strings.Builder
	if err := answer.Header.Write(&head); err != nil {
		t.Fatal(err)
	}
	if f.client.Secret != "" && strings.Contains(head.String()+answer.Text, f.client.Secret) {
		t.Errorf("the answer has the credential:\n%s%s", head.String(), answer.Text)
	}
}

// breakSignature changes a token in the middle of its signature: its last character has bits that do not count.
func breakSignature(token string) string {
	b := []byte(token)
	i := len(b) - 20
	if b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}

// TestRelayAllowList has the relay deny what the agent would allow.
func TestRelayAllowList(t *testing.T) {
	echo := rig.Echo(t)
	relay := rig.StartRelay(t, rig.RelayOptions{Args: []string{"--allow", "127.0.0.1:1-1023"}})
	rig.StartAgent(t, relay, rig.AgentOptions{ID: agentID})
	failure{client: relay.Client(t, agentID), target: echo, status: 403, hop: "relay|agent"}.check(t)
}

// TestFailuresOfForwardedRequests are the same failures where the proxy was asked for a page.
func TestFailuresOfForwardedRequests(t *testing.T) {
	refusing := rig.Refusing(t)
	b := newBed(t, "tls")
	get := func(accept, url string) (head, body string) {
		r := b.curl(t, b.client, "-i", "-H", "Accept: "+accept, url)
		r.MustSucceed(t, "curl")
		head, body, _ = strings.Cut(r.Stdout, "\r\n\r\n")
		return head, body
	}
	t.Run("JSON", func(t *testing.T) {
		head, body := get("application/json", "http://"+refusing+"/")
		var problem struct {
			Title  string
			Status int
		}
		if err := json.Unmarshal([]byte(body), &problem); err != nil || problem.Status != 502 || problem.Title == "" {
			t.Errorf("%v; want a problem of RFC 9457 with title and status 502:\n%s\n\n%s", err, head, body)
		}
		if !strings.Contains(head, "application/problem+json") || !strings.HasPrefix(head, "HTTP/1.1 502") {
			t.Errorf("the head is\n%s", head)
		}
	})
	t.Run("a page", func(t *testing.T) {
		head, body := get("text/html", "http://"+refusing+"/")
		if !strings.Contains(strings.ToLower(head), "content-type: text/html") || !strings.Contains(body, "<") {
			t.Errorf("%s\n\n%s", head, body)
		}
	})
	t.Run("text", func(t *testing.T) {
		_, body := get("*/*", "http://"+refusing+"/")
		if lines := strings.Count(strings.TrimSpace(body), "\n") + 1; lines != 1 || strings.Contains(body, "<") {
			t.Errorf("want one line of text, got %q", body)
		}
	})
}
