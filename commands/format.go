package commands

import (
	"regexp"
	"strings"
)

// Format writes r as the line that Parse reads as r again.
func Format(r Request) string { return table.format(r) }

func (g grammar) format(r Request) string {
	r, cluster := Site(r)
	v := g.verb(r.Verb())
	line := []string{"/vm", v.Name}
	var fields Fields
	if v.fields != nil {
		fields = v.fields(r)
	}
	for _, p := range v.Args {
		if text := fields[p.Name]; text != "" {
			line = append(line, quote(text))
		}
	}
	for _, p := range v.Flags {
		switch text := fields[p.Name]; {
		case text == "":
		case p.Type == TypeBool:
			line = append(line, p.Label())
		default:
			line = append(line, p.Label(), quote(text))
		}
	}
	if cluster != "" {
		line = append(line, ClusterParam.Label(), quote(cluster))
	}
	return strings.Join(line, " ")
}

var plainRE = regexp.MustCompile(`^[A-Za-z0-9._/:+@][A-Za-z0-9._/:+@-]*$`)

// quote makes text one word of a line.
func quote(text string) string {
	if plainRE.MatchString(text) {
		return text
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}
