// Package cli is the command line: flags in, exit code out. Every subcommand has a file of its own.
//
//	func main() {
//		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
//		code := cli.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ())
//		stop()
//		os.Exit(code)
//	}
//
// What a program may read goes to standard output. Everything else goes to standard error: errors as one line
// "postern: ..." each, in lower case and without a period, then a line "hint: ..." that says what to do.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/postern-dev/postern/config"
)

// env is the world of a command: what main was given.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
}

// command is a subcommand. run returns when all that it started has ended; a cancelled ctx asks it to.
type command interface {
	run(ctx context.Context, e *env) error
}

// Main runs one command and returns its exit code (DESIGN §3): 0 fine, 1 failed, 2 misused, 3 refused, 4 conflict, 5 relay
// unreachable. args are without the program's name; environ is as from os.Environ. Secrets among args are wiped from the process's
// memory at once, so that ps does not show them. A cancelled ctx asks the command to end; commands that run until then return 0.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, environ []string) int {
	e := &env{stdin: stdin, stdout: stdout, stderr: stderr, environ: environ}
	args = takeSecrets(args)
	if len(args) == 0 {
		args = []string{"--help"}
		e.stdout = stderr
		if err := e.execute(ctx, args); err != nil {
			return e.report(ctx, err)
		}
		return exitMisused
	}
	return e.report(ctx, e.execute(ctx, args))
}

// execute parses args and runs the command they name.
func (e *env) execute(ctx context.Context, args []string) error {
	g := newGrammar()
	parser, err := kong.New(g,
		kong.Name("postern"),
		kong.Description("The small door in the wall: agents behind a firewall dial out to your relay, programs come in through it."),
		kong.NoDefaultHelp(),
		kong.Writers(e.stdout, e.stderr),
		kong.Help(printHelp),
		// Kong leaves a program only for its own help flag, which is not used.
		kong.Exit(func(int) {}),
	)
	if err != nil {
		return fmt.Errorf("build the command line: %w", err)
	}
	parsed, err := parser.Parse(wordsToFlags(args))
	if errors.Is(err, errHelped) {
		return nil
	}
	if err != nil {
		return misuse(parser, args, err)
	}
	cmd, ok := parsed.Selected().Target.Addr().Interface().(command)
	if !ok {
		return fmt.Errorf("the command %s cannot be run", parsed.Command())
	}
	if m, ok := cmd.(modeled); ok {
		m.setModel(parser.Model)
	}
	return cmd.run(ctx, e)
}

// wordsToFlags makes "postern help relay" and "postern --version" what people mean by them.
func wordsToFlags(args []string) []string {
	switch args[0] {
	case "help":
		return append(slices.Clone(args[1:]), "--help")
	case "--version":
		return append([]string{"version"}, args[1:]...)
	}
	return args
}

// modeled is a command that wants to know all the others.
type modeled interface{ setModel(*kong.Application) }

// misuse makes an error of what kong found wrong with args, with the word that was probably meant as the hint.
func misuse(parser *kong.Kong, args []string, err error) error {
	text, _, _ := strings.Cut(err.Error(), ", did you mean ")
	node := parser.Model.Node
	for _, a := range args {
		child := find(node, a)
		if child == nil {
			break
		}
		node = child
	}
	hint := fmt.Sprintf("run %s --help", node.FullPath())
	switch word := lastWord(text); {
	case strings.HasPrefix(text, "unexpected argument ") && len(node.Children) > 0:
		text = fmt.Sprintf("unknown command %q", word)
		if w := config.Similar(word, names(node)); w != "" {
			hint = fmt.Sprintf("did you mean %q?", w)
		}
	case strings.HasPrefix(text, "unknown flag --"):
		if w := config.Similar(strings.TrimPrefix(word, "--"), flagNames(node)); w != "" {
			hint = fmt.Sprintf("did you mean --%s?", w)
		}
	}
	return &usageError{text: text, hint: hint}
}

func lastWord(s string) string { return s[strings.LastIndexByte(s, ' ')+1:] }

func find(node *kong.Node, name string) *kong.Node {
	for _, child := range node.Children {
		if child.Name == name {
			return child
		}
	}
	return nil
}

func names(node *kong.Node) []string {
	var list []string
	for _, child := range node.Children {
		list = append(list, child.Name)
	}
	return list
}

func flagNames(node *kong.Node) []string {
	var list []string
	for _, group := range node.AllFlags(false) {
		for _, flag := range group {
			list = append(list, flag.Name)
		}
	}
	return list
}
