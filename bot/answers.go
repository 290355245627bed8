package bot

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"pvebot/cluster"
	"pvebot/commands"
	"pvebot/provision"
)

// noteCard is a short answer.
func noteCard(tone Tone, text string) Card {
	return Card{Tone: tone, Text: full(text)}
}

// mistakeCard answers a line that is no request.
func mistakeCard(m *commands.Mistake) Card {
	c := Card{Title: "That did not work", Tone: Bad, Text: capital(full(m.Say))}
	if m.Try != "" {
		c.Fields = append(c.Fields, Field{Name: "try", Value: m.Try, Code: true})
	}
	if m.Verb != "" {
		c.Fields = append(c.Fields, Field{Name: "help", Value: "/vm help " + m.Verb, Code: true})
	}
	return c
}

// errorCard answers a request that was refused. Causes stay in the log: they
// are the operator's.
func errorCard(err error) Card {
	say, try := "something went wrong inside the bot; its log says what", ""
	if p := provision.ProblemOf(err); p.Kind != provision.Internal {
		say, try = p.Say, p.Try
	} else if held, ok := errors.AsType[*provision.HeldError](err); ok {
		say, try = fmt.Sprintf("job %d holds what this needs (%s)", held.By, held.Slot), "/vm jobs"
	}
	c := Card{Title: "That did not work", Tone: Bad, Text: capital(full(say))}
	if provision.KindOf(err) == provision.Denied {
		c.Title = "Not allowed"
	}
	if try != "" {
		c.Fields = []Field{{Name: "try", Value: typed(try)}}
	}
	return c
}

// unstored answers what could not be stored, and so was not taken.
func unstored(err error) Card {
	if provision.KindOf(err) == provision.Internal {
		return noteCard(Bad, "I can't remember orders at the moment, so I took none. Try again in a minute")
	}
	c := errorCard(err)
	c.Title, c.Text = "I took no order", c.Text+"."
	return c
}

var commandRE = regexp.MustCompile(`(^|[ (])vm ([a-z])`)

// typed is what to try as people type it: the engine leaves the slash to chat.
func typed(try string) string { return commandRE.ReplaceAllString(try, "${1}/vm ${2}") }

