package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// completionCmd is postern completion.
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish"`

	model *kong.Application
}

// Help is the long help.
func (*completionCmd) Help() string {
	return `  bash: source <(postern completion bash)
  zsh:  postern completion zsh > "${fpath[1]}/_postern"
  fish: postern completion fish > ~/.config/fish/completions/postern.fish`
}

// setModel takes what the script is made of.
func (c *completionCmd) setModel(m *kong.Application) { c.model = m }

func (c *completionCmd) run(_ context.Context, e *env) error {
	var b strings.Builder
	switch c.Shell {
	case "bash":
		bash(&b, c.model.Node)
	case "zsh":
		zsh(&b, c.model.Node)
	case "fish":
		fish(&b, c.model.Node)
	}
	_, err := io.WriteString(e.stdout, b.String())
	return err
}

// walk calls f for node and every command below it.
func walk(node *kong.Node, f func(*kong.Node)) {
	f(node)
	for _, child := range node.Children {
		walk(child, f)
	}
}

// cases writes a shell's case that follows the words of the command line down to the command they name.
func cases(b *strings.Builder, root *kong.Node) {
	var paths []string
	walk(root, func(n *kong.Node) {
		if n != root {
			paths = append(paths, fmt.Sprintf("%q", n.FullPath()))
		}
	})
	fmt.Fprintf(b, "    case \"$at $word\" in\n      %s) at=\"$at $word\" ;;\n    esac\n", strings.Join(paths, "|"))
}

// words are what may come next at node: its commands and its flags.
func words(node *kong.Node) string {
	list := names(node)
	for _, f := range flagNames(node) {
		list = append(list, "--"+f)
	}
	return strings.Join(list, " ")
}

// answers writes a case with the words for every command.
func answers(b *strings.Builder, root *kong.Node) {
	b.WriteString("  case \"$at\" in\n")
	walk(root, func(n *kong.Node) { fmt.Fprintf(b, "    %q) words=%q ;;\n", n.FullPath(), words(n)) })
	b.WriteString("  esac\n")
}

func bash(b *strings.Builder, root *kong.Node) {
	b.WriteString("_postern() {\n  local at=postern word words=\n")
	b.WriteString("  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n")
	cases(b, root)
	b.WriteString("  done\n")
	answers(b, root)
	b.WriteString("  COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\n")
	b.WriteString("complete -o default -F _postern postern\n")
}

func zsh(b *strings.Builder, root *kong.Node) {
	b.WriteString("#compdef postern\n\n_postern() {\n  local at=postern word candidates=\n")
	b.WriteString("  for word in \"${(@)words[2,CURRENT-1]}\"; do\n")
	cases(b, root)
	b.WriteString("  done\n")
	var inner strings.Builder
	answers(&inner, root)
	// zsh keeps the command line itself in words.
	b.WriteString(strings.ReplaceAll(inner.String(), " words=", " candidates="))
	b.WriteString("  compadd -- ${=candidates} || _files\n}\n\n")
	b.WriteString("if [ \"$funcstack[1]\" = _postern ]; then _postern \"$@\"; else compdef _postern postern; fi\n")
}

func fish(b *strings.Builder, root *kong.Node) {
	b.WriteString("function __postern_at\n  set -l at postern\n  for word in (commandline -opc)[2..]\n    switch \"$at $word\"\n      case ")
	var paths []string
	walk(root, func(n *kong.Node) {
		if n != root {
			paths = append(paths, fmt.Sprintf("%q", n.FullPath()))
		}
	})
	b.WriteString(strings.Join(paths, " "))
	b.WriteString("\n        set at \"$at $word\"\n    end\n  end\n  test \"$at\" = \"$argv[1]\"\nend\n\n")
	walk(root, func(n *kong.Node) {
		at := fmt.Sprintf("-n '__postern_at %q'", n.FullPath())
		for _, child := range n.Children {
			fmt.Fprintf(b, "complete -c postern %s -f -a %s -d %s\n", at, child.Name, quoteFish(child.Help))
		}
		for _, group := range n.AllFlags(true) {
			for _, f := range group {
				needs := ""
				if !f.IsBool() {
					needs = " -r"
				}
				fmt.Fprintf(b, "complete -c postern %s -l %s%s -d %s\n", at, f.Name, needs, quoteFish(f.Help))
			}
		}
	})
}

// quoteFish quotes s for fish: within single quotes only these two have a meaning.
func quoteFish(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
