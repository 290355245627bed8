package provision

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"
)

// How often an engine says that it works for its cluster, and how long that
// holds.
const (
	attendEvery = 5 * time.Second
	attendFor   = 15 * time.Second
)

// attend says that this bot works for its cluster, until ctx ends.
func (e *Engine) attend(ctx context.Context) error {
	name := e.kit.cluster.Name()
	for {
		if err := e.store.Attend(ctx, name, e.owner, attendFor); err != nil && ctx.Err() == nil {
			e.log.Error("other bots can't be told that this one works here", "cluster", name, "err", err)
		}
		if err := e.clock.Sleep(ctx, attendEvery); err != nil {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), putDownTime)
			defer cancel()
			if err := e.store.Attend(last, name, e.owner, 0); err != nil {
				e.log.Warn("other bots were not told that this one stops", "cluster", name, "err", err)
			}
			return err
		}
	}
}

// maxReplies is how many questions are answered at once.
const maxReplies = 8

// answer answers what bots that can't reach the cluster ask about it.
func (e *Engine) answer(ctx context.Context) error {
	var replies errgroup.Group
	replies.SetLimit(maxReplies)
	defer replies.Wait() //nolint:errcheck // they have none
	for {
		var err error
		for q, qerr := range e.store.Questions(ctx, e.kit.cluster.Name()) {
			if err = qerr; err != nil {
				break
			}
			replies.Go(func() error { e.reply(ctx, q); return nil })
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e.log.Warn("questions can't be read, trying again", "err", err)
		if err := e.clock.Sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

// inquiry is a question as it travels.
type inquiry struct {
	About topic           `json:"about"`
	Word  string          `json:"word,omitempty"`
	VM    *VMRef          `json:"vm,omitempty"`
	Spec  json.RawMessage `json:"spec,omitempty"` // its stored form
}

// topic is what an inquiry is about. The names are understood by bots of
// other versions.
type topic string

const (
	askVM        topic = "vm"
	askVMs       topic = "vms"
	askSnapshots topic = "snapshots"
	askResources topic = "resources"
	askImages    topic = "images"
	askBaselines topic = "baselines"
	askPrepare   topic = "prepare"
	askPreview   topic = "preview"
)

// reply is an answer as it travels: a value or a problem.
type reply struct {
	Problem *Problem        `json:"problem,omitempty"`
	Value   json.RawMessage `json:"value,omitempty"`
}

// reply answers one question. The asker waits no longer than askFor.
func (e *Engine) reply(ctx context.Context, q Question) {
	patience, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	var a reply
	v, err := e.lookUp(patience, q.Data)
	if err == nil {
		a.Value, err = json.Marshal(v)
	}
	if err != nil {
		a = reply{Problem: ProblemOf(err)}
	}
	data, err := json.Marshal(a)
	if err == nil {
		err = e.store.Answer(ctx, q.ID, data)
	}
	if err != nil && ctx.Err() == nil {
		e.log.Warn("a question was not answered", "err", err)
	}
}

// lookUp finds out what a question asks. A panic is an answer, too.
func (e *Engine) lookUp(ctx context.Context, data []byte) (v any, err error) {
	defer func() {
		if p := recover(); p != nil {
			e.log.Error("answering a question panicked", "panic", p, "stack", string(debug.Stack()))
			err = Errorf(Internal, "the bot of cluster %s has a defect; its log says more", e.kit.cluster.Name())
		}
	}()
	var q inquiry
	if err := json.Unmarshal(data, &q); err != nil {
		return nil, fmt.Errorf("a question can't be read: %w", err)
	}
	var spec Spec
	if q.Spec != nil {
		if spec, err = UnmarshalSpec(q.Spec); err != nil {
			return nil, err
		}
	}
	switch {
	case q.About == askVM:
		return e.FindVM(ctx, q.Word)
	case q.About == askVMs:
		return e.VMs(ctx)
	case q.About == askSnapshots && q.VM != nil:
		return e.Snapshots(ctx, *q.VM)
	case q.About == askResources:
		return e.Resources(ctx)
	case q.About == askImages:
		return e.Images(ctx)
	case q.About == askBaselines:
		return e.Baselines(ctx)
	case q.About == askPrepare && spec != nil:
		if spec, err = e.Prepare(ctx, spec); err != nil {
			return nil, err
		}
		raw, err := MarshalSpec(spec)
		return json.RawMessage(raw), err
	case q.About == askPreview && spec != nil:
		return e.Preview(ctx, spec)
	}
	return nil, Errorf(Internal, "the bot of cluster %s does not understand the question about %.40q: it has another version", e.kit.cluster.Name(), q.About)
}
