package bot

import (
	"fmt"
	"strings"

	"pvebot/commands"
	"pvebot/provision"
)

// planCard shows what would be done. Nothing is ordered by it.
func planCard(p provision.Plan, v commands.Verdict) Card {
	c := Card{Title: capital(p.Title), Fields: planFields(p), Lines: p.Lines, Footer: "only a plan: nothing was done"}
	switch {
	case len(p.Blockers) > 0:
		c.Tone, c.Text = Bad, "That can't be done: "+full(strings.Join(p.Blockers, "; "))
	case v.Gate != nil:
		c.Tone, c.Text = Asking, "This would wait for "+v.Gate.String()+": "+full(v.Gate.Reason)
	default:
		c.Tone, c.Text = Good, "That can be done."
	}
	return c
}

// planFields are what of a plan is not among its lines.
func planFields(p provision.Plan) []Field {
	var fields []Field
	if p.Verdict != "" {
		fields = append(fields, Field{Name: "plan", Value: p.Verdict})
	}
	for _, w := range p.Warnings {
		fields = append(fields, Field{Name: "warning", Value: w})
	}
	if p.Estimate > 0 {
		fields = append(fields, Field{Name: "takes about", Value: Took(p.Estimate)})
	}
	return fields
}

// canCard explains a verdict about somebody.
func canCard(req commands.Can, about string, roles []string, v commands.Verdict, self bool) Card {
	what := strings.TrimSpace(req.Do + " " + about)
	if req.Node != "" {
		what += " (" + req.Node + ")"
	}
	c := Card{Fields: []Field{{Name: "who", Value: req.Who}, {Name: "roles", Value: strings.Join(roles, ", ")}, {Name: "rule", Value: v.Rule}}}
	if len(roles) == 0 {
		c.Fields[1].Value = "none"
	}
	switch {
	case !v.Allow:
		c.Title, c.Tone = fmt.Sprintf("No: %s may not %s", req.Who, what), Bad
		c.Text = fmt.Sprintf("They would be told: %s", full(v.Say))
	case v.Gate != nil:
		c.Title, c.Tone = fmt.Sprintf("Yes, if others agree: %s may ask to %s", req.Who, what), Asking
		c.Text = capital(full(v.Say))
	default:
		c.Title, c.Tone = fmt.Sprintf("Yes: %s may %s", req.Who, what), Good
	}
	if !self {
		c.Footer = "roles that come from a group of the platform are known only when they write themselves"
	}
	return c
}

// auditWords is how many characters of a command or a result a table shows.
const auditWords = 100

// auditCard shows audit rows, oldest first.
func auditCard(about string, rows []provision.AuditRow) Card {
	c := Card{Title: "Audit: " + about}
	if len(rows) == 0 {
		c.Text = "Nothing is written down."
		return c
	}
	c.Table = &Table{Head: []string{"#", "when", "who", "what", "VM", "job", "rule", "result"}}
	for _, r := range rows {
		what := r.What + " " + r.Text
		if !strings.HasPrefix(r.Text, "/vm ") { // it does not say the verb
			what = strings.TrimSpace(strings.Join([]string{r.What, r.Verb, r.Text}, " "))
		}
		c.Table.Rows = append(c.Table.Rows, []string{
			fmt.Sprint(r.Seq), moment(r.At), r.By.String(), Cut(what, auditWords), number(int64(r.VMID)), number(int64(r.Job)), r.Rule, Cut(r.Result, auditWords),
		})
	}
	c.Footer = "the newest; bot audit exports all of them"
	return c
}

// number is n, "" for 0.
func number(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}
