package auth_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
)

// methodFunc makes a Method of a function.
type methodFunc func(auth.Credential) (*postern.Identity, error)

func (f methodFunc) Verify(_ context.Context, c auth.Credential) (*postern.Identity, error) {
	return f(c)
}

// notMine is a method for another kind of credential.
func notMine(auth.Credential) (*postern.Identity, error) { return nil, auth.ErrNotMine }

// wrong refuses everything, and says more than strangers may know.
func wrong(auth.Credential) (*postern.Identity, error) {
	return nil, postern.Errorf(postern.Unauthenticated, postern.HopRelay, "the key of anne is wrong")
}

// reaches accepts the secret "right" for the agents.
func reaches(agents ...string) methodFunc {
	return func(c auth.Credential) (*postern.Identity, error) {
		if c.Secret != "right" {
			return wrong(c)
		}
		return &postern.Identity{Method: "test", Key: "k", Role: c.Role, Agents: agents}, nil
	}
}

func source(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 4711} }

func client(user, secret string) auth.Credential {
	return auth.Credential{Role: postern.RoleClient, User: user, Secret: secret, Remote: source("192.0.2.1")}
}

func TestTheFirstMethodWhoseBusinessItIsDecides(t *testing.T) {
	chain := &auth.Chain{Methods: []auth.Method{methodFunc(notMine), reaches("nas"), methodFunc(func(auth.Credential) (*postern.Identity, error) {
		t.Error("a method was asked after another one had decided")
		return nil, auth.ErrNotMine
	})}}
	if id, err := chain.Verify(t.Context(), client("nas", "right")); err != nil || id.Method != "test" {
		t.Errorf("got %v, %v", id, err)
	}
	if _, err := chain.Verify(t.Context(), client("nas", "wrong")); postern.KindOf(err) != postern.Unauthenticated {
		t.Errorf("got %v", err)
	}
}

func TestEveryRefusalOfAClientReadsTheSame(t *testing.T) {
	nobody := &auth.Chain{Methods: []auth.Method{methodFunc(notMine)}}
	chain := &auth.Chain{Methods: []auth.Method{reaches("nas", "web-*")}}
	for _, c := range []struct {
		why   string
		chain *auth.Chain
		cred  auth.Credential
	}{
		{"no method takes it", nobody, client("nas", "x")},
		{"no methods at all", &auth.Chain{}, client("nas", "x")},
		{"wrong secret", chain, client("nas", "wrong")},
		{"wrong secret for an unknown agent", chain, client("unknown", "wrong")},
		{"right secret for an agent it does not permit", chain, client("unknown", "right")},
		{"right secret, no agent id", chain, client("a b", "right")},
		{"right secret, user without agent", chain, client("anne+", "right")},
		{"right secret, pattern as agent", chain, client("web-*", "right")},
		{"nothing at all", chain, client("", "")},
	} {
		id, err := c.chain.Verify(t.Context(), c.cred)
		e, ok := errors.AsType[*postern.Error](err)
		if !ok || id != nil || *e != (postern.Error{Kind: postern.Unauthenticated, Hop: postern.HopRelay}) {
			t.Errorf("%s: got %v, %#v", c.why, id, err)
		}
	}
}

func TestAClientReachesOnlyTheAgentsOfItsCredential(t *testing.T) {
	chain := &auth.Chain{Methods: []auth.Method{reaches("nas", "web-*")}}
	for user, want := range map[string]bool{
		"nas": true, "anne+nas": true, "a+b+nas": true, "web-1": true, "": true,
		"nas2": false, "nas+other": false, "NAS": false, "web": false, "+": false, "nas+": false,
	} {
		_, err := chain.Verify(t.Context(), client(user, "right"))
		if (err == nil) != want {
			t.Errorf("user %q: %v, want success %v", user, err, want)
		}
	}
}

func TestAnAgentIsToldWhatItsMethodPermits(t *testing.T) {
	chain := &auth.Chain{Methods: []auth.Method{methodFunc(func(auth.Credential) (*postern.Identity, error) {
		return nil, &postern.Error{Kind: postern.Unauthenticated, Detail: "the token expired", Err: errors.New("inner matters")}
	})}}
	_, err := chain.Verify(t.Context(), auth.Credential{Role: postern.RoleAgent, Secret: "x"})
	if err == nil || err.Error() != "the token expired" {
		t.Errorf("got %v", err)
	}
}

func TestAMethodThatBreaksTheContractGrantsNothing(t *testing.T) {
	for name, id := range map[string]*postern.Identity{
		"no identity":       nil,
		"another role":      {Role: postern.RoleClient, Agents: []string{"nas"}},
		"no agent":          {Role: postern.RoleAgent},
		"two agents":        {Role: postern.RoleAgent, Agents: []string{"a", "b"}},
		"a pattern":         {Role: postern.RoleAgent, Agents: []string{"*"}},
		"an impossible one": {Role: postern.RoleAgent, Agents: []string{"../x"}},
	} {
		chain := &auth.Chain{Methods: []auth.Method{methodFunc(func(auth.Credential) (*postern.Identity, error) { return id, nil })}}
		got, err := chain.Verify(t.Context(), auth.Credential{Role: postern.RoleAgent, User: "nas", Secret: "x"})
		if err == nil || got != nil {
			t.Errorf("%s: accepted as %v", name, got)
		}
	}
}

