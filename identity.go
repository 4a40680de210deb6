package postern

import (
	"path"
	"time"
)

// Role is what a credential is for. A credential serves its own role only.
type Role string

// The roles. Admin, Operator and Viewer speak to the API, Agent holds a session, Client comes in through an ingress.
const (
	RoleAdmin    Role = "admin"
	RoleOperator Role = "operator"
	RoleViewer   Role = "viewer"
	RoleAgent    Role = "agent"
	RoleClient   Role = "client"
)

// Identity is who somebody is, as proved by a credential, and what the credential permits.
// It is never changed after an auth.Method returned it.
type Identity struct {
	Method  string      // the auth method that verified it: "jwt", "none", ...
	Key     string      // thumbprint of the key that verified it; for "none" the random instance of the peer's process
	Subject string      // whom the credential speaks of
	TokenID string      // the credential's own id (jti), if it has one
	Role    Role        // the one role it serves
	Agents  []string    // agents it stands for (role agent: exactly one id) or may reach (others: ids or patterns with *)
	Targets []string    // allow-list patterns for targets; empty: no restriction from here
	Ports   []PortRange // public ports it may open
	Hosts   []string    // public host names it may use (patterns)
	Expires time.Time   // zero: never
}

// ClockLeeway is how far the clocks of those who make credentials and those who check them may be apart (PROMISES P-8).
const ClockLeeway = 5 * time.Second

// ExpiryGrace is how long what runs may outlive the credential that it was begun with: a little less than the 60 s that are
// promised (PROMISES P-8), so that it is over by then.
const ExpiryGrace = 55 * time.Second

// Credential names the credential apart from its bytes: the method, the verifying key and the subject.
// Two sessions with the same Credential are the same agent, reconnecting.
func (id *Identity) Credential() string {
	return id.Method + "\x00" + id.Key + "\x00" + id.Subject
}

// AgentID returns the one agent that an identity of role agent stands for.
func (id *Identity) AgentID() AgentID {
	if id.Role != RoleAgent || len(id.Agents) != 1 {
		return ""
	}
	return AgentID(id.Agents[0])
}

// MayReach reports whether the identity may open streams through agent a.
func (id *Identity) MayReach(a AgentID) bool {
	for _, pattern := range id.Agents {
		// An agent id has no characters that path.Match treats specially, so an id matches itself alone.
		if ok, err := path.Match(pattern, string(a)); err == nil && ok {
			return true
		}
	}
	return false
}
