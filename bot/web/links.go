package web

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"time"

	"pvebot/cluster"
	"pvebot/provision"
)

// links remembers in the store's inbox which login links were taken: one works
// once, whichever bot it is taken to, and after a restart, too. A mark is an
// interaction of the platform takenLinks that is handled as soon as the link is
// too old anyway; after that it is pruned as all others are.
type links struct {
	store provision.Store
	clock cluster.Clock
}

const takenLinks = "login"

// mark says that a link was taken.
type mark struct {
	By    string    `json:"by"` // the very request, by a random name
	Until time.Time `json:"until"`
}

// take uses a link's ticket up; false when somebody did before.
func (l links) take(ctx context.Context, t ticket) (bool, error) {
	mine := mark{By: rand.Text(), Until: t.Until}
	data, err := json.Marshal(mine)
	if err != nil {
		return false, err
	}
	news, err := l.store.Accept(ctx, provision.Inbox{Platform: takenLinks, ID: t.Once, Data: data})
	if err != nil || !news {
		return false, errLinks(err)
	}
	// An inbox takes an interaction rather twice than never. Of links that is
	// not good enough: whose mark is there has taken it.
	marks, err := l.marks(ctx)
	return marks[t.Once].By == mine.By, err
}

// fresh reports whether a link's ticket can still be taken.
func (l links) fresh(ctx context.Context, t ticket) (bool, error) {
	marks, err := l.marks(ctx)
	_, used := marks[t.Once]
	return !used && err == nil, err
}

// marks are those of links that could be taken otherwise, by ticket. The inbox
// may forget the others from now on.
func (l links) marks(ctx context.Context) (map[string]mark, error) {
	rows, err := l.store.Unhandled(ctx, takenLinks)
	if err != nil {
		return nil, errLinks(err)
	}
	all := map[string]mark{}
	for _, row := range rows {
		var m mark
		if err := json.Unmarshal(row.Data, &m); err == nil && l.clock.Now().Before(m.Until) {
			all[row.ID] = m
		} else if err := l.store.Handled(ctx, takenLinks, row.ID); err != nil {
			return nil, errLinks(err)
		}
	}
	return all, nil
}

func errLinks(err error) error {
	if err == nil {
		return nil
	}
	return &provision.Error{
		Kind: provision.Unavailable, Say: "the store does not say whether this link was used before",
		Try: "try the link again in a moment", Err: err,
	}
}
