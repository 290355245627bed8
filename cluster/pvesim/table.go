package pvesim

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed qm-options.txt
var optionText string

// command is what a qm command takes.
type command struct {
	name       string
	positional []string
	options    map[string]*option
	indexed    []*option // name[n]
}

// option is an option, or a key of an option's property string.
type option struct {
	name     string
	typ      string // boolean, integer, number, string; array: all words that are left
	required bool
	isDef    bool // the key that may be left out: 4 instead of cores=4
	min, max *float64
	maxLen   int
	enum     []string
	format   string
	pattern  *regexp.Regexp
	requires string
	alias    string // this key stands for another
	keyAlias string // and its name is the value of a third
	last     int    // highest index of name[n]
	keys     []*option
}

// commands are all commands by their full name: "qm disk resize".
var commands = sync.OnceValue(func() map[string]*command {
	all, err := parseOptions(optionText)
	if err != nil {
		panic(err) // a mistake in qm-options.txt, found by any test
	}
	return all
})

func parseOptions(text string) (map[string]*command, error) {
	all := map[string]*command{}
	var cmd *command
	var top *option
	for no, line := range strings.Split(text, "\n") {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0, line[0] == '#':
		case line[0] == '[':
			head, rest, _ := strings.Cut(line[1:], "]")
			cmd = &command{name: head, positional: strings.Fields(rest), options: map[string]*option{}}
			if head == "qm set" {
				create := all["qm create"]
				for k, o := range create.options {
					cmd.options[k] = o
				}
				cmd.indexed = slices.Clone(create.indexed)
			}
			all[head] = cmd
		case line[0] == '-':
			delete(cmd.options, line[1:])
		default:
			o, err := parseOption(fields)
			if err != nil {
				return nil, fmt.Errorf("qm-options.txt:%d: %w", no+1, err)
			}
			switch {
			case line[0] == ' ':
				top.keys = append(top.keys, o)
				continue
			case strings.HasSuffix(o.name, "[n]"):
				o.name = strings.TrimSuffix(o.name, "[n]")
				cmd.indexed = append(cmd.indexed, o)
			default:
				cmd.options[o.name] = o
			}
			top = o
		}
	}
	return all, nil
}

func parseOption(fields []string) (*option, error) {
	o := &option{name: fields[0]}
	for _, f := range fields[1:] {
		key, value, hasValue := strings.Cut(f, "=")
		var err error
		switch key {
		case "boolean", "integer", "number", "string", "array":
			o.typ = key
		case "required":
			o.required = true
		case "default":
			o.isDef = true
		case "min":
			o.min, err = parseLimit(value)
		case "max":
			o.max, err = parseLimit(value)
		case "len":
			o.maxLen, err = strconv.Atoi(value)
		case "n":
			o.last, err = strconv.Atoi(value)
		case "enum":
			o.enum = strings.Split(value, "|")
		case "format":
			o.format = value
		case "requires":
			o.requires = value
		case "alias":
			o.alias = value
		case "key":
			o.keyAlias = value
		case "pattern":
			o.pattern, err = regexp.Compile(`^(?:` + value + `)$`)
		default:
			err = fmt.Errorf("%s: what is %q?", o.name, f)
		}
		if err != nil {
			return nil, err
		}
		if !hasValue && strings.Contains(f, "=") {
			return nil, fmt.Errorf("%s: %s has no value", o.name, key)
		}
	}
	return o, nil
}

func parseLimit(s string) (*float64, error) {
	f, err := strconv.ParseFloat(s, 64)
	return &f, err
}

// option finds an option by the name that was typed.
func (c *command) option(name string) *option {
	if o := c.options[name]; o != nil {
		return o
	}
	for _, o := range c.indexed {
		if indexed(name, o.name, o.last) {
			return o
		}
	}
	return nil
}

// usage is the line after a complaint. PVE: it names options where there are some.
func (c *command) usage() string {
	b := strings.Builder{}
	b.WriteString(c.name)
	for _, p := range c.positional {
		fmt.Fprintf(&b, " <%s>", p)
	}
	for o := range c.options {
		if !slices.Contains(c.positional, o) {
			return b.String() + " [OPTIONS]\n"
		}
	}
	return b.String() + "\n"
}
