package main

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"pvebot/commands"
)

// setting is one variable that the program reads.
type setting struct {
	name string
	kind reflect.Type
}

// settings are all that the program reads, but for those whose names begin with
// NODE_ or with a cluster's name.
func settings() []setting { return settingsOfType(reflect.TypeFor[config]()) }

func settingsOfType(t reflect.Type) []setting {
	var all []setting
	for i := range t.NumField() {
		f := t.Field(i)
		switch name, _, _ := strings.Cut(f.Tag.Get("env"), ","); {
		case name == "-":
		case name != "":
			all = append(all, setting{name, f.Type})
		case f.Type.Kind() == reflect.Struct && f.IsExported():
			all = append(all, settingsOfType(f.Type)...)
		}
	}
	return all
}

// wants says what a value of the setting is, where text is none. "" is that it is
// one, or that the setting takes any text.
func (s setting) wants(text string) string {
	var err error
	switch {
	case text == "":
		return "" // as if it were not set
	case s.kind == reflect.TypeFor[time.Duration]():
		if _, err = time.ParseDuration(text); err != nil {
			return "a time such as 30s, 5m or 24h"
		}
	case s.kind.Kind() == reflect.Bool:
		if _, err = strconv.ParseBool(text); err != nil {
			return "true or false"
		}
	case s.kind.Kind() == reflect.Int, s.kind.Kind() == reflect.Int64:
		if _, err = strconv.ParseInt(text, 10, s.kind.Bits()); err != nil {
			return "a whole number"
		}
	}
	return ""
}

// takeUnreadable takes the values out of vars that their settings can't have, and
// says what they can.
func takeUnreadable(vars map[string]string) []string {
	var wrong []string
	for _, s := range settings() {
		if want := s.wants(vars[s.name]); want != "" {
			wrong = append(wrong, fmt.Sprintf("%s is %q: it is %s", s.name, vars[s.name], want))
			delete(vars, s.name)
		}
	}
	return wrong
}

// misspelt says which names in vars are settings with a typing mistake. A file of
// settings has them for us; the environment has its own, so there only one letter
// may be wrong.
func misspelt(vars map[string]string, inFile func(string) bool, clusters []string) []string {
	var known []string
	for _, s := range settings() {
		known = append(known, s.name)
		for _, c := range clusters {
			known = append(known, prefixOf(c)+s.name)
		}
	}
	var said []string
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if slices.Contains(known, name) || isNodeSetting(name, clusters) {
			continue
		}
		near := meant(name, known, inFile(name))
		if _, set := vars[near]; near != "" && (!set || inFile(name)) {
			said = append(said, fmt.Sprintf("%s is no setting; do you mean %s?", name, near))
		}
	}
	return said
}

// isNodeSetting reports whether a name is NODE_<name>, of a cluster or without.
func isNodeSetting(name string, clusters []string) bool {
	for _, c := range clusters {
		if rest, ok := strings.CutPrefix(name, prefixOf(c)); ok && strings.HasPrefix(rest, nodePrefix) {
			return true
		}
	}
	return strings.HasPrefix(name, nodePrefix)
}

// meant is the setting that a name is probably a misspelling of, or "".
func meant(name string, known []string, inFile bool) string {
	// PGPORT is of PostgreSQL, and not a PORT.
	if len(name) < 4 || strings.HasPrefix(name, "PG") {
		return ""
	}
	upper := strings.ToUpper(name)
	if slices.Contains(known, upper) {
		return upper
	}
	if before, node, ok := strings.Cut(name, "_"); inFile && ok && node != "" && commands.Distance(strings.ToUpper(before)+"_", nodePrefix) == 1 {
		return nodePrefix + node
	}
	near := commands.Nearest(upper, known)
	if !inFile && commands.Distance(name, near) > 1 {
		return ""
	}
	return near
}
