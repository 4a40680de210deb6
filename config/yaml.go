package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxFile is the longest configuration file: some ten thousand rules.
const maxFile = 4 << 20

// entry is one key of a file with its values as text.
type entry struct {
	key    string
	values []string
	at     *token.Position   // of the value
	each   []*token.Position // of the values of a list
}

// file is what stands in a configuration file, and what is wrong with it.
type file struct {
	path     string
	entries  []entry
	sections bool // it had relay: or agent: sections
	unread   bool // it could not be read or is no YAML at all
	problems Problems
}

// readYAML reads the keys of role from the file at path.
func readYAML(path string, role Role) *file {
	text, err := readFile(path, maxFile)
	if err != nil {
		f := &file{path: path, unread: true}
		f.fail(nil, "", cause(err), "check the path and the permissions")
		return f
	}
	return parseYAML(path, text, role)
}

// cause is err without the path, which stands before it.
func cause(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// parseYAML reads the keys of role from text. path is for errors.
func parseYAML(path string, text []byte, role Role) *file {
	f := &file{path: path}
	// Duplicates are reported below, beside everything else, instead of ending the parse.
	tree, err := parser.ParseBytes(bytes.TrimPrefix(text, []byte("\ufeff")), 0, parser.AllowDuplicateMapKey())
	if err != nil {
		f.unread = true
		f.syntax(err, text)
		return f
	}
	var body *ast.MappingNode
	for _, doc := range tree.Docs {
		switch node := doc.Body.(type) {
		case nil, *ast.DirectiveNode, *ast.NullNode:
		case *ast.MappingNode:
			if body != nil {
				f.fail(node, "", "a second document begins here", "keep one document in a file")
				continue
			}
			body = node
		default:
			f.unread = true
			f.fail(node, "", "this is not a list of keys and values", "write KEY: VALUE, such as log-level: debug")
		}
	}
	if body != nil {
		f.keys(f.section(body, role), role)
	}
	return f
}

// fail notes a problem at node.
func (f *file) fail(node ast.Node, key, text, hint string) {
	p := Problem{Where: f.path, Key: key, Text: text, Hint: hint}
	if node != nil && node.GetToken() != nil {
		p.place(f.path, node.GetToken().Position)
	}
	f.problems = append(f.problems, p)
}

// place says where in a file the problem is.
func (p *Problem) place(path string, at *token.Position) {
	if at == nil {
		return
	}
	p.Where, p.line, p.column = where(path, at), at.Line, at.Column
}

// where is file:line:column.
func where(path string, at *token.Position) string {
	return fmt.Sprintf("%s:%d:%d", path, at.Line, at.Column)
}

// syntax notes an error of the YAML parser.
func (f *file) syntax(err error, text []byte) {
	p := Problem{Where: f.path, Text: "this is not YAML", Hint: "write KEY: VALUE, one in a line, indented by spaces"}
	if e, ok := errors.AsType[yaml.Error](err); ok {
		p.Text = e.GetMessage()
		if t := e.GetToken(); t != nil && t.Position != nil {
			p.place(f.path, t.Position)
			// A bare * begins an alias in YAML; in allow lists it is the commonest mistake of all.
			if line := lineAt(text, t.Position.Line); strings.Contains(line, "*") {
				p.Hint = `a * needs quotes in YAML: "*" or "*.example.com"`
			}
		}
	}
	f.problems = append(f.problems, p)
}

func lineAt(text []byte, n int) string {
	lines := strings.SplitN(string(text), "\n", n+1)
	if n < 1 || n > len(lines) {
		return ""
	}
	return lines[n-1]
}

// section returns the part of a file that speaks to role: all of it, or what stands under relay:, agent: or client:. A file has
// sections when one of these keys has a mapping; the key relay of agents and clients has a text or a list.
func (f *file) section(body *ast.MappingNode, role Role) *ast.MappingNode {
	var mine *ast.MappingNode
	for _, kv := range body.Values {
		part, ok := kv.Value.(*ast.MappingNode)
		if !ok || !isRole(kv) {
			continue
		}
		f.sections = true
		if Role(keyName(kv)) == role && mine == nil {
			mine = part
		}
	}
	if !f.sections {
		return body
	}
	for _, kv := range body.Values {
		name := keyName(kv)
		switch _, mapping := kv.Value.(*ast.MappingNode); {
		case !isRole(kv):
			f.fail(kv.Key, "", fmt.Sprintf("the key %q stands outside of the sections relay, agent and client", clip(name)), "move it into one of them")
		case !mapping && kv.Value.Type() != ast.NullType:
			f.fail(kv.Value, name, "this section has no keys", "write its keys below it, indented")
		case mapping && Role(name) == role && kv.Value != ast.Node(mine):
			f.fail(kv.Key, name, "this section stands here twice", "join the two")
		}
	}
	return mine
}

func isRole(kv *ast.MappingValueNode) bool { return slices.Contains(Roles(), Role(keyName(kv))) }

// keyName is the text of a key; keys that are no plain text give "".
func keyName(kv *ast.MappingValueNode) string {
	if s, ok := kv.Key.(*ast.StringNode); ok {
		return s.Value
	}
	if kv.Key == nil || kv.Key.GetToken() == nil {
		return ""
	}
	return kv.Key.GetToken().Value
}

// keys collects what stands in body.
func (f *file) keys(body *ast.MappingNode, role Role) {
	if body == nil {
		return
	}
	known := make(map[string]Key)
	var names []string
	for _, k := range Keys(role) {
		known[k.Name] = k
		names = append(names, k.Name)
	}
	first := make(map[string]int)
	for _, kv := range body.Values {
		name := keyName(kv)
		k, ok := known[name]
		switch {
		case !ok:
			f.fail(kv.Key, "", fmt.Sprintf("unknown key %q", clip(name)), didYouMean(name, names, "postern "+string(role)+" --help lists the keys: they are the flags without dashes"))
		case first[name] != 0:
			f.fail(kv.Key, name, fmt.Sprintf("this key stands in line %d already", first[name]), "keep one of the two")
		default:
			f.value(k, kv.Value)
		}
		if first[name] == 0 && kv.Key.GetToken() != nil {
			first[name] = kv.Key.GetToken().Position.Line
		}
	}
}

// didYouMean is a hint with the word that was probably meant, or otherwise.
func didYouMean(s string, words []string, otherwise string) string {
	if w := Similar(s, words); w != "" {
		return fmt.Sprintf("did you mean %q?", w)
	}
	return otherwise
}

// value takes the value of k: a text, a list of texts or, for services, names with their URLs.
func (f *file) value(k Key, node ast.Node) {
	e := entry{key: k.Name, at: position(node)}
	switch n := node.(type) {
	case *ast.SequenceNode:
		if !k.Repeatable() {
			f.fail(node, k.Name, "this is a list, but the key takes one value", "write it as "+k.Name+": "+k.Arg)
			return
		}
		for _, item := range n.Values {
			text, ok := f.scalar(k, item)
			if !ok {
				return
			}
			e.values, e.each = append(e.values, text), append(e.each, position(item))
		}
	case *ast.MappingNode:
		if k.Type != "services" {
			f.fail(node, k.Name, "this has keys of its own, but the key takes "+plain(k), "write it as "+k.Name+": "+k.Arg)
			return
		}
		for _, kv := range n.Values {
			text, ok := f.scalar(k, kv.Value)
			if !ok {
				return
			}
			e.values, e.each = append(e.values, keyName(kv)+"="+text), append(e.each, position(kv.Key))
		}
	default:
		text, ok := f.scalar(k, node)
		if !ok {
			return
		}
		e.values = []string{text}
	}
	f.entries = append(f.entries, e)
}

// plain says in words what a key takes.
func plain(k Key) string {
	switch {
	case k.Repeatable():
		return "a list"
	case k.Switch():
		return "true or false"
	}
	return "one value"
}

// scalar is the text of a value. Numbers keep the form they were written in, so that 007 is no 7.
func (f *file) scalar(k Key, node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		if k.Switch() {
			f.fail(node, k.Name, fmt.Sprintf("%q is not true or false", clip(n.Value)), "write true or false, without quotes")
			return "", false
		}
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode:
		return n.GetToken().Value, true
	case *ast.BoolNode:
		if !k.Switch() {
			f.fail(node, k.Name, n.GetToken().Value+" is not what this key takes", "write a text; put it in quotes if it is meant")
			return "", false
		}
		return n.GetToken().Value, true
	case *ast.NullNode:
		f.fail(node, k.Name, "the value is missing", "write one, or remove the key")
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		f.fail(node, k.Name, "anchors, aliases and tags are not supported", `write the value itself; a text that begins with *, & or ! needs quotes: "*"`)
	default:
		f.fail(node, k.Name, "this is not a text", "write "+plain(k))
	}
	return "", false
}

func position(node ast.Node) *token.Position {
	if node == nil || node.GetToken() == nil {
		return nil
	}
	return node.GetToken().Position
}

// find returns the first of paths that exists.
func find(paths []string) string {
	for _, p := range paths {
		if info, err := os.Stat(p); err == nil && !info.IsDir() {
			return p
		}
	}
	return ""
}