func TestAnIdentityOfAnotherRoleIsRefusedOnEverySide(t *testing.T) {
	roles := []postern.Role{postern.RoleAdmin, postern.RoleOperator, postern.RoleViewer, postern.RoleAgent, postern.RoleClient}
	for _, given := range roles {
		chain := &auth.Chain{Methods: []auth.Method{methodFunc(func(auth.Credential) (*postern.Identity, error) {
			return &postern.Identity{Role: given, Agents: []string{"nas"}}, nil
		})}}
		for _, used := range roles {
			_, err := chain.Verify(t.Context(), auth.Credential{Role: used, User: "nas", Secret: "x"})
			if (err == nil) != (given == used) {
				t.Errorf("an identity of role %s used as %s: %v", given, used, err)
			}
		}
	}
}

func TestABrokenMethodIsNoFailureOfTheClient(t *testing.T) {
	chain := &auth.Chain{Guard: &auth.Guard{}, Methods: []auth.Method{methodFunc(func(auth.Credential) (*postern.Identity, error) {
		return nil, errors.New("the database is gone")
	})}}
	for range 20 {
		_, err := chain.Verify(t.Context(), client("nas", "x"))
		if postern.KindOf(err) != postern.Internal || strings.Contains(err.Error(), "database") {
			t.Fatalf("got %v", err)
		}
	}
}

func TestAskingWithoutACredentialIsNotGuessing(t *testing.T) {
	chain := &auth.Chain{Guard: &auth.Guard{}, Methods: []auth.Method{reaches("nas")}}
	for range 100 {
		if _, err := chain.Verify(t.Context(), client("", "")); postern.KindOf(err) != postern.Unauthenticated {
			t.Fatalf("got %v", err)
		}
	}
	if _, err := chain.Verify(t.Context(), client("nas", "right")); err != nil {
		t.Errorf("after a hundred first requests without credential: %v", err)
	}
}

func TestAGenuineCredentialThatHasExpiredIsNotGuessing(t *testing.T) {
	chain := &auth.Chain{Guard: &auth.Guard{}, Methods: []auth.Method{methodFunc(func(auth.Credential) (*postern.Identity, error) {
		return nil, postern.Errorf(postern.Unauthenticated, postern.HopRelay, "it expired yesterday: %w", auth.ErrNotNow)
	})}}
	for range 20 {
		if _, err := chain.Verify(t.Context(), client("nas", "old")); postern.KindOf(err) != postern.Unauthenticated {
			t.Fatalf("got %v", err)
		}
	}
}

func TestAGuesserIsTurnedAwayAndNobodyElse(t *testing.T) {
	chain := &auth.Chain{Guard: &auth.Guard{}, Methods: []auth.Method{reaches("nas")}}
	limited := 0
	for range 200 {
		if _, err := chain.Verify(t.Context(), client("nas", "guess")); postern.KindOf(err) == postern.Limited {
			limited++
		}
	}
	if limited != 190 {
		t.Errorf("%d of 200 attempts were turned away, want 190", limited)
	}
	if _, err := chain.Verify(t.Context(), client("nas", "right")); postern.KindOf(err) != postern.Limited {
		t.Errorf("the right secret from the source that guessed: %v, want Limited", err)
	}
	other := client("nas", "right")
	other.Remote = source("192.0.2.2")
	if _, err := chain.Verify(t.Context(), other); err != nil {
		t.Errorf("the right secret from another source: %v", err)
	}
}

func TestTheLogSaysWhyAndNeverTheSecret(t *testing.T) {
	var log bytes.Buffer
	chain := &auth.Chain{
		Guard: &auth.Guard{}, Methods: []auth.Method{reaches("nas")},
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	const secret = "s3cret"
	for range 12 {
		_, _ = chain.Verify(t.Context(), client("anne+nas", secret)) // refused; what counts is the log
	}
	_, _ = chain.Verify(t.Context(), auth.Credential{Role: postern.RoleClient, User: strings.Repeat(secret, 20), Secret: "x", Remote: source("192.0.2.3")})
	text := log.String()
	for _, want := range []string{"the key of anne is wrong", "agent=nas", "192.0.2.1:4711", "level=WARN", "turned away"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	if strings.Contains(text, secret) {
		t.Errorf("the log has the secret:\n%s", text)
	}
}

func TestSplitUser(t *testing.T) {
	for user, want := range map[string][2]string{
		"nas": {"", "nas"}, "anne+nas": {"anne", "nas"}, "a+b+nas": {"a+b", "nas"}, "": {"", ""}, "+": {"", ""}, "anne+": {"anne", ""}, "+nas": {"", "nas"},
	} {
		name, agent := auth.SplitUser(user)
		if got := [2]string{name, agent}; got != want {
			t.Errorf("SplitUser(%q) = %q, want %q", user, got, want)
		}
	}
}
