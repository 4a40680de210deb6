package cli

import (
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lmittmann/tint"
)

// levelTrace is below debug: every frame and every try.
const levelTrace = slog.LevelDebug - 4

// newLog returns the log of a process: text with colours on a terminal and JSON otherwise, unless format says which. Times
// are UTC. Whatever is logged under the name of a secret is not shown.
func (e *env) newLog(level, format string) *slog.Logger {
	terminal := isTerminal(e.stderr)
	if format == "text" || format == "" && terminal {
		return slog.New(tint.NewTextHandler(e.stderr, &tint.Options{
			Level:       levelOf(level),
			TimeFormat:  "2006-01-02T15:04:05.000Z07:00",
			NoColor:     !terminal || e.getenv("NO_COLOR") != "" || e.getenv("TERM") == "dumb",
			ReplaceAttr: replaceText,
		}))
	}
	return slog.New(slog.NewJSONHandler(e.stderr, &slog.HandlerOptions{Level: levelOf(level), ReplaceAttr: replaceJSON}))
}

// levelOf is the level of that name; config has checked it.
func levelOf(name string) slog.Level {
	switch name {
	case "trace":
		return levelTrace
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// secretKeys are names that no value is ever logged under.
func secretKeys() []string {
	return []string{"token", "join", "password", "secret", "authorization", "proxy-authorization", "cookie"}
}

// conceal hides secrets, makes times UTC and durations readable.
func conceal(groups []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().Round(time.Millisecond).String())
	}
	if slices.Contains(secretKeys(), strings.ToLower(a.Key)) {
		return slog.String(a.Key, "(hidden)")
	}
	if len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
		a.Value = slog.TimeValue(a.Value.Time().UTC())
	}
	return a
}

// replaceText names the level trace.
func replaceText(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.LevelKey {
		if level, ok := a.Value.Any().(slog.Level); ok && level <= levelTrace {
			return slog.String(slog.LevelKey, "TRC")
		}
	}
	return conceal(groups, a)
}

// replaceJSON names the level trace.
func replaceJSON(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.LevelKey {
		if level, ok := a.Value.Any().(slog.Level); ok && level <= levelTrace {
			return slog.String(slog.LevelKey, "TRACE")
		}
	}
	return conceal(groups, a)
}

// getenv returns a variable of the environment that main was given.
func (e *env) getenv(name string) string {
	for _, kv := range slices.Backward(e.environ) {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}
