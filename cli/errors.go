package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/config"
	"github.com/postern-dev/postern/internal/control"
	"github.com/postern-dev/postern/internal/pki"
)

// The exit codes (DESIGN §3).
const (
	exitFine        = 0
	exitFailed      = 1
	exitMisused     = 2 // flags or configuration
	exitRefused     = 3 // the credential is not taken, or does not allow it
	exitConflict    = 4 // somebody else holds the name, the port or the folder
	exitUnreachable = 5 // the relay cannot be reached
)

// Stopped is the cause of a cancelled context when a signal did it: the code that a shell expects then.
type Stopped struct{ Code int }

// Error names the reason.
func (s Stopped) Error() string { return fmt.Sprintf("stopped by a signal (exit code %d)", s.Code) }

// usageError is a command line or configuration that cannot be used.
type usageError struct{ text, hint string }

func (u *usageError) Error() string { return u.text }

// hinted adds what to do to an error.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// withHint adds what to do to err; nil stays nil.
func withHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return hinted{err, fmt.Sprintf(format, args...)}
}

// misconfigured marks an error of New: the configuration is wrong, nothing was started.
type misconfigured struct{ error }

func (m misconfigured) Unwrap() error { return m.error }

// report writes err for a person and returns the exit code.
func (e *env) report(ctx context.Context, err error) int {
	if err == nil {
		return exitFine
	}
	if s, ok := errors.AsType[Stopped](context.Cause(ctx)); ok && (errors.Is(err, context.Canceled) || errors.Is(err, s)) {
		return s.Code
	}
	if problems, ok := errors.AsType[config.Problems](err); ok {
		for _, p := range problems {
			e.complain(p.Error(), p.Hint)
		}
		return exitMisused
	}
	e.complain(err.Error(), hintOf(err))
	return exitCode(err)
}

// complain writes one line for each line of text, then the hint.
func (e *env) complain(text, hint string) {
	for line := range strings.Lines(text) {
		fmt.Fprintf(e.stderr, "postern: %s\n", strings.TrimRight(line, "\n"))
	}
	if hint != "" {
		fmt.Fprintf(e.stderr, "hint: %s\n", hint)
	}
}

// exitCode is the code for err.
func exitCode(err error) int {
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitMisused
	}
	if _, ok := errors.AsType[misconfigured](err); ok {
		return exitMisused
	}
	if errors.Is(err, control.ErrNoRelay) {
		return exitUnreachable
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		// A port of this machine is no name that the relay gives away.
		return exitFailed
	}
	switch kind, hop := postern.KindOf(err), postern.HopOf(err, ""); kind {
	case postern.Unauthenticated, postern.Denied:
		return exitRefused
	case postern.Conflict:
		return exitConflict
	case postern.BadAddress, postern.BadCommand, postern.BadAddressType:
		return exitMisused
	case postern.Unreachable, postern.Timeout, postern.Refused, postern.NameNotFound, postern.Draining:
		// The same kinds at the target mean that the relay was reached.
		if hop == postern.HopRelay {
			return exitUnreachable
		}
	}
	return exitFailed
}

// hintOf says what to do about err; empty if nobody knows.
func hintOf(err error) string {
	if u, ok := errors.AsType[*usageError](err); ok {
		return u.hint
	}
	if h, ok := errors.AsType[hinted](err); ok {
		return h.hint
	}
	if why := pki.Explain(err); why != "" {
		return why
	}
	switch {
	case errors.Is(err, control.ErrNoRelay):
		return "start it with postern relay --data DIR, or name its folder with --data DIR"
	case errors.Is(err, syscall.EADDRINUSE):
		return "another program listens there; choose another address, or :0 for a free port"
	case errors.Is(err, fs.ErrPermission):
		return "look at who owns it and who may use it, or run this as another user"
	case errors.Is(err, fs.ErrNotExist):
		return "see that the path is right; a relative one begins in the folder that this was started in"
	}
	if hint := kindHint(postern.KindOf(err), postern.HopOf(err, "")); hint != "" {
		return hint
	}
	if _, ok := errors.AsType[misconfigured](err); ok {
		return "docs/config.md says what each key takes, and --help what each flag does; a new join string: postern join create, beside the relay"
	}
	return ""
}

// kindHint says what to do about a kind of failure.
func kindHint(kind postern.Kind, hop postern.Hop) string {
	switch kind {
	case postern.Unauthenticated:
		return "the token may be expired or made for another relay or role; a new one: postern join create, beside the relay"
	case postern.Limited:
		if hop == postern.HopRelay {
			return "this program, or another one at this address, does too much at once or has shown wrong credentials; try again later"
		}
	case postern.Denied:
		if hop == postern.HopAgent {
			return "the agent's owner allows targets with --allow PATTERN"
		}
		return "the token, or the relay's --allow, decides what may be reached"
	case postern.NoSuchAgent, postern.AgentOffline:
		return "postern agents list, beside the relay, shows who is connected"
	case postern.Conflict:
		return "end the other one first, or choose another name or port"
	case postern.Unreachable, postern.Timeout:
		if hop == postern.HopRelay {
			return "see that the relay runs, that --relay names its agents listener or the URL of its web, and that no firewall is between"
		}
	case postern.Refused:
		return "see that the service runs on the target and listens on that port"
	case postern.BadAddress:
		return "targets are host:port, /path of a unix socket, or NAME.service"
	}
	return ""
}
