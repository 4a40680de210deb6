package postern_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The bans below are the arrows of the architecture: what stands in a folder can be read, tested and replaced without the
// rest. A change that needs another arrow changes this file, where a reviewer sees it.

const module = "github.com/postern-dev/postern"

// pkg is what go list says about one package of the module. Paths are relative to the module; the root is ".".
type pkg struct {
	ImportPath string
	Imports    []string // ours only, without those of tests
	Deps       []string // ours only, over any number of steps
	GoFiles    []string
}

// packages lists every package of the module, by path.
func packages(t *testing.T) map[string]pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports,Deps,GoFiles", "./...")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	all := make(map[string]pkg)
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		p.ImportPath = relative(p.ImportPath)
		p.Imports = ours(p.Imports)
		p.Deps = ours(p.Deps)
		all[p.ImportPath] = p
	}
	return all
}

func relative(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

func ours(importPaths []string) []string {
	var out []string
	for _, p := range importPaths {
		if p == module || strings.HasPrefix(p, module+"/") {
			out = append(out, relative(p))
		}
	}
	return out
}

// under reports whether p is dir or stands below it.
func under(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// role is the first part of a package's path: transport of transport/tls.
func role(p string) string {
	first, _, _ := strings.Cut(p, "/")
	return first
}

// roles are the folders whose children are kinds, and what else of the module such a role may import.
// table says that <role>/all names the kinds.
var roles = map[string]struct {
	table bool
	may   []string
}{
	"ingress":   {table: true, may: []string{"auth"}},
	"transport": {table: true},
	"auth":      {table: true},
	"directory": {table: true},
	"tunnel":    {may: []string{"ingress", "auth"}},
	"egress":    {may: []string{"transport"}},
}

// helpers stand where kinds stand but are no kinds: leaves that are shared, each for a reason.
var helpers = map[string]string{
	"transport/mux":      "streams over one byte stream, which tls, websocket and longpoll have in common",
	"transport/outward":  "the way out by TCP, proxies and TLS, with its errors, which the same three have in common",
	"transport/overhttp": "what a session needs inside somebody else's HTTP, which websocket and longpoll have in common",
	"ingress/httphead":   "the strict reader of HTTP heads, which proxy and web have in common",
	"egress/allow":       "the patterns of allow-lists, which relay, agent and tokens read alike",
}

// isKind reports whether p is one kind of a role: neither a table, nor a contract suite, nor a helper.
func isKind(p string) bool {
	_, isRole := roles[role(p)]
	_, isHelper := helpers[p]
	name := path.Base(p)
	return isRole && strings.Count(p, "/") == 1 && !isHelper && name != "all" && !strings.HasSuffix(name, "test")
}

func TestNounsImportNothingOfOurs(t *testing.T) {
	if got := packages(t)["."].Imports; len(got) > 0 {
		t.Errorf("the root imports %v: it holds the nouns, which everything may import only as long as they import nothing", got)
	}
}

func TestSpliceImportsOnlyTheNouns(t *testing.T) {
	for _, dep := range packages(t)["splice"].Imports {
		if dep != "." {
			t.Errorf("splice imports %s: copying bytes knows streams and nothing else, or it cannot be the same for everybody", dep)
		}
	}
}

func TestKindsImportTheirParentOnly(t *testing.T) {
	for p, info := range packages(t) {
		if !isKind(p) && helpers[p] == "" {
			continue
		}
		for _, dep := range info.Imports {
			if dep == "." || dep == "splice" || role(dep) == "internal" || dep == role(p) || under(dep, p) ||
				helpers[dep] != "" && role(dep) == role(p) || slices.Contains(roles[role(p)].may, dep) {
				continue
			}
			t.Errorf("%s imports %s: a kind knows its contract (%s) and no other kind, so that it can be taken out or added alone",
				p, dep, role(p))
		}
	}
}

func TestParentsDoNotImportTheirChildren(t *testing.T) {
	for p, info := range packages(t) {
		if _, isRole := roles[p]; !isRole {
			continue
		}
		for _, dep := range info.Deps {
			if role(dep) == p && dep != p && helpers[dep] == "" {
				t.Errorf("%s reaches %s: a contract that knows one of its kinds makes the others second class", p, dep)
			}
		}
	}
}

// TestNever holds the arrows that may not exist, over any number of steps.
func TestNever(t *testing.T) {
	bans := []struct {
		from, to []string
		reason   string
	}{
		{
			from:   []string{"agent"},
			to:     []string{"ingress", "route", "directory", "tunnel", "api", "ui"},
			reason: "the agent stands inside the firewall: what takes strangers in, or decides where they go, has no place in it",
		},
		{
			from:   []string{"ingress"},
			to:     []string{"route", "session", "transport"},
			reason: "an ingress asks an Opener: relay, balancer, postern forward and tests give it different ones",
		},
		{
			from: []string{
				"ingress", "transport", "auth", "directory", "tunnel", "egress", "route", "session", "peer", "splice", "client",
			},
			to:     []string{"relay", "agent", "balancer", "cli", "cmd"},
			reason: "composition stands on top: what it wires must not know it",
		},
	}
	all := packages(t)
	for _, ban := range bans {
		for p, info := range all {
			if !slices.ContainsFunc(ban.from, func(from string) bool { return under(p, from) }) {
				continue
			}
			for _, dep := range info.Deps {
				if slices.ContainsFunc(ban.to, func(to string) bool { return under(dep, to) }) {
					t.Errorf("%s reaches %s: %s", p, dep, ban.reason)
				}
			}
		}
	}
}

func TestOnlyCompositionSeesConfigAndTables(t *testing.T) {
	top := []string{"cmd", "cli", "relay", "agent", "balancer", "sdk", "test"}
	for p, info := range packages(t) {
		if slices.ContainsFunc(top, func(dir string) bool { return under(p, dir) }) {
			continue
		}
		for _, dep := range info.Imports {
			if isConfig := under(dep, "config") && !under(p, "config"); isConfig || path.Base(dep) == "all" {
				t.Errorf("%s imports %s: only composition knows the config and which kinds exist; everybody else gets small Options", p, dep)
			}
		}
	}
}

func TestTablesNameEveryKind(t *testing.T) {
	all := packages(t)
	kinds := 0
	for p, info := range all {
		if !isKind(p) || !roles[role(p)].table || len(info.GoFiles) == 0 {
			continue
		}
		kinds++
		if table := role(p) + "/all"; !slices.Contains(all[table].Imports, p) {
			t.Errorf("%s is not in the table %s: nobody can choose it", p, table)
		}
	}
	if kinds == 0 {
		t.Error("no kind was found in any role: this test looks in the wrong place")
	}
}

// sources parses every Go file of the module but those of testdata, hidden folders and other modules.
func sources(t *testing.T) map[string]*ast.File {
	t.Helper()
	files := make(map[string]*ast.File)
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, notModule := os.Stat(filepath.Join(name, "go.mod"))
			if base := d.Name(); name != "." && (base == "testdata" || strings.HasPrefix(base, ".") || notModule == nil) {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		files[filepath.ToSlash(name)] = file
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// functions are the names of a file's functions and methods.
func functions(file *ast.File) []*ast.FuncDecl {
	var out []*ast.FuncDecl
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok {
			out = append(out, f)
		}
	}
	return out
}

func TestNoInit(t *testing.T) {
	for name, file := range sources(t) {
		for _, f := range functions(file) {
			if f.Name.Name == "init" && f.Recv == nil {
				t.Errorf("%s has func init: what happens on import cannot be ordered, tested or left out", name)
			}
		}
	}
}

// pathLine is a step in docs/path.md: `file.go` `Func`, or `Type.Method`.
var pathLine = regexp.MustCompile("`([\\w./-]+\\.go)` `(?:\\(?\\*?\\w+\\)?\\.)?(\\w+)(?:\\(\\))?`")

// TestPathPage checks that the page that leads a reader along a byte's way names functions that are there.
func TestPathPage(t *testing.T) {
	const page = "docs/path.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatalf("%v: the page that lists the functions a byte meets in order is missing", err)
	}
	steps := pathLine.FindAllStringSubmatch(string(text), -1)
	if len(steps) < 5 {
		t.Fatalf("%s has %d steps of the form `file.go` `Func`: too few to be the way of a byte", page, len(steps))
	}
	files := sources(t)
	for _, step := range steps {
		name, function := step[1], step[2]
		file, ok := files[name]
		if !ok {
			t.Errorf("%s names %s, which is gone", page, name)
			continue
		}
		if !slices.ContainsFunc(functions(file), func(f *ast.FuncDecl) bool { return f.Name.Name == function }) {
			t.Errorf("%s names %s in %s, which is gone: mend the page, it is how people learn the code", page, function, name)
		}
	}
}
