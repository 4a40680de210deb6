package relay

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/egress/allow"
	"github.com/postern-dev/postern/internal/testnet"
)

func TestTheRelayRefusesWhatCannotBeAllowedAndSendsTheRulesAlong(t *testing.T) {
	client := func(targets ...string) *postern.Identity {
		return &postern.Identity{Role: postern.RoleClient, Agents: []string{"nas"}, Targets: targets}
	}
	for name, tt := range map[string]struct {
		rules  []string
		id     *postern.Identity
		agent  postern.AgentID
		target string
		want   postern.Kind
		allow  [][]string
	}{
		"nothing restricts":                 {nil, client(), "nas", "10.0.0.7:22", postern.OK, nil},
		"the token permits":                 {nil, client("10.0.0.0/8"), "nas", "10.0.0.7:22", postern.OK, [][]string{{"10.0.0.0/8"}}},
		"the token does not":                {nil, client("10.0.0.0/8:80"), "nas", "10.0.0.7:22", postern.Denied, nil},
		"the relay does not":                {[]string{"*.example.com"}, client(), "nas", "10.0.0.7:22", postern.Denied, nil},
		"a name may lead to a permitted":    {[]string{"10.0.0.0/8"}, client(), "nas", "db.internal:22", postern.OK, [][]string{{"10.0.0.0/8"}}},
		"both, and both travel":             {[]string{"*"}, client("db.internal"), "nas", "db.internal:1", postern.OK, [][]string{{"db.internal"}, {"*"}}},
		"a service that the token names":    {nil, client("web.service"), "nas", "web.service", postern.OK, [][]string{{"web.service"}}},
		"a service that it does not name":   {nil, client("web.service"), "nas", "ssh.service", postern.Denied, nil},
		"another agent":                     {nil, client(), "cam", "10.0.0.7:22", postern.Denied, nil},
		"a public port, on nobody's behalf": {nil, nil, "nas", "10.0.0.7:22", postern.OK, nil},
	} {
		t.Run(name, func(t *testing.T) {
			rules, err := allow.Parse(tt.rules)
			if err != nil {
				t.Fatal(err)
			}
			target, err := postern.ParseTarget(tt.target)
			if err != nil {
				t.Fatal(err)
			}
			var passed *postern.Request
			p := &policy{rules: rules, next: postern.OpenerFunc(func(_ context.Context, req *postern.Request) (postern.Stream, error) {
				passed = req
				s, _ := testnet.Pipe()
				return s, nil
			})}
			s, err := p.Open(t.Context(), &postern.Request{Agent: tt.agent, Target: target, Identity: tt.id})
			if err == nil {
				s.Close()
			}
			if k := postern.KindOf(err); k != tt.want {
				t.Fatalf("kind = %v (%v), want %v", k, err, tt.want)
			}
			if tt.want == postern.OK {
				if diff := cmp.Diff(tt.allow, passed.Allow); diff != "" {
					t.Errorf("the rules sent along differ (-want +got):\n%s", diff)
				}
			} else if passed != nil {
				t.Error("it was passed on all the same")
			}
		})
	}
}
