package config

import (
	"slices"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// RolesIn tells to whom the file speaks that in names or finds: the roles it has sections for, else the one that knows most of its
// keys. Without a file, or with one that cannot be read, that is the relay.
func RolesIn(in Input) []Role {
	body := in.topLevel()
	if body == nil {
		return []Role{RoleRelay}
	}
	var sections []Role
	best, unknown := RoleRelay, len(body.Values)+1
	for _, role := range Roles() {
		strangers := 0
		for _, kv := range body.Values {
			if _, mapping := kv.Value.(*ast.MappingNode); mapping && Role(keyName(kv)) == role && !slices.Contains(sections, role) {
				sections = append(sections, role)
			}
			if _, ok := field(newOf(role), keyName(kv)); !ok {
				strangers++
			}
		}
		if strangers < unknown {
			best, unknown = role, strangers
		}
	}
	if len(sections) > 0 {
		return sections
	}
	return []Role{best}
}

// topLevel returns the keys of the file; nil if there are none.
func (in Input) topLevel() *ast.MappingNode {
	path := in.file()
	if path == "" {
		return nil
	}
	text, err := readFile(path, maxFile)
	if err != nil {
		return nil // loading it says why
	}
	tree, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil // loading it says why
	}
	for _, doc := range tree.Docs {
		if body, ok := doc.Body.(*ast.MappingNode); ok {
			return body
		}
	}
	return nil
}
