package cli

import (
	"context"
)

// upCmd is postern up.
type upCmd struct {
	Files string `placeholder:"DIR" help:"folder that the page it serves shows; none given: a page that says hello"`
	Data  string `placeholder:"DIR" help:"folder for keys and tokens; none given: ~/.local/share/postern/up"`
}

func (c *upCmd) run(ctx context.Context, e *env) error { return nil }
