// Package all is the table of the ways to prove who somebody is.
//
//	names, err := all.Parse("jwt")
//	methods, err := all.New(names, all.Options{JWT: jwt.Options{Keys: keys}})
//	chain := &auth.Chain{Methods: methods, Guard: &auth.Guard{}, Log: log}
package all

import (
	"fmt"
	"slices"
	"strings"

	"github.com/postern-dev/postern/auth"
	"github.com/postern-dev/postern/auth/jwt"
	"github.com/postern-dev/postern/auth/none"
)

// Options are what the constructors of the table need.
type Options struct {
	// JWT configures the method jwt.
	JWT jwt.Options
}

// Methods is the table: name, as in --auth, to constructor.
func Methods() map[string]func(Options) (auth.Method, error) {
	return map[string]func(Options) (auth.Method, error){
		jwt.Name:  func(o Options) (auth.Method, error) { return jwt.New(o.JWT) },
		none.Name: func(Options) (auth.Method, error) { return none.New(), nil },
	}
}

// Default is what a relay uses when --auth is not given.
func Default() []string { return []string{jwt.Name} }

// planned are names of the documentation that this version has no method for.
func planned() []string { return []string{"key", "mtls", "user"} }

// Parse reads the value of --auth: a comma list of methods, or "none" alone. Empty is the default list.
func Parse(list string) ([]string, error) {
	if strings.TrimSpace(list) == "" {
		return Default(), nil
	}
	var names []string
	table := Methods()
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		switch {
		case slices.Contains(planned(), name):
			return nil, fmt.Errorf("the auth method %q is not in this version; use jwt", name)
		case table[name] == nil:
			return nil, fmt.Errorf("the auth method %q is not known; there are jwt and none", name)
		case slices.Contains(names, name):
			return nil, fmt.Errorf("the auth method %q is listed twice", name)
		}
		names = append(names, name)
	}
	if slices.Contains(names, none.Name) && len(names) > 1 {
		return nil, fmt.Errorf("the auth method none lets everybody in, so it stands alone; %q lists others beside it", list)
	}
	return names, nil
}

// New makes the methods of that names, in order.
func New(names []string, o Options) ([]auth.Method, error) {
	methods := make([]auth.Method, 0, len(names))
	table := Methods()
	for _, name := range names {
		construct, ok := table[name]
		if !ok {
			return nil, fmt.Errorf("the auth method %q is not known", name)
		}
		m, err := construct(o)
		if err != nil {
			return nil, fmt.Errorf("auth method %s: %w", name, err)
		}
		methods = append(methods, m)
	}
	return methods, nil
}
