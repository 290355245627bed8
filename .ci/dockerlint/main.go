// Command dockerlint reads a Dockerfile as BuildKit would, and fails on what it
// can't read or warns about. It is a module of its own: nothing of it is in the
// program.
package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

func main() {
	if err := lint(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "dockerlint:", err)
		os.Exit(1)
	}
}

func lint(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	tree, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return err
	}
	warnings := 0
	for _, w := range tree.Warnings {
		warnings++
		fmt.Fprintln(os.Stderr, w.Short)
	}
	rules := linter.New(&linter.Config{Warn: func(rule, _, _, message string, at []parser.Range) {
		warnings++
		fmt.Fprintf(os.Stderr, "%s:%d: %s (%s)\n", file, at[0].Start.Line, message, rule)
	}})
	stages, _, err := instructions.Parse(tree.AST, rules)
	if err != nil {
		return err
	}
	if warnings > 0 {
		return fmt.Errorf("%d warnings", warnings)
	}
	last := stages[len(stages)-1]
	has := map[string]bool{}
	for _, c := range last.Commands {
		has[strings.ToLower(c.Name())] = true
		if user, ok := c.(*instructions.UserCommand); ok && (user.User == "root" || user.User == "0") {
			return fmt.Errorf("the image runs as root")
		}
	}
	for _, name := range []string{"user", "healthcheck", "entrypoint"} {
		if !has[name] {
			return fmt.Errorf("the image has no %s", name)
		}
	}
	fmt.Printf("%s: %d stages, the last from %s\n", file, len(stages), last.BaseName)
	return nil
}
