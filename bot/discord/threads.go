package discord

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"unicode/utf8"

	"pvebot/bot"
)

// thread is what this process knows of a card's thread.
type thread struct {
	fresh bool // there is none yet: the card was just posted
	flat  bool // there can be none: lines go below the card
	final bool // the card says its last word
}

// threads remember what is known of each, by message.
type threads struct {
	mu    sync.Mutex
	known map[string]*thread
}

func newThreads() *threads { return &threads{known: map[string]*thread{}} }

// maxThreads: of those that are forgotten a call more tells.
const maxThreads = 2000

// change changes what is known of a thread and returns it.
func (t *threads) change(message string, f func(*thread)) thread {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.known[message]
	if k == nil {
		if len(t.known) >= maxThreads {
			clear(t.known)
		}
		k = &thread{}
		t.known[message] = k
	}
	f(k)
	return *k
}

func (t *threads) get(message string) thread { return t.change(message, func(*thread) {}) }

// Say implements [bot.Adapter]. Where there can be no thread, as in a thread,
// the lines go below the card.
func (d *Discord) Say(ctx context.Context, ref bot.Ref, lines []string) error {
	at, err := placeOf(ref)
	if err != nil {
		return err
	}
	for _, text := range spoken(lines) {
		if err := d.say(ctx, at, text); err != nil {
			return mapped(err)
		}
	}
	if d.threads.get(at.Message).final {
		d.archive(ctx, at.Message)
	}
	return nil
}

// say says one message.
func (d *Discord) say(ctx context.Context, at place, text string) error {
	// Each step leads to another one at most once.
	made, woken, blocked := false, false, false
	if d.threads.get(at.Message).fresh {
		if err := d.openThread(ctx, at); err != nil {
			return err
		}
		d.threads.change(at.Message, func(t *thread) { t.fresh = false })
	}
	for {
		to := at.Message
		if d.threads.get(at.Message).flat {
			to = at.Channel
		}
		err := d.line(ctx, to, text)
		switch code(err) {
		case codeUnknownChannel, codeUnknownMessage:
			if made || to != at.Message {
				return err
			}
			made = true
			if err := d.openThread(ctx, at); err != nil {
				return err
			}
		case codeArchived:
			if woken {
				return err
			}
			woken = true
			if err := d.unarchive(ctx, to); err != nil {
				return err
			}
		case codeAutoMod, codeHarmfulLink, codeInvalidForm:
			if blocked {
				return nil // not even that; the card tells the rest
			}
			blocked = true
			text = "Discord does not let me show what was said here."
		default:
			return err
		}
	}
}

func (d *Discord) line(ctx context.Context, channel, text string) error {
	m := message{Content: text, Embeds: noEmbeds, Components: noComponents, Nonce: newNonce(), Once: true}
	return d.call(ctx, request{
		what: "write to the thread", method: http.MethodPost, path: "/channels/" + channel + "/messages",
		body: m, bucket: "/channels/" + channel + "/messages", again: true,
	}, nil)
}

const (
	threadName = "details"
	dayOfQuiet = 1440 // minutes, after which Discord puts a thread away
)

func (d *Discord) openThread(ctx context.Context, at place) error {
	err := d.call(ctx, request{
		what: "open a thread", method: http.MethodPost, path: "/channels/" + at.Channel + "/messages/" + at.Message + "/threads",
		body: map[string]any{"name": threadName, "auto_archive_duration": dayOfQuiet}, bucket: "/channels/" + at.Channel + "/threads",
	}, nil)
	switch code(err) {
	case codeThreadExists:
		return nil
	case codeWrongChannel:
		d.threads.change(at.Message, func(t *thread) { t.flat = true })
		return nil
	}
	return err
}

// ended takes note of a job's last word, and puts its thread away; what is said
// after that opens it again, and puts it away once more.
func (d *Discord) ended(ctx context.Context, at place, final bool) {
	if t := d.threads.change(at.Message, func(t *thread) { t.final = final }); t.final {
		d.archive(ctx, at.Message)
	}
}

// archive puts a thread away, if there is one.
func (d *Discord) archive(ctx context.Context, thread string) {
	if t := d.threads.get(thread); t.flat || t.fresh {
		return
	}
	if err := d.setArchived(ctx, thread, true); err != nil {
		d.log.DebugContext(ctx, "a thread stays open", "thread", thread, "err", err)
	}
}

func (d *Discord) unarchive(ctx context.Context, thread string) error {
	return d.setArchived(ctx, thread, false)
}

func (d *Discord) setArchived(ctx context.Context, thread string, archived bool) error {
	return d.call(ctx, request{
		what: "archive a thread", method: http.MethodPatch, path: "/channels/" + thread,
		body: map[string]bool{"archived": archived}, bucket: "/channels/" + thread, again: true,
	}, nil)
}

// spoken are lines as messages of a thread: as many as it takes, since a log
// is not cut, only its lines are.
func spoken(lines []string) []string {
	var out []string
	var b strings.Builder
	size := 0
	flush := func() {
		if b.Len() > 0 {
			out = append(out, fmt.Sprintf("```\n%s```", b.String()))
		}
		b.Reset()
		size = 0
	}
	for _, line := range lines {
		line = fenced(bot.Cut(bot.Inert(line), maxLine))
		n := utf8.RuneCountInString(line) + 1
		if size+n > maxContent-len("```\n```") {
			flush()
		}
		b.WriteString(line + "\n")
		size += n
	}
	flush()
	return out
}
