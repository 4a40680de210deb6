package config

import (
	"slices"
	"strings"
)

// Absent is something that can be said already but that this version does not have: it stays off, with a warning.
type Absent struct {
	Role   Role     // whose key it is; empty: everybody's who has it
	Key    string   // the key it belongs to
	Values []string // the values of the key that are meant; empty: all of it
}

// Later lists what can be configured but is not in this version. It is the one place that says so: warnings, documentation and
// composition go by it.
func Later() []Absent {
	return []Absent{
		{Key: "http"},
		{Role: RoleAgent, Key: "admin"},
		{Key: "client-ca"},
		{Key: "client-crl"},
		{Key: "directory"},
		{Key: "cluster-key"},
		{Key: "tunnels"},
		{Key: "auth", Values: []string{"key", "mtls", "user"}},
		{Key: "transport", Values: []string{"longpoll"}},
		{Key: "service", Values: []string{"udp", "file"}},
	}
}

// InThisVersion reports whether a value of the key auth, transport or service (there, the scheme of its URL) can be had.
func InThisVersion(key, value string) bool {
	for _, a := range Later() {
		if a.Key == key && slices.Contains(a.Values, value) {
			return false
		}
	}
	return true
}

// isAbsent reports whether a whole key is not in this version.
func isAbsent(role Role, key string) bool {
	return slices.ContainsFunc(Later(), func(a Absent) bool {
		return a.Key == key && len(a.Values) == 0 && (a.Role == "" || a.Role == role)
	})
}

// lacks are the values of a key that are not in this version.
func lacks(key string) []string {
	for _, a := range Later() {
		if a.Key == key {
			return a.Values
		}
	}
	return nil
}

// absent warns of everything the operator asked for that is not there, and takes it out of lists, so that what is started is what holds.
// What only the defaults say goes without a word.
func (l *loader) absent() {
	for _, a := range Later() {
		v, ok := field(l.cfg, a.Key)
		if a.Role != "" && a.Role != l.role || !ok {
			continue
		}
		said, asked := format(v), l.origins[a.Key].where != ""
		if len(a.Values) == 0 {
			if asked && len(said) > 0 && said[0] != string(Off) {
				l.warn("%s is not in this version and stays off", a.Key)
			}
			continue
		}
		left := slices.DeleteFunc(slices.Clone(said), func(item string) bool { return slices.Contains(a.Values, kindOf(a.Key, item)) })
		if len(left) == len(said) {
			continue
		}
		for _, item := range said {
			if asked && !slices.Contains(left, item) {
				l.warn("%s %s is not in this version and stays off", a.Key, item)
			}
		}
		// It was set before with more than this, so it can be.
		_ = set(v, left)
	}
}

// kindOf is what of an item decides whether it is there: the scheme of a service, else the item.
func kindOf(key, item string) string {
	if key != "service" {
		return item
	}
	_, url, _ := strings.Cut(item, "=")
	scheme, _, _ := strings.Cut(url, ":")
	return scheme
}
