// Package console is the terminal as a chat platform. On a terminal a job is
// one message that changes in place; where output is not a terminal each step
// is a line when it begins and when it ends.
package console

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"pvebot/bot"
	"pvebot/cluster"
	"pvebot/provision"
)

// Platform is the name of this platform.
const Platform = "console"

// Config says what a Console is connected to. Out and Actor are required.
type Config struct {
	// In is read for lines, of which each is a command; nil: there are none,
	// and buttons are not shown.
	In  io.Reader
	Out io.Writer
	// TTY says that Out understands escape sequences.
	TTY bool
	// Width and Height ask for the size of the terminal, in columns and rows,
	// before each drawing; nil, or 0, means 80 and 24.
	Width, Height func() int
	// NoColor leaves colours out also on a TTY (https://no-color.org).
	NoColor bool
	// Details shows the lines of a job's thread, too.
	Details bool
	Actor   provision.Actor // who sits here
	Clock   cluster.Clock   // default: the system's
}

// Console implements [bot.Adapter]. Make it with New.
type Console struct {
	cfg   Config
	clock cluster.Clock

	mu      sync.Mutex
	cards   []*shown
	answers []bot.Card     // to what was asked here
	numbers map[string]int // of buttons, by id: what to type to press them
	asked   string         // the button whose confirmation was asked for
	changed chan struct{}  // closed and replaced when a card changes
	screen  screen
	painted time.Time // when the screen was last drawn
	err     error     // of the first write that failed
}

// shown is a card as it was last drawn.
type shown struct {
	card bot.Card
	at   time.Time // when card was made
	plain
}

// process tells this process's refs from those of others, which count from 0, too.
var process = rand.Text()

// New makes a Console.
func New(cfg Config) *Console {
	c := &Console{cfg: cfg, clock: cfg.Clock, numbers: map[string]int{}, changed: make(chan struct{})}
	if c.clock == nil {
		c.clock = cluster.SystemClock{}
	}
	return c
}

// Name implements bot.Adapter.
func (c *Console) Name() string { return Platform }

// Pace implements bot.Adapter: a terminal has no limit but the eye's.
func (c *Console) Pace() bot.Pace { return bot.Pace{PerSecond: 50, Burst: 50} }

// Where is the one conversation there is.
func (c *Console) Where() provision.Conversation { return provision.Conversation{Platform: Platform} }

// Post implements bot.Adapter.
func (c *Console) Post(ctx context.Context, _ provision.Conversation, card bot.Card) (bot.Ref, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cards = append(c.cards, &shown{})
	i := len(c.cards) - 1
	c.show(i, card)
	return bot.Ref(strconv.Quote(fmt.Sprintf("%s/%d", process, i))), c.err
}

// Edit implements bot.Adapter.
func (c *Console) Edit(ctx context.Context, at bot.Ref, card bot.Card) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	i, err := c.find(at)
	if err != nil {
		return err
	}
	c.show(i, card)
	return c.err
}

// Say implements bot.Adapter. Without Config.Details threads are not shown.
func (c *Console) Say(ctx context.Context, at bot.Ref, lines []string) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	i, err := c.find(at)
	if err != nil || !c.cfg.Details {
		return err
	}
	var out []bot.Line
	for _, line := range lines {
		out = append(out, bot.Line{Text: c.tag(i) + "  | " + bot.Inert(line), Look: bot.LookDim})
	}
	c.print(out)
	return c.err
}

// Whisper implements bot.Adapter: there is nobody else to hear it.
func (c *Console) Whisper(ctx context.Context, _ bot.Inbound, card bot.Card) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer(card)
	return c.err
}

// answer prints an answer; c.mu is held.
func (c *Console) answer(card bot.Card) {
	c.answers = append(c.answers, card)
	c.print(bot.Text(card))
}

// find reads a ref; c.mu is held.
func (c *Console) find(at bot.Ref) (int, error) {
	text, err := strconv.Unquote(string(at))
	number, ours := strings.CutPrefix(text, process+"/")
	i, nerr := strconv.Atoi(number)
	if !ours || i < 0 || i >= len(c.cards) || err != nil || nerr != nil {
		// A ref of an earlier process: its terminal is gone.
		return 0, fmt.Errorf("message %s: %w", at, bot.ErrGone)
	}
	return i, nil
}

// show takes in a card and draws what changed; c.mu is held.
func (c *Console) show(i int, card bot.Card) {
	s := c.cards[i]
	before := s.card
	s.card, s.at = card, c.clock.Now()
	if c.cfg.In != nil {
		for _, b := range card.Buttons {
			if c.numbers[b.ID] == 0 {
				c.numbers[b.ID] = len(c.numbers) + 1
			}
		}
	}
	if c.cfg.TTY {
		c.draw(before, i)
	} else {
		c.write(s.news(before, card, c.tag(i), c.buttonLine(card), s.at))
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// tag tells cards apart where several are told of in turn.
func (c *Console) tag(i int) string {
	if len(c.cards) < 2 || c.cards[i].card.Job == 0 {
		return ""
	}
	return fmt.Sprintf("job %d ", c.cards[i].card.Job)
}

// buttonLine tells which numbers press which buttons, "" when none can be.
func (c *Console) buttonLine(card bot.Card) string {
	if c.cfg.In == nil || len(card.Buttons) == 0 {
		return ""
	}
	line := ""
	for _, b := range card.Buttons {
		line += fmt.Sprintf("  (%d) %s", c.numbers[b.ID], bot.Inert(b.Label))
	}
	return line
}

func (c *Console) width() int  { return size(c.cfg.Width, 80) }
func (c *Console) height() int { return size(c.cfg.Height, 24) }

func size(ask func() int, otherwise int) int {
	if ask == nil {
		return otherwise
	}
	return cmp.Or(max(0, ask()), otherwise)
}

// inbound is what the person at the console did.
func (c *Console) inbound(kind bot.InboundKind) bot.Inbound {
	return bot.Inbound{
		Platform: Platform, ID: rand.Text(), Kind: kind, By: c.cfg.Actor,
		Where: c.Where(), At: c.clock.Now(),
	}
}

// pressed finds the button with that number; c.mu is held.
func (c *Console) pressed(number int) (bot.Button, bool) {
	for _, s := range slices.Backward(c.cards) {
		for _, b := range s.card.Buttons {
			if c.numbers[b.ID] == number {
				return b, true
			}
		}
	}
	return bot.Button{}, false
}
