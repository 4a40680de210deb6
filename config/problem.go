package config

import (
	"cmp"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with what the operator said.
type Problem struct {
	// Where it was said: "relay.yaml:3:8", "--proxy" or "POSTERN_PROXY". Empty for something that was not said.
	Where string
	// Key is what it is about, "proxy" or "allow[2]". Empty for a file as a whole.
	Key string
	// Text says what is wrong. It has no secrets.
	Text string
	// Hint says what to do about it. It may be empty.
	Hint string

	line, column int // place in a file, for sorting; 0 elsewhere
}

// Error writes the place, the key and the text, without the hint, in one line.
func (p Problem) Error() string {
	parts := make([]string, 0, 3)
	if p.Where != "" {
		parts = append(parts, p.Where)
	}
	if p.Key != "" && strings.TrimPrefix(p.Where, "--") != p.Key && p.Where != envName(p.Key) {
		parts = append(parts, p.Key)
	}
	return strings.Join(append(parts, p.Text), ": ")
}

// Problems is everything that is wrong, at least one.
type Problems []Problem

// Error writes one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// err is nil when nothing is wrong; else the problems, those of the file first, in its order.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, func(a, b Problem) int {
		if (a.line == 0) != (b.line == 0) {
			return cmp.Compare(b.line, a.line) // what stands in no file goes last
		}
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
	})
	return ps
}
