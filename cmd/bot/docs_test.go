package main

import (
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pvebot/commands"
)

// What docs/chat.md tells people to type and to set is there.
func TestChatDocs(t *testing.T) {
	raw, err := os.ReadFile("../../docs/chat.md")
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`https?://[^\s`+"`"+`]+`).ReplaceAllString(string(raw), "URL")
	code := strings.Join(regexp.MustCompile("(?s)```sh\n.*?```|`[^`\n]+`").FindAllString(text, -1), "\n")

	known := append(settingNames(), "SIM_SLACK", "SIM_DISCORD") // bot sim prints them
	names := regexp.MustCompile(`\b[A-Z]+(?:_[A-Z]+)+\b|\bADMINS\b`).FindAllString(code, -1)
	if len(names) < 10 {
		t.Errorf("only the settings %q are found", names)
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			t.Errorf("there is no setting %s", name)
		}
	}

	lines := regexp.MustCompile(`/vm [a-z][^'`+"`"+`\n]*`).FindAllString(code, -1)
	if len(lines) < 3 {
		t.Errorf("only the lines %q are found", lines)
	}
	for _, line := range lines {
		var m *commands.Mistake
		if _, err := commands.Parse(line); errors.As(err, &m) && !m.Missing {
			t.Errorf("%s: %v", line, err)
		}
	}

	calls := regexp.MustCompile(`\bbot ([a-z]+)((?: [a-z]+| --[a-z]+)*)`).FindAllStringSubmatch(code, -1)
	if len(calls) < 4 {
		t.Errorf("only the calls %q are found", calls)
	}
	root := (&program{}).command()
	for _, call := range calls {
		words := strings.Fields(call[1] + call[2])
		cmd, rest, err := root.Find(words)
		if err != nil || cmd == root {
			t.Errorf("%s: %v", call[0], err)
			continue
		}
		for _, word := range rest {
			if name, ok := strings.CutPrefix(word, "--"); !ok || cmd.Flags().Lookup(name) == nil {
				t.Errorf("%s: %s knows no %s", call[0], cmd.Name(), word)
			}
		}
	}
}
