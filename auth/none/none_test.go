package none_test

import (
	"testing"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
	"github.com/postern-dev/postern/auth/authtest"
	"github.com/postern-dev/postern/auth/none"
)

func TestContract(t *testing.T) {
	authtest.Run(t, func(*testing.T) authtest.Fixture {
		return authtest.Fixture{
			Method: none.New(),
			Agent:  auth.Credential{Role: postern.RoleAgent, User: string(authtest.AgentID), Instance: "7f3a"},
			Client: auth.Credential{Role: postern.RoleClient, User: "anne+" + string(authtest.AgentID), Instance: "11"},
			Open:   true,
		}
	})
}

func TestAgentsOfOneNameAreToldApartByTheirProcess(t *testing.T) {
	credential := func(instance string) string {
		id, err := none.New().Verify(t.Context(), auth.Credential{Role: postern.RoleAgent, User: "nas", Instance: instance})
		if err != nil {
			t.Fatal(err)
		}
		return id.Credential()
	}
	if credential("a") == credential("b") {
		t.Error("two processes have the same credential: anybody could take over an agent's session")
	}
}

func TestAnAgentWithoutAUsableIDIsToldWhy(t *testing.T) {
	_, err := none.New().Verify(t.Context(), auth.Credential{Role: postern.RoleAgent, User: "a b"})
	want := `the agent id "a b" has a ' '; allowed are letters, digits and . _ -`
	if err == nil || err.Error() != want || postern.KindOf(err) != postern.Unauthenticated {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestEverybodyMayReachEverythingAndListenAnywhere(t *testing.T) {
	id, err := none.New().Verify(t.Context(), auth.Credential{Role: postern.RoleClient, User: "anne+nas"})
	if err != nil {
		t.Fatal(err)
	}
	if !id.MayReach("other.agent") || len(id.Ports) != 1 || !id.Ports[0].Contains(1) || !id.Ports[0].Contains(65535) || id.Subject != "anne" {
		t.Errorf("got %+v", id)
	}
}
