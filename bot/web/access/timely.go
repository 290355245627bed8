package access

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"pvebot/cluster"
	"pvebot/provision"
)

// AnswerTime is how long a handler has to find its answer. It is less than the
// server gives for writing it, by what storing an order may take: nobody is left
// without an answer because a node does not give one.
const AnswerTime = 20 * time.Second

// errSlow ends the context of a request that took too long.
var errSlow = errors.New("the answer took too long")

// Timely ends the context of each request to next after AnswerTime. Streams, and
// what sets a limit of its own on writing, are under that from then on. Who only
// looks is a reader of the cluster.
func Timely(next http.Handler, clock cluster.Clock) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, end := context.WithCancelCause(r.Context())
		watched, lift := context.WithCancel(ctx)
		var watching sync.WaitGroup
		watching.Go(func() {
			if clock.Sleep(watched, AnswerTime) == nil {
				end(errSlow)
			}
		})
		defer func() { end(nil); lift(); watching.Wait() }()
		asked := new(cluster.Asked)
		ctx = context.WithValue(cluster.WithAsked(ctx, asked), askedKey{}, asked)
		if r.Method == http.MethodGet {
			ctx = cluster.AsReader(ctx)
		}
		next.ServeHTTP(&timely{w, lift}, r.WithContext(ctx))
	})
}

type askedKey struct{}

// timely lifts the limit when the handler sets its own.
type timely struct {
	http.ResponseWriter
	lift func()
}

// SetWriteDeadline is for http.ResponseController.
func (t *timely) SetWriteDeadline(at time.Time) error {
	t.lift()
	return http.NewResponseController(t.ResponseWriter).SetWriteDeadline(at)
}

// Unwrap is for http.ResponseController.
func (t *timely) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// Late says whether the request of ctx failed with err because it took too long,
// and what to say then. The status is 504.
func Late(ctx context.Context, err error) (why error, late bool) {
	if !errors.Is(context.Cause(ctx), errSlow) {
		return err, false
	}
	say := "there was no answer in time"
	if asked, ok := ctx.Value(askedKey{}).(*cluster.Asked); ok && asked.Node() != "" {
		say = "node " + asked.Node() + " does not answer"
	}
	return &provision.Error{Kind: provision.Unavailable, Say: say, Try: "look at the node, and ask again; nothing was changed", Err: err}, true
}
