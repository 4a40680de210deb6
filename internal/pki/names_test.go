package pki

import (
	"slices"
	"testing"
)

func TestAliases(t *testing.T) {
	const table = "127.0.0.1\tlocalhost\n127.0.1.1 box.example.com box # box other\n10.0.0.1 elsewhere\n\n::1 boxer\nbox\n"
	if got, want := aliases(table, "box"), []string{"box.example.com", "box"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
