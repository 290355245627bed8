package web

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"pvebot/bot"
	"pvebot/provision"
)

//go:embed templates/*.html
var templateFiles embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"clean":   clean,
	"dur":     dur,
	"millis":  millis,
	"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"clock":   func(t time.Time) string { return t.UTC().Format("15:04") },
	"pct":     percent,
	"level":   level,
	"size":    size,
	"share":   share,
	"word":    word,
	"initial": initial,
}).ParseFS(templateFiles, "templates/*.html"))

// render executes the template called name. Our templates fail on no data; if
// one does, it is a bug that tests must see and a reader should not.
func render(name string, data any) template.HTML {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		panic(fmt.Sprintf("web: template %s: %v", name, err))
	}
	return template.HTML(b.String()) //nolint:gosec // html/template made it
}

// The page's limits: beyond them a card is cut, as on every platform.
const (
	maxText    = 8000 // runes
	maxShort   = 300  // runes, of what stands on one line
	maxRows    = 200
	maxColumns = 20
	maxButtons = 12
)

// clean makes s fit to be shown: no control characters, nothing that turns the
// direction of what follows it, at most n runes.
func clean(n int, s string) string {
	var b strings.Builder
	for _, r := range strings.ReplaceAll(s, "\r\n", "\n") {
		if n--; n < 0 {
			b.WriteString(bot.Ellipsis)
			break
		}
		switch {
		case r == '\n' || r == '\t':
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			r = unicode.ReplacementChar
		}
		b.WriteRune(r)
	}
	return b.String()
}

// dur writes an elapsed time as people say it; the page's script does the same.
func dur(d time.Duration) string {
	switch s := int(d / time.Second); {
	case d < 0:
		return "0s"
	case d < 10*time.Second:
		return strconv.FormatFloat(float64(d/(100*time.Millisecond))/10, 'f', 1, 64) + "s"
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm %02ds", s/60, s%60)
	default:
		return fmt.Sprintf("%dh %02dm", s/3600, s/60%60)
	}
}

// millis is a time as the script reads it.
func millis(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}

func percent(f float64) int { return int(min(max(f, 0), 1)*100 + 0.5) }

// level is how full something is, as a class.
func level(percent int) string {
	switch {
	case percent >= 90:
		return "full"
	case percent >= 70:
		return "high"
	}
	return "fine"
}

// share is part of whole in percent, 0 of nothing.
func share(part, whole int64) int {
	if whole <= 0 {
		return 0
	}
	return percent(float64(part) / float64(whole))
}

// size writes bytes in binary units, as Proxmox does.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	f, i := float64(max(n, 0)), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if f >= 10 || f == float64(int64(f)) {
		return fmt.Sprintf("%.0f %s", f, units[i])
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// messageView is what the message template shows.
type messageView struct {
	ID      string
	At      time.Time
	By      string // of a typed line
	Said    string
	Private bool
	Card    *bot.Card
	Phases  []phase
	Line    *timeline // nil: there is not enough to draw
	Done    int       // steps
	Lines   int       // in the thread
	Thread  bool
}

// phase is a run of steps with one Phase.
type phase struct {
	Name    string
	Steps   []bot.CardStep
	Status  string // pending, running, done, failed, undoing, undone
	Now     *bot.CardStep
	Open    bool // worth seeing step by step
	Elapsed time.Duration
	Started time.Time // set while it runs
}

func renderMessage(m *message) template.HTML {
	v := messageView{ID: m.id, At: m.at, Private: m.only != "", Said: m.said, Lines: m.missed + len(m.lines)}
	if m.card == nil {
		v.By = m.by.String()
		return render("message", v)
	}
	c := *m.card
	c.Fields, c.Steps, c.Lines = cut(c.Fields), cut(c.Steps), cut(c.Lines)
	if len(c.Buttons) > maxButtons {
		c.Buttons = c.Buttons[:maxButtons]
	}
	if c.Table != nil {
		t := *c.Table
		t.Head, t.Rows = narrow(t.Head), slices.Clone(cut(t.Rows))
		for i := range t.Rows {
			t.Rows[i] = narrow(t.Rows[i])
		}
		c.Table = &t
	}
	v.Card, v.Phases, v.Line = &c, phasesOf(c.Steps), timelineOf(c.Steps)
	v.Thread = c.Job != 0 || v.Lines > 0
	for _, s := range c.Steps {
		if s.Status == provision.StepOK {
			v.Done++
		}
	}
	return render("message", v)
}

func cut[T any](s []T) []T           { return s[:min(len(s), maxRows)] }
func narrow(cells []string) []string { return cells[:min(len(cells), maxColumns)] }

// phasesOf groups steps that follow each other in one phase.
func phasesOf(steps []bot.CardStep) []phase {
	var ps []phase
	for _, s := range steps {
		if len(ps) == 0 || ps[len(ps)-1].Name != s.Phase {
			ps = append(ps, phase{Name: s.Phase})
		}
		p := &ps[len(ps)-1]
		p.Steps = append(p.Steps, s)
	}
	for i := range ps {
		ps[i].sum()
	}
	return ps
}

// sum finds how the phase stands: as its most remarkable step.
func (p *phase) sum() {
	var done int
	for i, s := range p.Steps {
		p.Elapsed += s.Elapsed
		switch s.Status {
		case provision.StepOK:
			done++
		case provision.StepPending:
		case provision.StepReverted:
			if p.Status == "" {
				p.Status = "undone"
			}
		case provision.StepRunning, provision.StepBad, provision.StepUndoes:
			p.Status, p.Now, p.Open = string(s.Status), &p.Steps[i], true
			if s.Status == provision.StepRunning && !s.Started.IsZero() {
				p.Started = s.Started.Add(-(p.Elapsed - s.Elapsed))
			}
		}
	}
	switch {
	case p.Status != "":
	case done == len(p.Steps):
		p.Status = "done"
	case done > 0:
		p.Status = "running" // between two steps
	default:
		p.Status = "pending"
	}
}

// linesView is a piece of a thread, or all of it.
type linesView struct {
	ID     string
	Title  string
	Total  int
	Missed int
	Lines  []lineView
}

type lineView struct {
	N    int
	Look string
	Text string
}

// lookOf is how a line of a thread looks, by the mark that it begins with.
func lookOf(text string) string {
	switch {
	case strings.HasPrefix(text, "[+] "):
		return "good"
	case strings.HasPrefix(text, "[-] "):
		return "bad"
	case strings.HasPrefix(text, "[~] "):
		return "undone"
	case strings.HasPrefix(text, "  "):
		return "detail"
	}
	return "plain"
}

func viewLines(m *message, lines []line) linesView {
	v := linesView{ID: m.id, Total: m.missed + len(m.lines), Missed: m.missed}
	if m.card != nil {
		v.Title = m.card.Title
	}
	for _, l := range lines {
		v.Lines = append(v.Lines, lineView{l.n, lookOf(l.text), l.text})
	}
	return v
}

func renderLines(m *message, lines []line) template.HTML { return render("lines", viewLines(m, lines)) }
func renderThread(m *message) template.HTML              { return render("thread", viewLines(m, m.lines)) }

// word is the name of a state, tone or style as a class: small letters, or
// otherwise for what is none of ours.
func word(name any, otherwise string) string {
	s := fmt.Sprint(name)
	if s == "" || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") != "" {
		return otherwise
	}
	return s
}

// initial is the letter of somebody's picture.
func initial(name string) string {
	for _, r := range clean(maxShort, name) {
		return string(unicode.ToUpper(r))
	}
	return "?"
}
