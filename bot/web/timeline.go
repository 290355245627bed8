package web

import (
	"fmt"
	"strings"
	"time"

	"pvebot/bot"
	"pvebot/provision"
)

// timeline is a job's steps on one line, drawn to scale: what took long is
// wide.
type timeline struct {
	Bars  []bar
	Ticks []tick
	Text  string // the same for those who don't see it
}

// bar is a step; positions are percent of the whole.
type bar struct {
	X, Width string
	Status   string
	Odd      bool // of another phase than the one before, by turns
	Title    string
}

// tick is a mark on the line.
type tick struct{ X, Label string }

// minBar is the width, in percent, below which a step could not be seen.
const minBar = 0.25

// tickSteps are the distances of ticks; the first that gives no more than
// maxTicks is taken.
var tickSteps = []time.Duration{
	100 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour,
}

const maxTicks = 6

// timelineOf draws the steps that were begun; nil when that makes no picture.
func timelineOf(steps []bot.CardStep) *timeline {
	var begun []bot.CardStep
	var first, last time.Time
	for _, s := range steps {
		if s.Started.IsZero() || s.Status == provision.StepPending {
			continue
		}
		begun = append(begun, s)
		if first.IsZero() || s.Started.Before(first) {
			first = s.Started
		}
		if end := s.Started.Add(s.Elapsed); end.After(last) {
			last = end
		}
	}
	whole := last.Sub(first)
	if len(begun) < 2 || whole < time.Second {
		return nil
	}
	t := &timeline{}
	percent := func(d time.Duration) string { return fmt.Sprintf("%.2f%%", 100*float64(d)/float64(whole)) }
	var said []string
	odd := false
	for i, s := range begun {
		if i > 0 && s.Phase != begun[i-1].Phase {
			odd = !odd
		}
		width := max(minBar, 100*float64(s.Elapsed)/float64(whole))
		title := fmt.Sprintf("%s: %s", clean(maxShort, s.Title), dur(s.Elapsed))
		t.Bars = append(t.Bars, bar{
			X: percent(s.Started.Sub(first)), Width: fmt.Sprintf("%.2f%%", width), Status: word(s.Status, "pending"), Odd: odd, Title: title,
		})
		if s.Elapsed >= whole/20 {
			said = append(said, title)
		}
	}
	step := tickSteps[len(tickSteps)-1]
	for _, d := range tickSteps {
		if whole/d <= maxTicks {
			step = d
			break
		}
	}
	for at := time.Duration(0); at <= whole*19/20; at += step { // the end's label has to fit
		t.Ticks = append(t.Ticks, tick{percent(at), tickLabel(at)})
	}
	t.Text = "What took long: " + strings.Join(said, ", ")
	return t
}

// tickLabel is a tick's time: 0, 0.5s, 20s, 1m30s, 2h.
func tickLabel(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
