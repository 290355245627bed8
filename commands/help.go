package commands

import (
	"cmp"
	"fmt"
	"strings"

	"pvebot/provision"
)

// Page is help as data: a card shows it its own way.
type Page struct {
	Title    string
	Text     string
	Sections []Section
}

// Section is a part of a page.
type Section struct {
	Title string
	Rows  []Row
}

// Row is one thing to know: what is written, and what it means. In a section
// of examples it has no Text.
type Row struct{ Code, Text string }

// HelpPage is the help on the verb called topic, or on everything for "" and
// for what is no verb. It tells the default versions of images.
func HelpPage(topic string, images []provision.Image) Page {
	if v := table.verb(topic); v != nil {
		return v.help(images)
	}
	return table.help()
}

func (g grammar) help() Page {
	var all, examples Section
	all.Title, examples.Title = "Commands", "For example"
	for _, v := range g {
		use := v.Name
		for _, p := range v.Args {
			use += " " + p.inUsage()
		}
		all.Rows = append(all.Rows, Row{"/vm " + use, v.Summary})
	}
	for _, line := range g[0].Examples {
		examples.Rows = append(examples.Rows, Row{Code: line})
	}
	return Page{
		Title:    "What I can do",
		Text:     "Write /vm and one of these. /vm help install tells all about install, and so for each of them.",
		Sections: []Section{all, examples},
	}
}

func (v *Verb) help(images []provision.Image) Page {
	page := Page{Title: "/vm " + v.Usage(), Text: strings.Join(append([]string{v.Summary + "."}, v.Notes...), " ")}
	var params, examples Section
	params.Title, examples.Title = "Values", "For example"
	for _, p := range v.Params() {
		if p.Type == TypeVersion {
			p.Default = cmp.Or(defaultVersions(images), p.Default)
		}
		params.Rows = append(params.Rows, Row{p.written(), p.describe()})
	}
	if len(params.Rows) > 0 {
		page.Sections = append(page.Sections, params)
	}
	for _, line := range v.Examples {
		examples.Rows = append(examples.Rows, Row{Code: line})
	}
	page.Sections = append(page.Sections, examples)
	if len(v.Also) > 0 {
		page.Sections = append(page.Sections, Section{"Other words for it", []Row{{Code: strings.Join(v.Also, ", ")}}})
	}
	return page
}

// defaultVersions tells what each system alone means: debian 13, ubuntu 26.04.
func defaultVersions(images []provision.Image) string {
	var defaults []string
	for _, im := range images {
		if im.Default {
			defaults = append(defaults, im.OS+" "+im.Version)
		}
	}
	return strings.Join(defaults, ", ")
}

// describe is the parameter in one line: summary, limits, default.
func (p Param) describe() string {
	s := p.Summary
	var more []string
	switch p.Type {
	case TypeInt:
		more = append(more, strings.TrimSpace(p.span(p.plain)))
	case TypeSize, TypeGrowth:
		more = append(more, strings.TrimSpace(p.span(Size)))
	case TypeDuration:
		more = append(more, strings.TrimSpace(p.span(seconds)))
	case TypeEnum:
		more = append(more, strings.Join(p.Choices, ", "))
	default: // has no limits
	}
	if p.Default != "" {
		more = append(more, "default: "+p.Default)
	}
	if len(more) > 0 {
		s += " (" + strings.Join(more, "; ") + ")"
	}
	return s
}

// String is the page as plain text, for terminals.
func (p Page) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s\n", p.Title, p.Text)
	for _, s := range p.Sections {
		fmt.Fprintf(&b, "\n%s\n", s.Title)
		width := 0
		for _, r := range s.Rows {
			width = max(width, len(r.Code))
		}
		for _, r := range s.Rows {
			line := fmt.Sprintf("  %-*s  %s", width, r.Code, r.Text)
			b.WriteString(strings.TrimRight(line, " ") + "\n")
		}
	}
	return b.String()
}
