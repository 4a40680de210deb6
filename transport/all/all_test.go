package all

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/postern-dev/postern/transport"
	"github.com/postern-dev/postern/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestTableIsComplete: a folder beside this one that declares Listen is a transport, and stands in the table by its own name.
func TestTableIsComplete(t *testing.T) {
	parent := os.DirFS("..")
	entries, err := fs.ReadDir(parent, ".")
	if err != nil {
		t.Fatal(err)
	}
	table := Transports()
	found := 0
	for _, e := range entries {
		if !e.IsDir() || !declaresListen(t, parent, e.Name()) {
			continue
		}
		found++
		if _, ok := table[e.Name()]; !ok {
			t.Errorf("transport/%s is not in the table", e.Name())
		}
	}
	if found != len(table) {
		t.Errorf("the table has %d transports, the folders have %d", len(table), found)
	}
}

func TestEveryEntryIsWhole(t *testing.T) {
	for name, m := range Transports() {
		web := m.Network == transport.NetworkWeb
		if m.Network != transport.NetworkTCP && m.Network != transport.NetworkUDP && !web ||
			m.Listen == nil || m.Dial == nil || web != (m.NewWeb != nil && len(m.Paths) > 0) {
			t.Errorf("the entry %q lacks something: %+v", name, m)
		}
	}
}

func TestContract(t *testing.T) {
	for name, m := range Transports() {
		t.Run(name, func(t *testing.T) { transporttest.RunListener(t, m) })
	}
}

// declaresListen reports whether the package in dir has a function Listen outside its tests.
func declaresListen(t *testing.T, parent fs.FS, dir string) bool {
	t.Helper()
	files, err := fs.Glob(parent, path.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := fs.ReadFile(parent, name)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "Listen" {
				return true
			}
		}
	}
	return false
}
