package config

import (
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
)

// Print writes what holds as YAML that LoadRelay reads back, one key a line, without secrets.
func (c *Relay) Print(w io.Writer) error { return write(w, reflect.ValueOf(c).Elem()) }

// Print writes what holds as YAML that LoadAgent reads back, one key a line, without secrets.
func (c *Agent) Print(w io.Writer) error { return write(w, reflect.ValueOf(c).Elem()) }

// Print writes what holds as YAML that LoadClient reads back, one key a line, without secrets.
func (c *Client) Print(w io.Writer) error { return write(w, reflect.ValueOf(c).Elem()) }

func write(w io.Writer, cfg reflect.Value) error {
	var text strings.Builder
	for i := range cfg.NumField() {
		if err := printKey(&text, cfg.Type().Field(i).Tag.Get("yaml"), cfg.Field(i)); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func printKey(text *strings.Builder, key string, v reflect.Value) error {
	values := format(v)
	kind := Key{Type: typeOf(v)}
	switch {
	case len(values) == 0:
		// A key that says nothing is shown as a comment, so that the print is also a list of what could be said.
		fmt.Fprintf(text, "# %s:\n", key)
		return nil
	case kind.Switch(), kind.Type == "number":
		fmt.Fprintf(text, "%s: %s\n", key, values[0])
		return nil
	}
	quoted := make([]string, len(values))
	for i, s := range values {
		raw, err := yaml.MarshalWithOptions(withoutUser(s), yaml.JSON())
		if err != nil {
			return fmt.Errorf("print %s: %w", key, err)
		}
		quoted[i] = strings.TrimSpace(string(raw))
	}
	if kind.Repeatable() {
		fmt.Fprintf(text, "%s: [%s]\n", key, strings.Join(quoted, ", "))
		return nil
	}
	fmt.Fprintf(text, "%s: %s\n", key, quoted[0])
	return nil
}
