package agent

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/backoff"
	"github.com/postern-dev/postern/internal/netwatch"
	"github.com/postern-dev/postern/session"
)

// Waits that are not the backoff's.
const (
	// stable is how long a session must have lasted for the next outage to count as a new one (PROMISES P-22).
	stable = 30 * time.Second
	// afterReplaced keeps two agents with one credential from throwing each other out more than a few times a minute.
	afterReplaced = 30 * time.Second
	// conflictGrace is longer than a ghost of ours can live at the relay. Within it a conflict is tried again this often, so that whoever
	// was killed and started anew, and has no credential to show that it is the same, is let in as soon as the ghost is gone.
	conflictGrace = 12 * time.Second
	conflictWait  = time.Second
	// afterRefused is for a credential that was good and is so no more. A relay turns away addresses from which wrong ones come
	// all the time, and others may live there (PROMISES P-11).
	afterRefused = 30 * time.Second
	// standby is how long a slot waits that has found no relay but those of the others.
	standby = 45 * time.Second
)

// outage is what the agent knows of its tries since it was last connected.
type outage struct {
	log     interface{ Warn(msg string, args ...any) }
	began   time.Time
	ever    bool // there was a session, with all its ports
	waited  bool // somebody waits for the first session, as with postern expose: a relay that is not there is an answer
	backoff backoff.Backoff
}

// served notes that a session has served for so long, and why a successor is needed.
func (o *outage) served(lasted time.Duration, err error) {
	// A session without its public port serves nobody: the relay's word on the first port is as final as that on the first hello.
	o.ever = o.ever || !errors.Is(err, errPort)
	if lasted > stable {
		o.backoff.Reset()
	}
}

// final reports whether err is an answer that trying again does not change: a refusal of the first hello or of the first port, and any
// failure of the first try where somebody waits for it.
func (o *outage) final(err error) bool {
	if o.ever || errors.Is(err, session.ErrElsewhere) {
		return false
	}
	switch postern.KindOf(err) {
	case postern.Unauthenticated, postern.BadCommand, postern.Denied:
		return true
	case postern.Conflict:
		return errors.Is(err, errPort) || time.Since(o.began) > conflictGrace
	}
	return o.waited
}

// wait says what happened and returns how long to wait before the next try.
func (o *outage) wait(err error) time.Duration {
	switch {
	case errors.Is(err, errMoved), errors.Is(err, errSilent), errors.Is(err, netwatch.ErrChanged):
		return 0
	case errors.Is(err, session.ErrElsewhere):
		// Every relay that could be reached has us already: another one may come, but nothing is wrong.
		return jitter(standby)
	}
	d := o.backoff.Next()
	switch kind := postern.KindOf(err); {
	case errors.Is(err, errReplaced):
		d = afterReplaced
	case kind == postern.Conflict && !o.ever:
		d = min(d, conflictWait)
	case kind == postern.Unauthenticated:
		d += afterRefused
	}
	if retry := postern.RetryAfterOf(err); retry > 0 {
		d = retry + rand.N(retry/20+time.Millisecond)
	}
	o.log.Warn("not connected", "error", err.Error(), "kind", postern.KindOf(err).String(), "retry", d.Round(time.Millisecond).String())
	return d
}

// patient reports whether the wait after err is for the sake of others, so that no change at this end cuts it short.
func patient(err error) bool {
	return errors.Is(err, errReplaced) || postern.KindOf(err) == postern.Unauthenticated || postern.RetryAfterOf(err) > 0
}
