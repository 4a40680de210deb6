package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
)

// Input is everything a configuration is made of.
type Input struct {
	// Path is the file that -c names. Empty: POSTERN_CONFIG, else the first of Search that exists, else none.
	Path string
	// Search are the places looked at when no file is named; see Search.
	Search []string
	// Environ has the variables as KEY=VALUE, as os.Environ returns them.
	Environ []string
	// Flags are what was given on the command line, in its order.
	Flags []Given
}

// file is the file to read; empty if there is none.
func (in Input) file() string {
	if in.Path != "" {
		return in.Path
	}
	if path := getenv(in.Environ, envPrefix+"CONFIG"); path != "" {
		return path
	}
	return find(in.Search)
}

// Given is a flag with all the values it was given, in order.
type Given struct {
	Key    string
	Values []string
}

// Result is what Load knows beside the configuration itself.
type Result struct {
	// File is the file that was read; empty if there was none.
	File string
	// Warnings are one-line sentences that an operator should see, without secrets.
	Warnings []string
}

// LoadRelay makes a relay's configuration of its default, its file, its variables and its flags, each over the one before, and
// validates it. The error is Problems: everything that is wrong, not only the first.
func LoadRelay(in Input) (*Relay, Result, error) {
	cfg := DefaultRelay()
	l := load(reflect.ValueOf(cfg).Elem(), RoleRelay, in)
	l.validate(cfg.Validate())
	l.absent()
	return finish(cfg, l)
}

// LoadAgent does for an agent what LoadRelay does for a relay.
func LoadAgent(in Input) (*Agent, Result, error) {
	cfg := DefaultAgent()
	l := load(reflect.ValueOf(cfg).Elem(), RoleAgent, in)
	l.validate(cfg.Validate())
	l.absent()
	return finish(cfg, l)
}

// LoadClient does for a program's side what LoadRelay does for a relay. POSTERN_CONFIG is not for it: that variable names the file of
// a process, and an ssh that runs postern connect inherits it.
func LoadClient(in Input) (*Client, Result, error) {
	cfg := DefaultClient()
	in.Environ = slices.DeleteFunc(slices.Clone(in.Environ), func(kv string) bool {
		return strings.HasPrefix(kv, envPrefix+"CONFIG=")
	})
	l := load(reflect.ValueOf(cfg).Elem(), RoleClient, in)
	l.validate(cfg.Validate())
	l.absent()
	return finish(cfg, l)
}

func finish[T any](cfg *T, l *loader) (*T, Result, error) {
	if err := l.problems.err(); err != nil {
		return nil, l.Result, err
	}
	return cfg, l.Result, nil
}

// Search lists where a role's file is looked for when none is named: ./postern.yaml, then ROLE.yaml and postern.yaml in
// ~/.config/postern and in /etc/postern. For clients, which run in any folder, it is client.yaml in the latter two.
func Search(role Role, environ []string) []string {
	var paths []string
	if role != RoleClient {
		paths = append(paths, "postern.yaml")
	}
	dirs := []string{"/etc/postern"}
	if home := getenv(environ, "HOME"); home != "" {
		dirs = append([]string{filepath.Join(home, ".config", "postern")}, dirs...)
	}
	for _, dir := range dirs {
		paths = append(paths, filepath.Join(dir, string(role)+".yaml"))
		if role != RoleClient {
			paths = append(paths, filepath.Join(dir, "postern.yaml"))
		}
	}
	return paths
}

