package cli

import (
	"fmt"
	"reflect"
	"strconv"

	"github.com/alecthomas/kong"

	"github.com/postern-dev/postern/config"
)

// keyFlags are the flags of a role: one for each of its configuration keys, made from config.Keys, so that the two
// cannot differ. They hold only what was given; precedence is config's.
type keyFlags struct {
	Config string `short:"c" placeholder:"FILE" help:"configuration file (YAML); else the usual places are looked at"`
	kong.Plugins

	role config.Role
}

// newKeyFlags returns the flags of a role.
func newKeyFlags(role config.Role) keyFlags {
	var fields []reflect.StructField
	for i, k := range config.Keys(role) {
		help := k.Description()
		if k.Default != "" && !k.Switch() {
			help += " (default " + k.Default + ")"
		}
		f := reflect.StructField{Name: "F" + strconv.Itoa(i), Type: reflect.TypeFor[[]string]()}
		// A comma may belong to the value, so kong is not to split at it; config does where it is right.
		f.Tag = reflect.StructTag(fmt.Sprintf(`name:%q help:%q placeholder:%q sep:"none"`, k.Name, help, k.Arg))
		if k.Switch() {
			f.Type = reflect.TypeFor[*bool]()
			f.Tag = reflect.StructTag(fmt.Sprintf(`name:%q help:%q`, k.Name, help))
		}
		fields = append(fields, f)
	}
	return keyFlags{role: role, Plugins: kong.Plugins{reflect.New(reflect.StructOf(fields)).Interface()}}
}

// given are the flags that stood on the command line.
func (f *keyFlags) given() []config.Given {
	var list []config.Given
	holder := reflect.ValueOf(f.Plugins[0]).Elem()
	for i, k := range config.Keys(f.role) {
		switch v := holder.Field(i).Interface().(type) {
		case []string:
			if v != nil {
				list = append(list, config.Given{Key: k.Name, Values: v})
			}
		case *bool:
			if v != nil {
				list = append(list, config.Given{Key: k.Name, Values: []string{strconv.FormatBool(*v)}})
			}
		}
	}
	return list
}

// input is what config loads from.
func (f *keyFlags) input(e *env) config.Input {
	return config.Input{Path: f.Config, Search: config.Search(f.role, e.environ), Environ: e.environ, Flags: f.given()}
}
