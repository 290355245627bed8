package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// A Runner runs SHORT commands on one machine: a node or a guest.
//
// Run never retries. Its error is one of
//   - *ExitError: the command ran and ended with a status other than 0;
//   - ErrNotStarted (wrapped): nothing happened, trying again is safe;
//   - ErrLost (wrapped): the command may have run, in part or whole; look
//     before acting again. A context that ends while the command runs gives
//     ErrLost too, wrapping the context's cause.
//
// The Result is filled as far as it is known, also beside an error.
// A Runner may be used by many goroutines at once.
type Runner interface {
	Run(ctx context.Context, c Cmd) (Result, error)
}

// Cmd is a command as data. Whoever hands it to a shell quotes Argv, and does
// so with [Quote] alone.
type Cmd struct {
	Argv  []string // Argv[0] is looked up in the machine's PATH; no word holds a NUL
	Stdin []byte
	// Changes says that the command changes something outside the bot. Such a
	// command is refused once the fence of its context has fallen, see
	// [WithFence].
	Changes bool
	// Line, when set, is called with each line of the command's output as it
	// arrives, standard output and standard error in the order they came in,
	// without the line ending; lines of more than 64 KiB come in pieces. It is
	// called from one goroutine at a time, and never after Run has returned.
	Line func(text string)
}

// runAgain runs c, and once more when it changes nothing and the connection broke
// under it: looking twice is harmless. ErrLost stays what it was when the second
// try did not start.
func runAgain(ctx context.Context, r Runner, c Cmd) (Result, error) {
	res, err := r.Run(ctx, c)
	if c.Changes || !errors.Is(err, ErrLost) || ctx.Err() != nil {
		return res, err
	}
	again, err2 := r.Run(ctx, c)
	if errors.Is(err2, ErrNotStarted) {
		return res, err
	}
	return again, err2
}

// Result is what a command printed. Streams are cut at 4 MiB each.
type Result struct {
	Stdout, Stderr []byte
}

// ExitError says that a command ran and refused.
type ExitError struct {
	Argv   []string // as asked for; secrets never are in it
	Status int      // 128+n after signal n; not a vocabulary: PVE's statuses are stale errnos (PVE: 0 is success, all else is failure)
	Stderr string   // what it said, trimmed
}

func (e *ExitError) Error() string {
	name := commandName(e.Argv)
	if e.Stderr == "" {
		return fmt.Sprintf("%s: exit status %d", name, e.Status)
	}
	return fmt.Sprintf("%s: %s (exit status %d)", name, e.Stderr, e.Status)
}

// commandName is how a command is called in a sentence: its first words, or
// the name that one of our scripts carries as $0.
func commandName(argv []string) string {
	if len(argv) > 3 && argv[0] == "sh" && argv[1] == "-c" {
		return argv[3]
	}
	return strings.Join(argv[:min(len(argv), 3)], " ")
}

var (
	// ErrNotStarted: the command did not start; nothing happened.
	ErrNotStarted = errors.New("command not started")
	// ErrLost: the connection broke or the time ran out while the command
	// ran; it may have happened.
	ErrLost = errors.New("command's outcome is unknown")
	// ErrNoNode: the cluster has no node of that name, or it is not
	// configured here.
	ErrNoNode = errors.New("no such node")
)

type fenceKey struct{}

// WithFence returns a context under which a command that Changes something
// first asks fence, and is refused with its error (wrapped together with
// ErrNotStarted) when there is one. The engine puts the lease's age there, so
// that a worker that lost its job cannot touch the cluster any more.
func WithFence(ctx context.Context, fence func() error) context.Context {
	return context.WithValue(ctx, fenceKey{}, fence)
}

// CheckFence is called by every Runner before it starts c.
func CheckFence(ctx context.Context, c Cmd) error {
	if !c.Changes {
		return nil
	}
	fence, ok := ctx.Value(fenceKey{}).(func() error)
	if !ok {
		return nil
	}
	if err := fence(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotStarted, err)
	}
	return nil
}
