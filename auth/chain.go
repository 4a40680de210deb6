package auth

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/postern-dev/postern"
)

// ErrNotMine is what a Method returns for a credential of another kind: the next method shall try.
var ErrNotMine = errors.New("the credential is of another kind")

// ErrNotNow is in the chain of a refusal of a credential that is genuine, but expired or not good yet. Whoever shows one does not guess, so
// it is no failed attempt: a machine with an old token must not have everybody at its address turned away.
var ErrNotNow = errors.New("the credential is genuine, but not good at this time")

// Chain asks methods in order who somebody is. It may be used concurrently; its fields are set before its first use.
//
// To the outside every failure is the same: *postern.Error of kind Unauthenticated without a word on what was wrong, so that nobody
// learns which agents and names exist (PROMISES P-10). Only the side that holds a session, role agent, is told what its
// method permits to tell, an expired token for example. The log says more.
type Chain struct {
	// Methods are tried in order.
	Methods []Method
	// Guard turns away sources that fail too often; nil: nobody is.
	Guard *Guard
	// Log gets every refusal, without the secret, at info level; nil is silent.
	Log *slog.Logger
}

// Verify returns who shows c. The identity's Role is c.Role; for RoleAgent it stands for exactly one valid agent id; for
// RoleClient it may reach the agent that c.User names, if c.User names one. A caller that takes the agent from
// elsewhere (a path, the identity) asks Identity.MayReach itself.
//
// Errors are *postern.Error: Unauthenticated, or Limited while the Guard turns the source away, or the kind of whatever kept a method
// from deciding.
func (ch *Chain) Verify(ctx context.Context, c Credential) (*postern.Identity, error) {
	if left, blocked := ch.Guard.Blocked(c.Remote); blocked {
		ch.log(ctx, slog.LevelDebug, "turned away after too many failed attempts", c)
		seconds := (left + time.Second - 1) / time.Second
		return nil, postern.Errorf(postern.Limited, postern.HopRelay, "too many failed attempts from your address; try again in %d s", seconds)
	}
	id, err := ch.ask(ctx, c)
	if err == nil {
		err = fits(id, c)
	}
	if err != nil {
		return nil, ch.refuse(ctx, c, err)
	}
	return id, nil
}

// ask returns the verdict of the first method whose business c is.
func (ch *Chain) ask(ctx context.Context, c Credential) (*postern.Identity, error) {
	for _, m := range ch.Methods {
		id, err := m.Verify(ctx, c)
		if !errors.Is(err, ErrNotMine) {
			return id, err
		}
	}
	return nil, postern.Errorf(postern.Unauthenticated, postern.HopRelay, "no configured method takes a credential of this kind")
}

// fits checks what holds for every identity, whichever method it is from.
func fits(id *postern.Identity, c Credential) error {
	switch {
	case id == nil:
		return postern.Errorf(postern.Internal, postern.HopRelay, "the method returned no identity")
	case id.Role != c.Role:
		return postern.Errorf(postern.Unauthenticated, postern.HopRelay, "the credential is for role %s, not for %s", id.Role, c.Role)
	case c.Role == postern.RoleAgent:
		if _, err := postern.ParseAgentID(string(id.AgentID())); err != nil {
			return postern.Errorf(postern.Unauthenticated, postern.HopRelay, "the credential does not stand for exactly one agent")
		}
	case c.Role == postern.RoleClient && c.User != "":
		_, name := SplitUser(c.User)
		agent, err := postern.ParseAgentID(name)
		if err != nil {
			return postern.Errorf(postern.Unauthenticated, postern.HopRelay, "the user name does not end in an agent id")
		}
		if !id.MayReach(agent) {
			return postern.Errorf(postern.Unauthenticated, postern.HopRelay, "the credential does not permit this agent")
		}
	}
	return nil
}

// refuse counts and logs a failure and returns what the outside may know of it.
func (ch *Chain) refuse(ctx context.Context, c Credential, why error) error {
	kind, level := postern.KindOf(why), slog.LevelInfo
	if kind == postern.OK {
		kind = postern.Internal
	}
	if c.Secret == "" {
		// Most clients ask first without a credential, to learn that one is wanted. That guesses nothing.
		level = slog.LevelDebug
	}
	ch.log(ctx, level, "authentication refused", c, "kind", kind.String(), "why", why.Error())
	guessed := kind == postern.Unauthenticated && c.Secret != "" && !errors.Is(why, ErrNotNow)
	if guessed && ch.Guard.Failed(c.Remote) {
		ch.log(ctx, slog.LevelWarn, "too many failed attempts, the source is turned away for a minute", c)
	}
	shown := &postern.Error{Kind: kind, Hop: postern.HopRelay}
	if e, ok := errors.AsType[*postern.Error](why); ok && c.Role == postern.RoleAgent {
		shown.Detail = e.Detail
	}
	return shown
}

func (ch *Chain) log(ctx context.Context, level slog.Level, msg string, c Credential, args ...any) {
	if ch.Log == nil || !ch.Log.Enabled(ctx, level) {
		return
	}
	args = append(args, "role", string(c.Role))
	if c.Remote != nil {
		args = append(args, "remote", c.Remote.String())
	}
	// Somebody may have typed a token where the name belongs: only what can be an agent id is written down.
	if _, name := SplitUser(c.User); name != "" {
		if agent, err := postern.ParseAgentID(name); err == nil {
			args = append(args, "agent", string(agent))
		}
	}
	ch.Log.Log(ctx, level, msg, args...)
}
