package sqlstore

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"pvebot/provision"
)

// A row whose JSON somebody or something broke is one row: all others are shown,
// listed and worked on as ever, and in its place stands what its columns have.

// brokenJob is a job whose row can't be read.
type brokenJob struct {
	id  provision.JobID
	err error
}

func (e *brokenJob) Error() string { return e.err.Error() }
func (e *brokenJob) Unwrap() error { return e.err }

// What is told of a row that can't be read.
const (
	brokenSay = "what the store has of %s can't be read"
	brokenTry = "somebody changed the database by hand, or its disk fails: restore a backup of the store, or mend the row"
)

// unreadable says that a job can't be worked on.
func unreadable(id provision.JobID, err error) error {
	return &provision.Error{Kind: provision.Failed, Say: fmt.Sprintf(brokenSay, fmt.Sprintf("job %d", id)), Try: brokenTry, Err: &brokenJob{id, err}}
}

// unread are the rows that could not be read since the start.
type unread struct {
	mu   sync.Mutex
	told map[string]bool
	jobs []provision.JobID // that no worker takes
}

// skip logs, once, that a row can't be read.
func (s *Store) skip(what string, err error) {
	s.broken.mu.Lock()
	defer s.broken.mu.Unlock()
	if s.broken.told[what] {
		return
	}
	if s.broken.told == nil {
		s.broken.told = map[string]bool{}
	}
	s.broken.told[what] = true
	s.log.Error("a row of the store can't be read, and is left alone", "row", what, "err", err, "try", brokenTry)
}

// leave has workers leave a job alone.
func (s *Store) leave(b *brokenJob) {
	s.skip(fmt.Sprintf("job %d", b.id), b.err)
	s.broken.mu.Lock()
	defer s.broken.mu.Unlock()
	s.broken.jobs = append(s.broken.jobs, b.id)
}

// readable is the condition for jobs that workers do not leave alone, "" when
// there are no others.
func (s *Store) readable(mark func(any) string) string {
	s.broken.mu.Lock()
	defer s.broken.mu.Unlock()
	if len(s.broken.jobs) == 0 {
		return ""
	}
	marks := make([]string, len(s.broken.jobs))
	for i, id := range s.broken.jobs {
		marks[i] = mark(id)
	}
	return ` AND id NOT IN (` + strings.Join(marks, ", ") + `)`
}

// standIn is a job as its columns have it.
func (s *Store) standIn(ctx context.Context, b *brokenJob) (provision.Job, error) {
	s.skip(fmt.Sprintf("job %d", b.id), b.err)
	var j provision.Job
	var kind string
	var created, updated int64
	err := s.queryRow(ctx, `SELECT id, order_key, cluster, kind, state, platform, actor, vmid, seq, created, updated FROM jobs WHERE id = $1`, b.id).
		Scan(&j.ID, &j.Order.Key, &j.Order.Cluster, &kind, &j.State, &j.Order.By.Platform, &j.Order.By.ID, &j.Facts.VMID, &j.Seq, &created, &updated)
	if err != nil {
		return provision.Job{}, orNotFound(err, b.id)
	}
	j.Order.Spec = provision.UnreadSpec(kind)
	j.Created = time.UnixMicro(created).UTC()
	if j.State.Final() {
		j.Ended = time.UnixMicro(updated).UTC()
	}
	j.Problem = &provision.Problem{Kind: provision.Failed, Say: fmt.Sprintf(brokenSay, "this job"), Try: brokenTry, Cause: b.Error()}
	return j, nil
}
