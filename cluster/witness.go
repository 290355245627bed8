package cluster

import (
	"context"
	"regexp"
	"strconv"
	"strings"
)

// Ran is a command that changes something, and what came of it.
type Ran struct {
	Where string // the node, or the guest
	Line  string // as a person would type it, on one line and without secrets; "" for the end of a task
	Task  string // the key of the node task that it is, "" for a short command
	// Err is how the command ended, as a Runner has it; nil: well. Of a task
	// there are two: one when it began, or did not, and one when it ended.
	Err error
}

type witnessKey struct{}

// WithWitness returns a context under which see is told of every command that
// changes something and may have run, right after it did. It may be called by
// many goroutines at once. What is done to the books of a task (Forget) is not
// told.
func WithWitness(ctx context.Context, see func(Ran)) context.Context {
	return context.WithValue(ctx, witnessKey{}, see)
}

// Tell is called by whoever ran something, with what the witness of ctx should
// know.
func Tell(ctx context.Context, r Ran) {
	if see, ok := ctx.Value(witnessKey{}).(func(Ran)); ok {
		see(r)
	}
}

// plainWord needs no quotes to be read as one word.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// Shown is a command as people are shown it; see Ran.
func Shown(argv []string) string {
	if name := commandName(argv); len(argv) > 3 && name == argv[3] { // one of our scripts
		argv = argv[3:]
	}
	words := make([]string, len(argv))
	for i, word := range argv {
		switch {
		case i > 0 && argv[i-1] == "--cipassword":
			word = "[hidden]"
		case !plainWord.MatchString(word):
			word = strconv.Quote(word)
		}
		words[i] = word
	}
	return strings.Join(words, " ")
}
