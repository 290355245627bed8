package slack

import (
	"context"
	"slices"
	"sync"
	"time"

	"pvebot/cluster"
	"pvebot/provision"
)

// groups knows who is in the user groups that policy speaks of. It is asked on
// the way to an ack, so it answers from memory; when Slack could not be asked
// for too long it says nobody is in any.
type groups struct {
	ids   []string
	clock cluster.Clock

	mu      sync.Mutex
	members map[string][]string // by group
	asked   map[string]time.Time
}

// Slack allows 20 questions a minute in all, one per group.
const (
	groupsEvery = 2 * time.Minute
	groupsStale = 10 * time.Minute
	groupsGap   = 4 * time.Second // between two groups
)

func newGroups(ids []string, clock cluster.Clock) *groups {
	return &groups{ids: slices.Clone(ids), clock: clock, members: map[string][]string{}, asked: map[string]time.Time{}}
}

// of are the roles that a person has by groups.
func (g *groups) of(user string) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock.Now()
	var out []string
	for _, id := range g.ids {
		if now.Sub(g.asked[id]) <= groupsStale && slices.Contains(g.members[id], user) {
			out = append(out, Platform+":"+id)
		}
	}
	return out
}

func (g *groups) set(id string, users []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members[id], g.asked[id] = users, g.clock.Now()
}

// keepGroups asks who is in the groups, again and again.
func (s *Slack) keepGroups(ctx context.Context) {
	if len(s.groups.ids) == 0 {
		return
	}
	for ctx.Err() == nil {
		for _, id := range s.groups.ids {
			err := s.askGroup(ctx, id)
			switch {
			case err == nil:
			case code(err) == "plan_upgrade_required":
				s.log.ErrorContext(ctx, "user groups need a paid plan of Slack; name people by their ids in the policy", "group", id)
				return
			case ctx.Err() == nil:
				s.log.WarnContext(ctx, "can't ask who is in a user group", "group", id, "err", err)
			}
			if s.clock.Sleep(ctx, groupsGap) != nil {
				return
			}
		}
		if s.clock.Sleep(ctx, groupsEvery) != nil {
			return
		}
	}
}

func (s *Slack) askGroup(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	users, err := s.client.GetUserGroupMembersContext(ctx, id)
	if err == nil {
		s.groups.set(id, users)
	}
	return err
}

// RolesOf implements [bot.Roster]: the groups that policy speaks of are asked
// for anew. One that can't be asked for gives no role.
func (s *Slack) RolesOf(ctx context.Context, who provision.Actor, _ provision.Conversation) ([]string, error) {
	var out []string
	for _, id := range s.groups.ids {
		if err := s.askGroup(ctx, id); err != nil {
			s.log.WarnContext(ctx, "can't ask who is in a user group", "group", id, "err", err)
			continue
		}
		if role := Platform + ":" + id; slices.Contains(s.groups.of(who.ID), role) {
			out = append(out, role)
		}
	}
	return out, nil
}