func capital(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return s
	}
	// Names and flags stay as they are written.
	if word, rest, _ := strings.Cut(s, " "); strings.ContainsAny(word, "-_/0123456789") || strings.HasPrefix(rest, "(VM ") {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// jobsCard lists jobs, with their clusters where there are several.
func jobsCard(jobs []provision.Job, now time.Time, several bool) Card {
	if len(jobs) == 0 {
		return Card{Title: "Jobs", Text: "There are none yet."}
	}
	t := &Table{Head: []string{"job", "what", "state", "asked by", "took"}}
	for _, job := range jobs {
		t.Rows = append(t.Rows, []string{
			job.ID.String(), titleOf(job), string(job.State), job.Order.By.String(), Took(job.Elapsed(now)),
		})
	}
	if several {
		t.Head = append(t.Head, "cluster")
		for i, job := range jobs {
			t.Rows[i] = append(t.Rows[i], job.Order.Cluster)
		}
	}
	return Card{Title: "Jobs", Table: t}
}

// nodesCard shows the nodes, and why new VMs have the CPU type that they get.
// Groups may be missing: then nothing is said of CPUs.
func nodesCard(r cluster.Resources, groups []cluster.Baseline) Card {
	t := &Table{Head: []string{"node", "status", "CPUs", "load", "memory", "VMs", "up for", "CPU type"}}
	for _, n := range r.Nodes {
		row := []string{n.Name, n.Status, "?", "?", "?", "0", "?", "?"}
		for _, g := range groups {
			if cpu, ok := g.Node(n.Name); ok {
				row[7] = cpu.Type
			}
		}
		if n.MaxMem > 0 { // a silent node has no figures
			row[2], row[3] = strconv.Itoa(n.CPUs), fmt.Sprintf("%.0f%%", n.CPU*100)
			row[4], row[6] = memoryText(n.Mem, n.MaxMem), Took(n.Uptime)
		}
		running := 0
		for _, vm := range r.VMs {
			if vm.Type == "qemu" && vm.Node == n.Name && vm.Status == "running" {
				running++
			}
		}
		row[5] = strconv.Itoa(running)
		t.Rows = append(t.Rows, row)
	}
	if len(t.Rows) == 0 {
		return Card{Title: "Nodes", Tone: Bad, Text: "The cluster tells of no nodes."}
	}
	c := Card{Title: "Nodes", Table: t}
	var about []string
	for _, g := range groups {
		about = append(about, baselineText(g, len(groups) > 1))
	}
	for _, n := range r.Nodes {
		says := func(g cluster.Baseline) bool { _, ok := g.Node(n.Name); return ok }
		if len(groups) > 0 && n.Status == "online" && !slices.ContainsFunc(groups, says) {
			about = append(about, n.Name+" does not say what its CPU can do: it gets no new VMs.")
		}
		if n.Failing != "" {
			about = append(about, fmt.Sprintf("The bot does not reach %s: %s.", n.Name, n.Failing))
		}
	}
	c.Text = strings.Join(about, "\n")
	return c
}

// baselineText is the CPU type of a group's new VMs, and who keeps it from the
// next one: "New VMs have the CPU type x86-64-v3. pve3 can't run x86-64-v4: it
// lacks avx512f."
func baselineText(g cluster.Baseline, named bool) string {
	text := "New VMs"
	if named {
		var names []string
		for _, n := range g.Nodes {
			names = append(names, n.Node)
		}
		text += " on " + strings.Join(names, ", ")
	}
	text += " have the CPU type " + g.Type + "."
	for _, n := range g.Limits() {
		text += fmt.Sprintf(" %s can't run %s: it lacks %s.", n.Node, n.Next, strings.Join(n.Lacks, ", "))
	}
	return text
}

func imagesCard(images []provision.Image) Card {
	t := &Table{Head: []string{"install", "system", "user", "updates until", "remarks"}}
	for _, im := range images {
		line := "/vm install " + im.OS
		if !im.Default {
			line += " " + im.Version
		}
		until, remarks := "?", []string{}
		if !im.End.IsZero() {
			until = im.End.Format("2006-01")
		}
		if im.Ended {
			remarks = append(remarks, "no updates any more")
		}
		if im.CPU != "" && im.CPU != "kvm64" {
			remarks = append(remarks, "needs CPU type "+im.CPU)
		}
		if !im.Script {
			remarks = append(remarks, "no init script yet: cloud-init alone")
		}
		t.Rows = append(t.Rows, []string{line, im.Title, im.User, until, strings.Join(remarks, "; ")})
	}
	if len(t.Rows) == 0 {
		return Card{Title: "Images", Tone: Bad, Text: "There are none."}
	}
	return Card{Title: "Images", Table: t}
}

func memoryText(used, all int64) string { return bytesText(used) + " of " + bytesText(all) }

// bytesText writes bytes as people do: 512M, 2G, 1.5T.
func bytesText(n int64) string {
	units := []string{"B", "K", "M", "G", "T", "P"}
	v, i := float64(n), 0
	for ; v >= 1024 && i < len(units)-1; i++ {
		v /= 1024
	}
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0") + units[i]
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// helpCard is help on one verb, or on all of them.
func helpCard(topic string, images []provision.Image) Card {
	page := commands.HelpPage(topic, images)
	c := Card{Title: page.Title, Text: page.Text}
	for _, s := range page.Sections {
		told := slices.ContainsFunc(s.Rows, func(r commands.Row) bool { return r.Text != "" })
		if told && c.Table == nil {
			c.Table = &Table{Head: []string{s.Title, ""}}
			for _, r := range s.Rows {
				c.Table.Rows = append(c.Table.Rows, []string{r.Code, r.Text})
			}
			continue
		}
		c.Lines = append(c.Lines, s.Title+":")
		for _, r := range s.Rows {
			c.Lines = append(c.Lines, strings.TrimRight("  "+r.Code+"  "+r.Text, " "))
		}
	}
	return c
}

// formOf is the dialog for a verb, filled with what is known. Options of the
// operating system come from the catalogue.
func formOf(ctx context.Context, v commands.Verb, known commands.Fields, inv provision.Inventory) *Form {
	f := &Form{ID: v.Name, Title: v.Summary}
	for _, p := range v.Params() {
		field := FormField{
			Name: p.Name, Label: labelOf(p.Name), Hint: p.Summary,
			Value: known[p.Name], Required: p.Required,
		}
		for _, c := range p.Choices {
			field.Options = append(field.Options, Choice{Label: c, Value: c})
		}
		switch p.Type {
		case commands.TypeOS:
			field.Options = systems(ctx, inv)
		case commands.TypeVersion:
			field.Options = versions(ctx, inv, known["os"])
		case commands.TypeBool:
			field.Options = []Choice{{Label: "no", Value: "false"}, {Label: "yes", Value: "true"}}
		default: // is typed
		}
		f.Fields = append(f.Fields, field)
	}
	return f
}

// labelOf is a parameter's name as a form has it.
func labelOf(name string) string {
	switch name {
	case "os", "vm", "cpu", "ram", "id", "ttl":
		return strings.ToUpper(name)
	}
	return capital(strings.ReplaceAll(name, "-", " "))
}

func systems(ctx context.Context, inv provision.Inventory) []Choice {
	images, err := inv.Images(ctx)
	if err != nil {
		return nil // then it is typed
	}
	var out []Choice
	for _, im := range images {
		if !slices.ContainsFunc(out, func(c Choice) bool { return c.Value == im.OS }) {
			out = append(out, Choice{Label: capital(im.OS), Value: im.OS})
		}
	}
	return out
}

// versions are those of a system, of all systems while it is not chosen.
func versions(ctx context.Context, inv provision.Inventory, os string) []Choice {
	images, err := inv.Images(ctx)
	if err != nil {
		return nil // then it is typed
	}
	var out []Choice
	for _, im := range images {
		if os != "" && im.OS != os {
			continue
		}
		i := slices.IndexFunc(out, func(c Choice) bool { return c.Value == im.Version })
		if i < 0 {
			out = append(out, Choice{Label: im.Title, Value: im.Version})
		} else {
			out[i].Label += ", " + im.Title
		}
	}
	return out
}
