// Package authtest is the contract of auth.Method as a test. Every method runs it:
//
//	func TestContract(t *testing.T) {
//		authtest.Run(t, func(t *testing.T) authtest.Fixture {
//			return authtest.Fixture{Method: method, Agent: agentCredential, Client: clientCredential}
//		})
//	}
package authtest

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
)

// AgentID is the agent that a Fixture's credentials are about.
const AgentID postern.AgentID = "nas"

// Fixture is a method with a good credential for each side.
type Fixture struct {
	// Method is what is tested.
	Method auth.Method
	// Agent is a good credential of role agent for AgentID.
	Agent auth.Credential
	// Client is a good credential of role client that may reach AgentID.
	Client auth.Credential
	// Open says that the method asks for no secret, so that a bad one is let in.
	Open bool
}

// Run checks what every method promises. factory is called once for each part of the suite.
func Run(t *testing.T, factory func(t *testing.T) Fixture) {
	t.Run("a good credential gives a whole identity", func(t *testing.T) { testIdentity(t, factory(t)) })
	t.Run("the same credential gives the same credential name", func(t *testing.T) { testSame(t, factory(t)) })
	t.Run("a credential serves its own role only", func(t *testing.T) { testRoles(t, factory(t)) })
	t.Run("garbage is refused", func(t *testing.T) { testGarbage(t, factory(t)) })
	t.Run("a good secret with one character changed is refused", func(t *testing.T) { testChanged(t, factory(t)) })
	t.Run("bad agent ids never become identities", func(t *testing.T) { testAgentIDs(t, factory(t)) })
	t.Run("many at once", func(t *testing.T) { testConcurrent(t, factory(t)) })
}

func testIdentity(t *testing.T, f Fixture) {
	for _, c := range []auth.Credential{f.Agent, f.Client} {
		id := mustVerify(t, f.Method, c)
		if id.Method == "" {
			t.Errorf("%s: the identity does not name its method", c.Role)
		}
		if id.Role != c.Role {
			t.Errorf("the identity has role %q for a credential of role %q", id.Role, c.Role)
		}
		if !id.MayReach(AgentID) {
			t.Errorf("%s: the identity may not reach %s: %v", c.Role, AgentID, id.Agents)
		}
	}
	agent := mustVerify(t, f.Method, f.Agent)
	if agent.AgentID() != AgentID || agent.Subject != string(AgentID) {
		t.Errorf("the agent's identity stands for %q with subject %q, want %q for both", agent.AgentID(), agent.Subject, AgentID)
	}
	if agent.Key == "" {
		t.Error("the agent's identity does not say which key verified it")
	}
	if agent.MayReach("somebody-else") {
		t.Error("the agent's identity reaches another agent")
	}
}

func testSame(t *testing.T, f Fixture) {
	first, second := mustVerify(t, f.Method, f.Agent), mustVerify(t, f.Method, f.Agent)
	if first.Credential() != second.Credential() {
		t.Error("verifying the same credential twice gave two credentials: an agent could not take over from its own ghost")
	}
}

func testRoles(t *testing.T, f Fixture) {
	for _, c := range []auth.Credential{f.Agent, f.Client} {
		for _, role := range []postern.Role{postern.RoleAdmin, postern.RoleOperator, postern.RoleViewer, postern.RoleAgent, postern.RoleClient, "", "Client", "AGENT"} {
			if role == c.Role {
				continue
			}
			moved := c
			moved.Role = role
			id, err := f.Method.Verify(t.Context(), moved)
			if f.Open && err == nil {
				if id.Role != role {
					t.Errorf("a credential used as %q gave an identity of role %q", role, id.Role)
				}
				continue
			}
			mustRefuse(t, id, err, "a credential of role "+string(c.Role)+" used as "+string(role))
		}
	}
}

// garbage is what strangers send.
func garbage() []string {
	return []string{
		"", " ", ".", "..", "...", "a.b.c", "\x00", "\xff\xfe\xfd", "null", "Bearer x",
		strings.Repeat(".", 1<<20), strings.Repeat("A", 1<<20), strings.Repeat("A.", 2) + strings.Repeat("A", 9<<10),
		"eyJhbGciOiJub25lIn0.e30.", "\r\n\r\n", strings.Repeat("{", 10000),
	}
}

func testGarbage(t *testing.T, f Fixture) {
	for _, good := range []auth.Credential{f.Agent, f.Client} {
		for _, secret := range garbage() {
			bad := good
			bad.Secret = secret
			id, err := f.Method.Verify(t.Context(), bad)
			if f.Open && err == nil {
				continue
			}
			mustRefuse(t, id, err, "a secret of garbage")
			if len(secret) > 2 && strings.Contains(err.Error(), secret) {
				t.Errorf("the error repeats the secret: %.200s", err)
			}
		}
	}
}

func testChanged(t *testing.T, f Fixture) {
	if f.Open {
		return
	}
	for i := range f.Client.Secret {
		b := []byte(f.Client.Secret)
		if b[i]++; b[i] > '~' {
			b[i] = '!'
		}
		bad := f.Client
		bad.Secret = string(b)
		id, err := f.Method.Verify(t.Context(), bad)
		mustRefuse(t, id, err, "a secret with a changed character")
	}
}

func testAgentIDs(t *testing.T, f Fixture) {
	for _, name := range []string{"", strings.Repeat("a", 65), "a b", "a\r\nset x 0 0 1", "../x", "<img src=x>", "a\u202eb", strings.Repeat("x", 1<<20), "a+b", "*"} {
		c := f.Agent
		c.User = name
		id, err := f.Method.Verify(t.Context(), c)
		if err == nil && id.AgentID() != AgentID {
			t.Errorf("an agent that calls itself %.40q became %.40q", name, id.AgentID())
		}
		if err != nil {
			mustRefuse(t, id, err, "a bad agent id")
		}
	}
}

func testConcurrent(t *testing.T, f Fixture) {
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			for range 20 {
				good := f.Agent
				if i%2 == 0 {
					good = f.Client
				}
				if _, err := f.Method.Verify(t.Context(), good); err != nil {
					t.Errorf("a good credential was refused: %v", err)
				}
				bad := good
				bad.Secret = "a.b.c"
				if id, err := f.Method.Verify(t.Context(), bad); err == nil && !f.Open {
					t.Errorf("garbage became %v", id)
				}
			}
		})
	}
	all.Wait()
}

func mustVerify(t *testing.T, m auth.Method, c auth.Credential) *postern.Identity {
	t.Helper()
	id, err := m.Verify(t.Context(), c)
	if err != nil {
		t.Fatalf("a good credential of role %s was refused: %v", c.Role, err)
	}
	return id
}

// mustRefuse checks that a refusal is one the chain understands, and comes without an identity.
func mustRefuse(t *testing.T, id *postern.Identity, err error, what string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s was accepted as %v", what, id)
		return
	}
	if id != nil {
		t.Errorf("%s: an identity came with the error", what)
	}
	if !errors.Is(err, auth.ErrNotMine) && postern.KindOf(err) != postern.Unauthenticated {
		t.Errorf("%s: the error is neither ErrNotMine nor Unauthenticated: %v", what, err)
	}
}
