package config

import (
	"reflect"
	"strings"
	"time"

	"github.com/postern-dev/postern"
)

// Role is who is configured.
type Role string

// The roles that have a configuration. RoleClient is what forward, connect and expose share.
const (
	RoleRelay  Role = "relay"
	RoleAgent  Role = "agent"
	RoleClient Role = "client"
)

// Roles lists them all.
func Roles() []Role { return []Role{RoleRelay, RoleAgent, RoleClient} }

// Key is one thing that can be configured: a key of the file, a flag, a variable.
type Key struct {
	Name    string   // as in the file; the flag has two dashes before it
	Env     string   // the variable, POSTERN_LOG_LEVEL
	Arg     string   // what stands for the value in help: ADDR; empty for a switch
	Type    string   // "text", "list", "yes or no", "number", "duration", "address", "ports", "secret", "proxy" or "services"
	Default string   // as it would be written; empty for none
	Help    string   // one line
	Absent  bool     // it can be said but is not in this version, see Later
	Lacks   []string // values of it that are not in this version either
}

// Description is the help with what is not in this version.
func (k Key) Description() string {
	switch {
	case k.Absent:
		return k.Help + " (not in this version)"
	case len(k.Lacks) > 0:
		return k.Help + " (not in this version: " + strings.Join(k.Lacks, ", ") + ")"
	}
	return k.Help
}

// Switch reports whether the flag stands alone, without a value.
func (k Key) Switch() bool { return k.Type == "yes or no" }

// Repeatable reports whether the flag may be given several times.
func (k Key) Repeatable() bool { return k.Type == "list" || k.Type == "services" }

// Keys lists what can be said to a role, in the order of its struct. An unknown role has none.
func Keys(role Role) []Key {
	cfg := newOf(role)
	if !cfg.IsValid() {
		return nil
	}
	keys := make([]Key, 0, cfg.NumField())
	for i := range cfg.NumField() {
		field := cfg.Type().Field(i)
		name := field.Tag.Get("yaml")
		keys = append(keys, Key{
			Name:    name,
			Env:     envName(name),
			Arg:     field.Tag.Get("arg"),
			Type:    typeOf(cfg.Field(i)),
			Default: strings.Join(format(cfg.Field(i)), ","),
			Help:    field.Tag.Get("help"),
			Absent:  isAbsent(role, name),
			Lacks:   lacks(name),
		})
	}
	return keys
}

// newOf returns the defaults of a role as something to be set by name.
func newOf(role Role) reflect.Value {
	switch role {
	case RoleRelay:
		return reflect.ValueOf(DefaultRelay()).Elem()
	case RoleAgent:
		return reflect.ValueOf(DefaultAgent()).Elem()
	case RoleClient:
		return reflect.ValueOf(DefaultClient()).Elem()
	}
	return reflect.Value{}
}

// field returns the field that key names.
func field(cfg reflect.Value, key string) (reflect.Value, bool) {
	for i := range cfg.NumField() {
		if cfg.Type().Field(i).Tag.Get("yaml") == key {
			return cfg.Field(i), true
		}
	}
	return reflect.Value{}, false
}

func typeOf(v reflect.Value) string {
	switch v.Interface().(type) {
	case bool:
		return "yes or no"
	case int:
		return "number"
	case time.Duration:
		return "duration"
	case Addr:
		return "address"
	case postern.PortRange:
		return "ports"
	case Secret:
		return "secret"
	case ProxyURL:
		return "proxy"
	case []string:
		return "list"
	case []Service:
		return "services"
	}
	return "text"
}

// envName is the variable for a key.
func envName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
}

const envPrefix = "POSTERN_"
