package jwt_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
	"github.com/postern-dev/postern/auth/jwt"
)

func TestTimesHaveFiveSecondsOfLeeway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := newKey(t, "ES256")
		m := newMethod(t, jwt.Options{}, key)
		now := time.Now()
		c := clientClaims()
		c.Issued, c.NotBefore, c.Expires = now.Add(10*time.Second), now.Add(10*time.Second), now.Add(30*time.Second)
		token := sign(t, key, c)
		passed := time.Duration(0)
		for _, step := range []struct {
			at   time.Duration
			want string // "" is accepted
		}{{0, "not good before"}, {4 * time.Second, "not good before"}, {5 * time.Second, ""}, {34 * time.Second, ""}, {35 * time.Second, "expired at"}, {time.Hour, "expired at"}} {
			time.Sleep(step.at - passed)
			passed = step.at
			for range 2 { // the second time from the cache, if it is in there
				_, err := verify(t, m, postern.RoleClient, token)
				if step.want == "" && err != nil || step.want != "" && (err == nil || !strings.Contains(err.Error(), step.want)) {
					t.Errorf("after %v: %v, want %q", step.at, err, step.want)
				}
				if step.want != "" && !errors.Is(err, auth.ErrNotNow) {
					t.Errorf("after %v: %v counts as guessing", step.at, err)
				}
			}
		}
	})
}

func TestACachedTokenIsStillCheckedForRoleAndTime(t *testing.T) {
	key := newKey(t, "ES256")
	now := time.Now()
	m := newMethod(t, jwt.Options{Now: func() time.Time { return now }}, key)
	token := sign(t, key, clientClaims())
	first, err := verify(t, m, postern.RoleClient, token)
	if err != nil {
		t.Fatal(err)
	}
	second, err := verify(t, m, postern.RoleClient, token)
	if err != nil || first != second {
		t.Errorf("the second use did not come from the cache: %v", err)
	}
	if _, err := verify(t, m, postern.RoleAgent, token); err == nil || !strings.Contains(err.Error(), "for role client, not for agent") {
		t.Errorf("used as an agent's: %v", err)
	}
	now = now.Add(2 * time.Hour)
	if _, err := verify(t, m, postern.RoleClient, token); err == nil {
		t.Error("accepted from the cache after it expired")
	}
	if _, err := verify(t, m, postern.RoleClient, sign(t, newKey(t, "ES256"), jwt.Claims{Role: postern.RoleClient, AgentID: "nas", Expires: now.Add(-time.Hour)})); errors.Is(err, auth.ErrNotNow) {
		t.Errorf("an expired token of another key counts as genuine: %v", err)
	}
}

func TestTheLifetimeIsCapped(t *testing.T) {
	key := newKey(t, "ES256")
	m := newMethod(t, jwt.Options{MaxLifetime: 24 * time.Hour}, key)
	now := time.Now()
	for name, c := range map[string]struct {
		issued, notBefore time.Time
		life              time.Duration
		want              bool
	}{
		"a day from iat":        {issued: now, life: 24 * time.Hour, want: true},
		"more than a day":       {issued: now, life: 25 * time.Hour},
		"issued long ago":       {issued: now.Add(-48 * time.Hour), life: time.Hour},
		"without iat":           {life: 23 * time.Hour, want: true},
		"without iat, too long": {life: 25 * time.Hour},
		"from nbf":              {notBefore: now.Add(-23 * time.Hour), life: 2 * time.Hour},
	} {
		claims := clientClaims()
		claims.Issued, claims.NotBefore, claims.Expires = c.issued, c.notBefore, now.Add(c.life)
		if _, err := verify(t, m, postern.RoleClient, sign(t, key, claims)); (err == nil) != c.want {
			t.Errorf("%s: %v, want success %v", name, err, c.want)
		}
	}
}
