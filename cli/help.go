package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// helpFlag prints the help of the command before it and ends the parse.
type helpFlag bool

// errHelped says that the help was printed and nothing else is to be done.
var errHelped = errors.New("the help was printed")

// IgnoreDefault tells kong that there is nothing to set.
func (helpFlag) IgnoreDefault() {}

// BeforeReset is called by kong as soon as it has seen the flag, before anything is missed.
func (helpFlag) BeforeReset(ctx *kong.Context) error {
	if err := printHelp(kong.HelpOptions{}, ctx); err != nil {
		return err
	}
	return errHelped
}

// printHelp writes what a command does, its commands and its flags, one line each.
func printHelp(_ kong.HelpOptions, ctx *kong.Context) error {
	node := ctx.Selected()
	if node == nil {
		node = ctx.Model.Node
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s\n\n%s\n", usage(node), sentence(node.Help))
	if node.Detail != "" {
		fmt.Fprintf(&b, "\n%s\n", strings.Trim(node.Detail, "\n"))
	}
	writeTable(&b, "Commands", commandRows(node))
	writeTable(&b, "Arguments", argumentRows(node))
	writeTable(&b, "Flags", flagRows(node))
	if node == ctx.Model.Node {
		b.WriteString("\nRun postern COMMAND --help for more about a command.\n")
	}
	_, err := io.WriteString(ctx.Stdout, b.String())
	return err
}

func usage(node *kong.Node) string {
	parts := []string{node.FullPath()}
	switch {
	case len(node.Children) > 0:
		parts = append(parts, "COMMAND")
	default:
		for _, arg := range node.Positional {
			parts = append(parts, arg.Summary())
		}
	}
	return strings.Join(append(parts, "[flags]"), " ")
}

// sentence makes a line of help one with a capital and a period.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".") + "."
}

// row is one line of a table.
type row struct{ left, right string }

func writeTable(b *strings.Builder, title string, rows []row) {
	if len(rows) == 0 {
		return
	}
	width := 0
	for _, r := range rows {
		width = max(width, len(r.left))
	}
	fmt.Fprintf(b, "\n%s:\n", title)
	for _, r := range rows {
		fmt.Fprintf(b, "  %-*s  %s\n", width, r.left, r.right)
	}
}

// commandRows lists the commands below node that can be run.
func commandRows(node *kong.Node) []row {
	var rows []row
	for _, child := range node.Children {
		if len(child.Children) == 0 {
			rows = append(rows, row{strings.TrimPrefix(child.FullPath(), "postern "), child.Help})
		}
		rows = append(rows, commandRows(child)...)
	}
	return rows
}

func argumentRows(node *kong.Node) []row {
	var rows []row
	for _, arg := range node.Positional {
		rows = append(rows, row{arg.Summary(), arg.Help})
	}
	return rows
}

func flagRows(node *kong.Node) []row {
	var rows []row
	for _, group := range node.AllFlags(true) {
		for _, flag := range group {
			left := "    --" + flag.Name
			if flag.Short != 0 {
				left = fmt.Sprintf("-%c, --%s", flag.Short, flag.Name)
			}
			if !flag.IsBool() {
				left += " " + placeholder(flag)
			}
			rows = append(rows, row{left, flag.Help})
		}
	}
	return rows
}

func placeholder(flag *kong.Flag) string {
	if flag.PlaceHolder != "" {
		return flag.PlaceHolder
	}
	return strings.ToUpper(flag.Name)
}
