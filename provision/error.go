package provision

import (
	"errors"
	"fmt"
)

// Kind is what an error means for code: which HTTP status, which icon.
type Kind string

// The kinds of errors.
const (
	Invalid     Kind = "invalid"     // the request makes no sense as it stands
	NotFound    Kind = "not_found"   // it names something that is not there
	Denied      Kind = "denied"      // the asker may not
	Conflict    Kind = "conflict"    // the state of the thing forbids it
	Busy        Kind = "busy"        // another job has it; later
	Full        Kind = "full"        // no address, no space, no memory left
	Unavailable Kind = "unavailable" // a node, the cluster or the guest does not answer
	Failed      Kind = "failed"      // it was tried and went wrong
	Cancelled   Kind = "cancelled"   // somebody did not want it any more
	Internal    Kind = "internal"    // our own fault
)

// Error has a kind for code, a sentence for people and a cause for the
// operator.
type Error struct {
	Kind Kind
	Say  string // a sentence for people, without a final stop
	Try  string // what to do next, "" when there is nothing
	Err  error  // the cause, for logs; may be nil
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Say
	}
	return fmt.Sprintf("%s: %v", e.Say, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error of kind with a formatted sentence.
func Errorf(kind Kind, format string, a ...any) *Error {
	return &Error{Kind: kind, Say: fmt.Sprintf(format, a...)}
}

// KindOf is the kind of err: Internal unless an *Error is in its chain.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// Explain splits err into what people are told: the sentence and what to try.
// Of a foreign error the whole text is the sentence.
func Explain(err error) (say, try string) {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Say, e.Try
	}
	return err.Error(), ""
}
