package main

import (
	"strings"

	"pvebot/cluster/textfile"
)

// readDotenv reads a file of settings: lines NAME=value, as systemd and Docker
// take them, too, so that a value means the same to all of them. A name is
// whatever is before the =, since nodes may have hyphens in theirs; nothing in a
// value is expanded. Quotes around a value, export before a name and # after a
// blank are understood. An error tells the line's number and none of its text:
// there are secrets in the file, and errors go to the log.
func readDotenv(path string) (map[string]string, error) {
	text, err := textfile.Read(path)
	if err != nil {
		return nil, err
	}
	vars := map[string]string{}
	for n, line := range textfile.Lines(text) {
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if rest, exported := strings.CutPrefix(name, "export "); exported {
			name = rest
		}
		name = strings.TrimSpace(name)
		if !ok || name == "" || strings.ContainsAny(name, " \t'\":") {
			return nil, &textfile.Error{File: path, Line: n, Say: "this line is not NAME=value"}
		}
		if vars[name], ok = dotenvValue(value); !ok {
			return nil, &textfile.Error{File: path, Line: n, Say: name + ": the value's quotes do not end where it does"}
		}
	}
	return vars, nil
}

// dotenvValue is a value without its quotes, or without the comment after it.
func dotenvValue(text string) (value string, ok bool) {
	s := strings.TrimSpace(text)
	if s == "" || s[0] != '"' && s[0] != '\'' {
		for i := 1; i < len(text); i++ {
			if text[i] == '#' && (text[i-1] == ' ' || text[i-1] == '\t') {
				return strings.TrimSpace(text[:i]), true
			}
		}
		return s, true
	}
	quote := s[0]
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == quote:
			rest := strings.TrimSpace(s[i+1:])
			return b.String(), rest == "" || rest[0] == '#'
		case s[i] == '\\' && quote == '"' && i+1 < len(s):
			i++
			if s[i] == 'n' {
				b.WriteByte('\n')
				continue
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return "", false
}
