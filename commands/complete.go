package commands

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pvebot/provision"
)

// MaxChoices is how many completions there are at most: Discord's limit.
const MaxChoices = 25

// maxChoice is the longest label and value of a choice, in characters: also
// Discord's.
const maxChoice = 100

// Known is what completion knows of the cluster. It may be old or empty.
type Known struct {
	Images          []provision.Image
	Nodes, Storages []string
	Clusters        []string // one or none: nobody needs to say which
	VMs             []KnownVM
	Jobs            []provision.JobID // that can be cancelled
}

// KnownVM is a VM that can be named.
type KnownVM struct {
	ID         int
	Name, Node string
}

// Choice is a completion: Label is for people, Value is what to put there.
type Choice struct{ Label, Value string }

// Complete proposes how line can go on. Each Value is the whole line with its
// last word complete; there are at most MaxChoices.
func Complete(line string, known Known) []Choice { return table.complete(line, known) }

// Completions proposes values of p that partial may become, among them the
// fields given beside it matter: a version depends on the OS. There are at
// most MaxChoices, none longer than 100 characters.
func Completions(p Param, given Fields, partial string, known Known) []Choice {
	return narrow(table.offers(p, given, known), partial)
}

func (g grammar) complete(line string, known Known) []Choice {
	if len(line) > MaxLine || secretRE.MatchString(line) {
		return nil
	}
	fresh := strings.TrimRight(line, " \t\u00a0") != line
	line = Normalise(line)
	words, complaint := split(line)
	if complaint != "" {
		return nil
	}
	said := unaddressed(words)
	head, partial := line, ""
	if n := len(words); n > 0 && !fresh {
		partial = words[n-1].text
		if len(said) > 0 {
			said = said[:len(said)-1]
		} else {
			partial = "" // all of it is the address
			fresh = true
		}
	}
	if !fresh {
		head = strings.TrimRight(line[:strings.LastIndex(line, " ")+1], " ")
	}
	choices, prefix := g.next(said, partial, known)
	for i := range choices {
		choices[i].Value = strings.TrimSpace(head + " " + prefix + choices[i].Value)
	}
	return choices
}

// next proposes what the word after said can be, when it begins with partial.
// All values go behind prefix.
func (g grammar) next(said []word, partial string, known Known) (choices []Choice, prefix string) {
	if len(said) == 0 {
		var verbs []Choice
		for _, v := range g {
			verbs = append(verbs, Choice{v.Name + ": " + v.Summary, v.Name})
		}
		return beginning(verbs, partial), ""
	}
	v := g.verb(said[0].text)
	if v == nil {
		return nil, ""
	}
	s := slotter{verb: v, words: said[1:], fields: Fields{}}
	s.run()
	s.skip()
	if p := s.waiting; p != nil {
		return narrow(g.offersQuoted(*p, s.fields, known), partial), ""
	}
	if name, text, ok := strings.Cut(partial, "="); ok && strings.HasPrefix(name, "--") {
		if p := v.flag(strings.ToLower(name[2:])); p != nil {
			return narrow(g.offersQuoted(*p, s.fields, known), text), name + "="
		}
		return nil, ""
	}
	if s.args < len(v.Args) && !strings.HasPrefix(partial, "-") {
		choices = narrow(g.offersQuoted(v.Args[s.args], s.fields, known), partial)
	}
	if s.args == len(v.Args) || !v.Args[s.args].Required {
		var flags []Choice
		for _, p := range v.Flags {
			if _, given := s.fields[p.Name]; !given {
				flags = append(flags, Choice{p.Label() + ": " + p.Summary, p.Label()})
			}
		}
		if _, given := s.fields[ClusterParam.Name]; v.Sited && len(known.Clusters) > 1 && !given {
			flags = append(flags, Choice{ClusterParam.Label() + ": " + ClusterParam.Summary, ClusterParam.Label()})
		}
		choices = append(choices, beginning(flags, partial)...)
	}
	return choices[:min(len(choices), MaxChoices)], ""
}

// offersQuoted are p's offers as words of a line.
func (g grammar) offersQuoted(p Param, given Fields, known Known) []Choice {
	choices := g.offers(p, given, known)
	for i := range choices {
		choices[i].Value = quote(choices[i].Value)
	}
	return choices
}

// offers are all values of p worth proposing.
func (g grammar) offers(p Param, given Fields, known Known) []Choice {
	var choices []Choice
	add := func(value, label string) {
		if !slices.ContainsFunc(choices, func(c Choice) bool { return c.Value == value }) {
			choices = append(choices, Choice{label, value})
		}
	}
	plain := func(words []string) {
		for _, w := range words {
			add(w, w)
		}
	}
	switch p.Type {
	case TypeOS:
		for _, img := range known.Images {
			add(img.OS, img.OS)
		}
	case TypeVersion:
		os, _ := splitOS(strings.ToLower(given["os"]))
		for _, img := range known.Images {
			if img.OS == os {
				add(img.Version, img.Title)
			}
		}
	case TypeVM, TypeSubject:
		for _, vm := range known.VMs {
			value := vm.Name
			same := func(o KnownVM) bool { return o.Name == vm.Name && o.ID != vm.ID }
			if value == "" || slices.ContainsFunc(known.VMs, same) {
				value = strconv.Itoa(vm.ID)
			}
			add(value, fmt.Sprintf("%s (%d on %s)", vm.Name, vm.ID, vm.Node))
		}
	case TypeNode:
		plain(known.Nodes)
	case TypeStorage:
		plain(known.Storages)
	case TypeCluster:
		plain(known.Clusters)
	case TypeJob:
		for _, id := range known.Jobs {
			add(id.String(), "job "+id.String())
		}
	case TypeVerb:
		plain(g.names())
	case TypeEnum:
		plain(p.Choices)
	default:
		plain(p.Offers)
	}
	return choices
}

// narrow keeps the choices that partial may become: those that begin with it
// first, then those that have it in their label.
func narrow(choices []Choice, partial string) []Choice {
	partial = strings.ToLower(partial)
	var within []Choice
	for _, c := range choices {
		if !begins(c, partial) && strings.Contains(strings.ToLower(c.Label), partial) {
			within = append(within, c)
		}
	}
	return fit(append(beginning(choices, partial), within...))
}

// beginning keeps the choices whose value begins with partial.
func beginning(choices []Choice, partial string) []Choice {
	partial = strings.ToLower(partial)
	var kept []Choice
	for _, c := range choices {
		if begins(c, partial) {
			kept = append(kept, c)
		}
	}
	return fit(kept)
}

func begins(c Choice, partial string) bool {
	return strings.HasPrefix(strings.ToLower(c.Value), partial)
}

// fit keeps choices within the limits of MaxChoices and maxChoice.
func fit(choices []Choice) []Choice {
	choices = slices.DeleteFunc(choices, func(c Choice) bool { return len(c.Value) > maxChoice })
	for i, c := range choices {
		if r := []rune(c.Label); len(r) > maxChoice {
			choices[i].Label = string(r[:maxChoice-3]) + "..."
		}
	}
	return choices[:min(len(choices), MaxChoices)]
}

var clusterWordRE = regexp.MustCompile(`(?i)\s--cluster(?:=|\s+)([a-z][a-z0-9-]*)\s`)

// ClusterOf is the cluster that a line names which is still being typed, "" for
// none.
func ClusterOf(line string) string {
	if len(line) > MaxLine {
		return ""
	}
	if m := clusterWordRE.FindStringSubmatch(Normalise(line) + " "); m != nil {
		return strings.ToLower(m[1])
	}
	return ""
}
