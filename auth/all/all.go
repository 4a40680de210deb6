// Package all is the table of the ways to prove who somebody is.
//
//	methods, err := all.New([]string{"jwt"}, all.Options{JWT: jwt.Options{Keys: keys}})
//	chain := &auth.Chain{Methods: methods, Guard: &auth.Guard{}, Log: log}
package all

import (
	"fmt"

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

// New makes the methods of those names, in order. Which names go together is for the configuration to say.
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
