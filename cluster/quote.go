package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// maxCommandLine is what Linux takes as a single argument (MAX_ARG_STRLEN): a
// command sent over SSH becomes one argument of the login shell's -c.
const maxCommandLine = 128<<10 - 1

// Quote renders argv as one line that every POSIX shell splits into exactly
// these words again. It is the only place of this program where words are
// quoted for a shell. Every word is quoted, also plain ones, so that no word
// can be taken for a keyword, an assignment or an alias. No shell word can
// hold a NUL; runners refuse such an argv before they come here.
func Quote(argv []string) string {
	var b strings.Builder
	for i, word := range argv {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteByte('\'')
		b.WriteString(strings.ReplaceAll(word, `'`, `'\''`))
		b.WriteByte('\'')
	}
	return b.String()
}

// admit says whether c may start at all: every Runner asks it first. Its
// errors wrap ErrNotStarted.
func admit(ctx context.Context, c Cmd) error {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return fmt.Errorf("%w: the command has no name", ErrNotStarted)
	}
	for i, word := range c.Argv {
		if strings.ContainsRune(word, 0) {
			return fmt.Errorf("%w: word %d of the command holds a NUL, which no command can take", ErrNotStarted, i)
		}
	}
	if ctx.Err() != nil {
		return notStarted(context.Cause(ctx))
	}
	return CheckFence(ctx, c)
}

// notStarted marks err as one before which nothing happened.
func notStarted(err error) error {
	if errors.Is(err, ErrNotStarted) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotStarted, err)
}

// lost marks err as one that leaves the command's outcome unknown.
func lost(err error) error { return fmt.Errorf("%w: %w", ErrLost, err) }
