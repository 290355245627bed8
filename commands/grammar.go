package commands

import (
	"slices"
	"strings"
)

// Type says what a parameter's value looks like.
type Type string

// The types of parameters.
const (
	TypeOS       Type = "os"       // ubuntu, debian, ...: a word that the catalogue knows
	TypeVersion  Type = "version"  // 24.04, 12, bookworm
	TypeVM       Type = "vm"       // a VM by VMID or name
	TypePerson   Type = "person"   // @ID, or PLATFORM/ID for somebody of another platform
	TypeSubject  Type = "subject"  // a VM or a person
	TypeJob      Type = "job"      // a job's number, with or without #
	TypeVerb     Type = "verb"     // a word of this grammar
	TypeEnum     Type = "enum"     // one of Choices
	TypeInt      Type = "int"      // a whole number from Min to Max
	TypeSize     Type = "size"     // 4G, 512M, 1T; Min, Max and the number are MiB
	TypeGrowth   Type = "growth"   // +20G: a size to add
	TypeDuration Type = "duration" // 12h, 7d, 2w; Min and Max are seconds
	TypeBool     Type = "bool"     // a flag without a value
	TypeName     Type = "name"     // a DNS name
	TypeSnapshot Type = "snapshot" // a snapshot's name
	TypeNode     Type = "node"     // a node's name
	TypeStorage  Type = "storage"  // a storage's id
	TypeCluster  Type = "cluster"  // the name of a Proxmox cluster that the bot offers
	TypeUser     Type = "user"     // a login name of the guest
	TypeKey      Type = "key"      // an OpenSSH public key line, quoted or up to the next flag
	TypeText     Type = "text"     // any words, quoted or up to the next flag
)

// Param is an argument or a flag of a verb.
type Param struct {
	Name     string // lower case, at most 32 characters; a flag is written --Name
	Also     []string
	Type     Type
	Required bool
	Summary  string   // at most 100 characters: Discord's limit of a description
	Default  string   // in words, for help; "" when there is nothing to say
	Example  string   // a value that is right
	Choices  []string // of an enum
	Offers   []string // values worth offering, where others are right too
	Min, Max int64    // of int, size and duration; Max 0: no limit
	// Bare is the unit of a size without one, M or G.
	Bare string

	flag bool
}

// Label is how people write the parameter: --cpu, OS.
func (p Param) Label() string {
	if p.flag {
		return "--" + p.Name
	}
	return strings.ToUpper(p.Name)
}

// Verb is one row of the grammar: all that parser, help, completion and chat
// platforms need to know about a command.
type Verb struct {
	Name     string
	Also     []string // other words for it
	Summary  string   // at most 100 characters
	Args     []Param  // by position, the required ones first
	Flags    []Param
	Examples []string // whole lines; the first is what a hopeless line is answered with
	Notes    []string // for help
	Reads    bool     // it changes nothing
	// Sited: it is about the things of one cluster, which --cluster names where
	// there are several. Since mostly there is one, that flag is understood but
	// not among Flags.
	Sited bool

	// build makes the request of checked values, fields is its inverse.
	build  func(values) (Request, *Mistake)
	fields func(Request) Fields
}

// Fields are a request's values as text, by the names of its parameters: what
// a line, a form and a chat platform's options have in common.
type Fields map[string]string

// Verbs is the grammar. The caller may keep and change the slice.
func Verbs() []Verb { return slices.Clone(table) }

// VerbOf returns the row of the verb called name, in any case or by another
// word for it.
func VerbOf(name string) (Verb, bool) {
	if v := table.verb(name); v != nil {
		return *v, true
	}
	return Verb{}, false
}

// ClusterParam is the flag of every verb that is Sited.
var ClusterParam = Param{
	Name: "cluster", Type: TypeCluster, Summary: "The cluster it is about", Default: "the channel's", Example: "taipei", flag: true,
}

// Params are the verb's arguments and flags, in the order of the table.
func (v Verb) Params() []Param { return slices.Concat(v.Args, v.Flags) }

// Usage is the verb's synopsis: install OS [VERSION] [--name NAME] ...
func (v Verb) Usage() string {
	words := []string{v.Name}
	for _, p := range v.Params() {
		words = append(words, p.inUsage())
	}
	return strings.Join(words, " ")
}

// inUsage is the parameter as a synopsis has it: OS, [--name NAME].
func (p Param) inUsage() string {
	if p.Required {
		return p.written()
	}
	return "[" + p.written() + "]"
}

// written is the parameter with its value: OS, --name NAME, --online.
func (p Param) written() string {
	if p.flag && p.Type != TypeBool {
		return p.Label() + " " + p.placeholder()
	}
	return p.Label()
}

// placeholder stands for a flag's value in a synopsis.
func (p Param) placeholder() string {
	switch p.Type {
	case TypeInt:
		return "N"
	case TypeGrowth:
		return "+SIZE"
	case TypeDuration:
		return "TIME"
	case TypeEnum:
		return strings.Join(p.Choices, "|")
	default:
		return strings.ToUpper(string(p.Type))
	}
}

// grammar is a set of verbs. All of the package works on any grammar; people
// speak table.
type grammar []Verb

// newGrammar marks flags as such, so that rows need not.
func newGrammar(verbs ...Verb) grammar {
	for _, v := range verbs {
		for i := range v.Flags {
			v.Flags[i].flag = true
		}
	}
	return verbs
}

// always is the build of a verb without parameters.
func always(r Request) func(values) (Request, *Mistake) {
	return func(values) (Request, *Mistake) { return r, nil }
}

func (g grammar) verb(name string) *Verb {
	name = strings.ToLower(name)
	for i := range g {
		if g[i].Name == name || slices.Contains(g[i].Also, name) {
			return &g[i]
		}
	}
	return nil
}

// names are the verbs by their first names.
func (g grammar) names() []string {
	var names []string
	for _, v := range g {
		names = append(names, v.Name)
	}
	return names
}

// aboutOne is 1 when the verb is about one VM or job that exists, else 0.
func (v *Verb) aboutOne() int64 {
	if len(v.Args) > 0 && v.Args[0].Required && (v.Args[0].Type == TypeVM || v.Args[0].Type == TypeJob) {
		return 1
	}
	return 0
}

func (v *Verb) flag(name string) *Param {
	if v.Sited && name == ClusterParam.Name {
		return &ClusterParam
	}
	for i := range v.Flags {
		if p := &v.Flags[i]; p.Name == name || slices.Contains(p.Also, name) {
			return p
		}
	}
	return nil
}

func (v *Verb) arg(name string) *Param {
	for i := range v.Args {
		if v.Args[i].Name == name {
			return &v.Args[i]
		}
	}
	return nil
}

// param is a flag or an argument by its name.
func (v *Verb) param(name string) *Param {
	if p := v.flag(name); p != nil {
		return p
	}
	return v.arg(name)
}

func (v *Verb) flagNames() []string {
	var names []string
	for _, p := range v.Flags {
		names = append(names, p.Name)
	}
	return names
}