// getenv returns the last value of a variable, which is the one that counts.
func getenv(environ []string, name string) string {
	for _, kv := range slices.Backward(environ) {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}

// origin is where a key's value was said.
type origin struct {
	where string
	entry *entry // set when it was a file
}

// loader collects what is said to a role, one source over the other.
type loader struct {
	Result
	role     Role
	cfg      reflect.Value
	origins  map[string]origin
	broken   map[string]bool // keys whose value could not be read: Validate's word on them would only confuse
	unread   bool            // the file could not be read, so nobody knows what it says
	problems Problems
}

func load(cfg reflect.Value, role Role, in Input) *loader {
	l := &loader{role: role, cfg: cfg, origins: make(map[string]origin), broken: make(map[string]bool)}
	l.file(in)
	l.environ(in.Environ)
	l.flags(in.Flags)
	l.exposedSecrets()
	return l
}

func (l *loader) file(in Input) {
	if l.File = in.file(); l.File == "" {
		return
	}
	f := readYAML(l.File, l.role)
	l.problems = append(l.problems, f.problems...)
	for _, p := range f.problems {
		l.broken[p.Key] = true
	}
	l.unread = f.unread
	for _, e := range f.entries {
		l.take(e.key, e.values, origin{where: l.File, entry: &e})
	}
	l.exposed(f)
}

// exposed warns of a secret in a configuration file that others can read.
func (l *loader) exposed(f *file) {
	for _, e := range f.entries {
		v, _ := field(l.cfg, e.key)
		if s, ok := v.Interface().(interface{ isSecret() bool }); ok && s.isSecret() {
			l.readable(f.path, e.key)
		}
	}
}

// exposedSecrets warns of secrets in files of their own that others can read, whoever named the file.
func (l *loader) exposedSecrets() {
	for i := range l.cfg.NumField() {
		if s, ok := l.cfg.Field(i).Interface().(Secret); ok {
			if path, elsewhere := s.File(); elsewhere {
				l.readable(path, l.cfg.Type().Field(i).Tag.Get("yaml"))
			}
		}
	}
}

// readable warns if others can read the file at path, which has the secret of a key. Pipes are nobody else's.
func (l *loader) readable(path, key string) {
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		l.warn("%s has a secret (%s) and others may read it: chmod 600 %s", path, key, path)
	}
}

func (l *loader) environ(environ []string) {
	var known []string
	for _, k := range Keys(l.role) {
		known = append(known, k.Env)
		// An empty variable is how many tools unset one.
		if value := getenv(environ, k.Env); value != "" {
			values := []string{value}
			if k.Type == "services" {
				values = splitLists(values)
			}
			l.take(k.Name, values, origin{where: k.Env})
		}
	}
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, envPrefix) || slices.Contains(known, name) || ofAnyRole(name) {
			continue
		}
		// Not an error: Kubernetes sets POSTERN_PORT and the like for a service called postern.
		if w := Similar(name, known); w != "" {
			l.warn("the variable %s is not known and has no effect; did you mean %s?", name, w)
		}
	}
}

// ofAnyRole reports whether some role knows the variable, so that a relay and an agent can share an environment.
func ofAnyRole(name string) bool {
	if name == envPrefix+"CONFIG" {
		return true
	}
	for _, role := range Roles() {
		for _, k := range Keys(role) {
			if k.Env == name {
				return true
			}
		}
	}
	return false
}

func (l *loader) flags(flags []Given) {
	for _, g := range flags {
		v, ok := field(l.cfg, g.Key)
		if !ok {
			l.problems = append(l.problems, Problem{Where: "--" + g.Key, Text: "unknown flag"})
			continue
		}
		l.take(g.Key, g.Values, origin{where: "--" + g.Key})
		if s, ok := v.Interface().(interface{ isSecret() bool }); ok && s.isSecret() {
			l.warn("--%s has a secret that was on the command line for a moment: use %s=... or a file", g.Key, envName(g.Key))
		}
	}
}

// take sets a key, whatever said it before.
func (l *loader) take(key string, values []string, from origin) {
	v, ok := field(l.cfg, key)
	if !ok {
		return
	}
	l.origins[key] = from
	if err := set(v, values); err != nil {
		l.broken[key] = true
		p := Problem{Key: key, Text: err.Error()}
		if w, ok := err.(*wrong); ok {
			p.Hint = w.hint
		}
		l.locate(&p, key, 0)
		l.problems = append(l.problems, p)
	}
}

// locate says where the value of key, or its i-th item, came from.
func (l *loader) locate(p *Problem, key string, i int) {
	from := l.origins[key]
	p.Where = from.where
	if from.entry == nil {
		return
	}
	at := from.entry.at
	// Only a list of items, one text each, has a place for each of them.
	if v, _ := field(l.cfg, key); i < len(from.entry.each) && len(from.entry.each) == len(format(v)) {
		at = from.entry.each[i]
	}
	p.place(l.File, at)
}

// validate takes over what Validate found and adds where it was said.
func (l *loader) validate(err error) {
	problems, ok := err.(Problems)
	if !ok {
		return
	}
	for _, p := range problems {
		key, index, _ := strings.Cut(p.Key, "[")
		if l.broken[key] || l.unread && l.origins[key].where == "" {
			continue
		}
		i := 0
		if index != "" {
			// The number is Validate's own, so it is one.
			_, _ = fmt.Sscanf(index, "%d]", &i)
		}
		if l.origins[key].where != "" {
			l.locate(&p, key, i)
		}
		l.problems = append(l.problems, p)
	}
}

func (l *loader) warn(format string, args ...any) {
	l.Warnings = append(l.Warnings, fmt.Sprintf(format, args...))
}
