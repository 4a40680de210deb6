package cli

import (
	"context"
	"fmt"
	"runtime/debug"
)

// These are set by the linker of a release (-ldflags "-X .../cli.linkedVersion=1.2.3"), never by code. Empty: what Go wrote into
// the binary.
var linkedVersion, linkedCommit, linkedDate string

// build is what a binary is made of.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Date    string `json:"date"`
	Go      string `json:"go"`
}

// version returns what this binary is made of.
func version() build {
	b := build{Version: linkedVersion, Commit: linkedCommit, Date: linkedDate}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Go = info.GoVersion
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && b.Commit == "":
			b.Commit = s.Value
		case s.Key == "vcs.time" && b.Date == "":
			b.Date = s.Value
		}
	}
	if b.Version == "" {
		b.Version = "(devel)"
	}
	return b
}

// versionCmd is postern version.
type versionCmd struct {
	JSON bool `short:"V" name:"json" help:"print version, commit and date as JSON"`
}

func (c *versionCmd) run(_ context.Context, e *env) error {
	b := version()
	if c.JSON {
		return printJSON(e.stdout, b)
	}
	line := "postern " + b.Version
	if b.Commit != "" {
		line += " (" + b.Commit[:min(12, len(b.Commit))] + ", " + b.Date + ")"
	}
	_, err := fmt.Fprintln(e.stdout, line)
	return err
}
