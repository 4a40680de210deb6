// Package config reads what an operator has said: built-in defaults, then a YAML file, then POSTERN_... variables, then flags,
// each over the one before. It is strict, it reports everything that is wrong at once, and after Load nobody writes
// to the result.
//
//	cfg, warnings, err := config.LoadRelay(config.Input{
//		Path:    "relay.yaml",
//		Environ: os.Environ(),
//		Flags:   []config.Given{{Key: "proxy", Values: []string{"127.0.0.1:0"}}},
//	})
//	if problems, ok := errors.AsType[config.Problems](err); ok {
//		for _, p := range problems { fmt.Fprintln(os.Stderr, p.Error()) }
//	}
//
// The keys of a file, the flags without their dashes and the variables are the same words; Keys lists them.
package config
