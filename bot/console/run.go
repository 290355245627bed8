package console

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"pvebot/bot"
)

// tickEvery is how often running clocks are drawn anew on a terminal.
const tickEvery = 200 * time.Millisecond

// Run implements bot.Adapter: it reads lines from Config.In until ctx ends. At
// the end of the input it goes on showing cards.
func (c *Console) Run(ctx context.Context, h bot.Handler) error {
	var handlers, helpers sync.WaitGroup
	defer helpers.Wait()
	defer handlers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	helpers.Go(func() { c.tick(ctx) })
	if c.cfg.In == nil {
		<-ctx.Done()
		return nil
	}
	lines := make(chan string)
	// A read from a terminal can't be ended: the goroutine leaves with the
	// next line, or with the process.
	go read(ctx, c.cfg.In, lines)
	for {
		select {
		case <-ctx.Done():
			return nil
		case line, ok := <-lines:
			if !ok {
				lines = nil
				continue
			}
			in, ok := c.understand(line)
			if !ok {
				continue
			}
			c.acked(h.Triage(ctx, in))
			handlers.Go(func() { h.Handle(ctx, in) })
		}
	}
}

func read(ctx context.Context, in io.Reader, lines chan<- string) {
	defer close(lines)
	s := bufio.NewScanner(in)
	for s.Scan() {
		select {
		case lines <- s.Text():
		case <-ctx.Done():
			return
		}
	}
}

// understand makes an inbound of a typed line: a number presses a button, all
// else is a command.
func (c *Console) understand(line string) (bot.Inbound, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cfg.TTY {
		// The terminal has echoed the line below the region.
		c.screen.typed += 1 + bot.Columns(bot.Inert(line))/c.width()
	}
	line = strings.TrimSpace(line)
	if line == "" {
		return bot.Inbound{}, false
	}
	number, err := strconv.Atoi(line)
	if err != nil {
		c.asked = ""
		in := c.inbound(bot.Command)
		in.Text = line
		return in, true
	}
	b, ok := c.pressed(number)
	switch {
	case !ok:
		c.print([]bot.Line{{Text: fmt.Sprintf("There is no button %d.", number), Look: bot.LookBad}})
		return bot.Inbound{}, false
	case b.Confirm != "" && c.asked != b.ID:
		c.asked = b.ID
		c.print([]bot.Line{{Text: fmt.Sprintf("%s Type %d again to do it.", bot.Inert(b.Confirm), number), Look: bot.LookAsking}})
		return bot.Inbound{}, false
	}
	c.asked = ""
	in := c.inbound(bot.Click)
	in.Button = b.ID
	return in, true
}

// acked shows the first answer to an inbound.
func (c *Console) acked(ack bot.Ack) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case ack.Whisper != nil:
		c.answer(*ack.Whisper)
	case ack.Update != nil:
		c.answer(*ack.Update)
	case ack.Form != nil:
		c.answer(formCard(*ack.Form))
	}
}

// formCard says in words what a form would ask.
func formCard(f bot.Form) bot.Card {
	card := bot.Card{Title: f.Title, Tone: bot.Bad}
	var words []string
	t := &bot.Table{Head: []string{"value", "meaning"}}
	for _, field := range f.Fields {
		meaning := field.Hint
		if field.Required {
			words = append(words, strings.ToUpper(field.Name))
			if len(field.Options) > 0 {
				var some []string
				for _, o := range field.Options {
					some = append(some, o.Value)
				}
				meaning = strings.Join(some, ", ")
			}
		}
		t.Rows = append(t.Rows, []string{field.Name, meaning})
	}
	line := strings.TrimSpace("/vm " + f.ID + " " + strings.Join(words, " "))
	card.Text = "Say it in one line: " + line
	card.Table = t
	return card
}

// tick draws running clocks anew, until ctx ends.
func (c *Console) tick(ctx context.Context) {
	if !c.cfg.TTY {
		return
	}
	every := tickEvery
	if c.cfg.In != nil {
		every = time.Second // what is being typed is drawn over each time
	}
	for c.clock.Sleep(ctx, every) == nil {
		c.mu.Lock()
		if c.ticking() && c.clock.Now().Sub(c.painted) >= every/2 {
			c.paint(nil)
		}
		c.mu.Unlock()
	}
}

// Failure is what a line came to that did not do what it asked for.
type Failure struct {
	Cards []bot.Card // that say so
}

// Error is the cause, in plain words.
func (f *Failure) Error() string {
	var all []string
	for _, c := range f.Cards {
		text := c.Text
		if c.Job != 0 {
			text = fmt.Sprintf("job %d: %s", c.Job, text)
		}
		all = append(all, strings.TrimSpace(bot.Inert(text)))
	}
	return strings.Join(all, "; ")
}

// RunLine runs one line and shows it, until all its jobs rest. It returns
// their last cards, and a *Failure unless the line did what it asked for.
// While it runs, a [bot.Follower] must be running for this console.
func (c *Console) RunLine(ctx context.Context, h bot.Handler, line string) ([]bot.Card, error) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { c.tick(ctx) })

	c.mu.Lock()
	cardsBefore, answersBefore := len(c.cards), len(c.answers)
	c.mu.Unlock()
	in := c.inbound(bot.Command)
	in.Text = line
	c.acked(h.Triage(ctx, in))
	h.Handle(ctx, in)
	cards, err := c.rest(ctx, cardsBefore)
	if err != nil {
		return cards, err
	}

	var failed []bot.Card
	c.mu.Lock()
	for _, card := range c.answers[answersBefore:] {
		if card.Tone == bot.Bad {
			failed = append(failed, card)
		}
	}
	err = c.err
	c.mu.Unlock()
	for _, card := range cards {
		if card.Tone != bot.Good {
			failed = append(failed, card)
		}
	}
	if len(failed) > 0 {
		return cards, &Failure{Cards: failed}
	}
	return cards, err
}

// rest waits until all cards from the first one on have come to rest: their
// jobs are over, or wait for people.
func (c *Console) rest(ctx context.Context, first int) ([]bot.Card, error) {
	for {
		c.mu.Lock()
		changed, err := c.changed, c.err
		var cards []bot.Card
		moving := false
		for _, s := range c.cards[first:] {
			cards = append(cards, s.card)
			moving = moving || !s.card.Final && s.card.Tone != bot.Asking
		}
		c.mu.Unlock()
		if !moving || err != nil {
			return cards, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return cards, context.Cause(ctx)
		}
	}
}
