package slack

import (
	"context"
	"fmt"
	"sync"
	"time"

	api "github.com/slack-go/slack"

	"pvebot/cluster"
	"pvebot/provision"
)

// markType is the event type of the metadata that our posts carry: a mark by
// which a post can be found whose answer was lost.
const markType = "pvebot_card"

// lostPosts are the posts that may or may not be in a channel.
type lostPosts struct {
	clock cluster.Clock
	mu    sync.Mutex
	posts map[string]lostPost
}

type lostPost struct {
	marks map[string]bool
	since time.Time
}

// lostTime is how long a lost post is remembered.
const lostTime = time.Hour

func newLostPosts(clock cluster.Clock) *lostPosts {
	return &lostPosts{clock: clock, posts: map[string]lostPost{}}
}

func lostKey(channel string, job provision.JobID) string { return fmt.Sprintf("%s/%d", channel, job) }

func (l *lostPosts) add(channel string, job provision.JobID, mark string, since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, p := range l.posts {
		if l.clock.Now().Sub(p.since) > lostTime {
			delete(l.posts, k)
		}
	}
	p, ok := l.posts[lostKey(channel, job)]
	if !ok {
		p = lostPost{marks: map[string]bool{}, since: since}
	}
	p.marks[mark] = true
	l.posts[lostKey(channel, job)] = p
}

func (l *lostPosts) get(channel string, job provision.JobID) (lostPost, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.posts[lostKey(channel, job)]
	return p, ok
}

func (l *lostPosts) forget(channel string, job provision.JobID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.posts, lostKey(channel, job))
}

// findLost looks for an earlier post of the job whose answer was lost. Without
// the right to read the channel it finds nothing, and the worst that follows is
// a second message. What it does not find is forgotten.
func (s *Slack) findLost(ctx context.Context, channel string, job provision.JobID) (found place, ok bool) {
	p, ok := s.lost.get(channel, job)
	if !ok {
		return place{}, false
	}
	defer func() {
		if !ok {
			s.lost.forget(channel, job)
		}
	}()
	// Slack's clock and ours may differ.
	oldest := p.since.Add(-5 * time.Minute)
	h, err := s.client.GetConversationHistoryContext(ctx, &api.GetConversationHistoryParameters{
		ChannelID: channel, Oldest: fmt.Sprintf("%d.000000", oldest.Unix()), Limit: 200, IncludeAllMetadata: true,
	})
	if err != nil {
		s.log.InfoContext(ctx, "can't look for a post whose answer was lost; posting again", "job", job, "channel", channel, "err", err)
		return place{}, false
	}
	for _, m := range h.Messages {
		mark, _ := m.Metadata.EventPayload["mark"].(string)
		if m.Metadata.EventType == markType && p.marks[mark] {
			return place{Channel: channel, TS: m.Timestamp}, true
		}
	}
	return place{}, false
}
