package config

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const docs = "../docs/config.md"

// TestDocsListEveryKey compares the tables of docs/config.md with the structs.
func TestDocsListEveryKey(t *testing.T) {
	raw, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	want := string(raw)
	for _, role := range Roles() {
		want = fill(t, want, "keys of "+string(role), keyTable(role))
	}
	want = fill(t, want, "later", laterTable())
	if *update {
		if err := os.WriteFile(docs, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(raw)); diff != "" {
		t.Errorf("docs/config.md is not what the structs say; go test ./config -update writes it (-wanted +there):\n%s", diff)
	}
}

// fill replaces what stands between the marks of that name.
func fill(t *testing.T, text, name, table string) string {
	t.Helper()
	begin := "<!-- " + name + ": written by go test ./config -update -->\n"
	before, rest, ok := strings.Cut(text, begin)
	_, after, closed := strings.Cut(rest, "<!-- end -->")
	if !ok || !closed {
		t.Fatalf("docs/config.md has no marks for %s", name)
	}
	return before + begin + table + "<!-- end -->" + after
}

func keyTable(role Role) string {
	var b strings.Builder
	b.WriteString("| key and flag | type | default | what it is |\n|---|---|---|---|\n")
	for _, k := range Keys(role) {
		def := ""
		if k.Default != "" {
			def = "`" + k.Default + "`"
		}
		help := strings.ReplaceAll(k.Description(), "*", `\*`)
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.Name, k.Type, def, help)
	}
	return b.String()
}

func laterTable() string {
	var b strings.Builder
	b.WriteString("| key | values |\n|---|---|\n")
	for _, a := range Later() {
		values := "all"
		if len(a.Values) > 0 {
			values = "`" + strings.Join(a.Values, "`, `") + "`"
		}
		of := ""
		if a.Role != "" {
			of = " of the " + string(a.Role)
		}
		fmt.Fprintf(&b, "| `%s`%s | %s |\n", a.Key, of, values)
	}
	return b.String()
}
