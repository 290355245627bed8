package provision

import (
	"context"
	"encoding/json"
	"iter"
	"time"
)

// Switchboard is the part of a Store through which bots ask each other: those
// that people talk to, and those that work for a cluster that the others can't
// reach. All that they need to have in common is the store.
type Switchboard interface {
	// Attend says that owner works for cluster, for ttl from now on. Without a
	// ttl it says that it does so no more.
	Attend(ctx context.Context, cluster, owner string, ttl time.Duration) error
	// Attended is until when somebody attends to cluster: a time that is over
	// when nobody does any more, the zero time when nobody ever did. now is the
	// store's time.
	Attended(ctx context.Context, cluster string) (until, now time.Time, err error)
	// Ask puts a question, any JSON, to whoever attends to cluster and waits
	// for the answer until ctx ends (whose cause is the error then).
	// ErrUnattended, at once, when nobody attends to it or the last one who did
	// is gone. A question is answered once or never; asking again is another.
	Ask(ctx context.Context, cluster string, question json.RawMessage) (answer json.RawMessage, err error)
	// Questions yields the questions about cluster as they come, each to one
	// reader, until ctx ends (whose cause is the last error) or the store is
	// closed (ErrClosed).
	Questions(ctx context.Context, cluster string) iter.Seq2[Question, error]
	// Answer answers a question. That nobody waits for it any more is fine.
	Answer(ctx context.Context, id string, answer json.RawMessage) error
}

// Question is what somebody wants to know about a cluster.
type Question struct {
	ID   string
	Data json.RawMessage
}
