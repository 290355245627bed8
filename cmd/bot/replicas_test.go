package main

import (
	"bufio"
	"context"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pvebot/bot"
	"pvebot/cluster/pvesim"
	"pvebot/cmd/bot/torture"
	"pvebot/provision"
	"pvebot/provision/sqlstore"
	"pvebot/provision/sqlstore/pgtest"
)

var testReplicas = flag.Bool("replicas", false, "let several bots work on one PostgreSQL store, which takes a minute")

// replicaLease is the lease term of the bots of TestReplicas.
const replicaLease = 2 * time.Second

// crew are several bots on one store.
type crew struct {
	t     *testing.T
	ctx   context.Context
	sim   *pvesim.Sim
	chat  *torture.Chat
	db    *sql.DB
	store provision.Store
	env   []string
	dir   string
	lives map[string]life
	n     int // orders
}

// TestReplicas lets bots on one store share the work, and kills, freezes and
// replaces them.
func TestReplicas(t *testing.T) {
	if !*testReplicas {
		t.Skip("it takes minutes: go test -run TestReplicas ./cmd/bot -replicas")
	}
	url := pgtest.URL(t)
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	c := &crew{t: t, ctx: ctx, chat: torture.NewChat(t), dir: t.TempDir(), lives: map[string]life{}}
	c.sim = pvesim.Start(t, pvesim.Options{Empty: true, Statd: -1, Latency: pvesim.Latency{Boot: 10 * time.Millisecond, Import: time.Second, Start: time.Second}})
	policy := filepath.Join(c.dir, "policy.yaml")
	if err := os.WriteFile(policy, []byte(torturePolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	c.env = append(c.sim.Env(), "STORE_URL="+url, "PORT=0", "POLICY_FILE="+policy, "LOG_LEVEL=error", "HOME="+c.dir,
		"LEASE="+replicaLease.String(), "WORKERS=8", childChat+"="+c.chat.URL)
	for _, name := range []string{"a", "b", "c"} {
		c.start(name)
	}
	t.Cleanup(func() {
		for _, l := range c.lives {
			l.kill()
		}
	})
	var err error
	if c.db, err = sql.Open("pgx", url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.db.Close() })
	if c.store, err = sqlstore.Open(t.Context(), url, sqlstore.Options{ReadOnly: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.store.Close() })

	c.share()
	c.kill()
	c.freeze()
	c.lead()
	c.roll()

	c.settle()
	var acked strings.Builder
	files, _ := filepath.Glob(filepath.Join(c.dir, "acked-*"))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		acked.Write(text)
	}
	all := filepath.Join(c.dir, "acked")
	if err := os.WriteFile(all, []byte(acked.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	report := torture.Look(t, c.store, all)
	if report.Ends[provision.StateSucceeded] != c.n {
		t.Errorf("of %d orders: %v", c.n, report)
	}
	if orphans := c.sim.Orphans(); len(orphans) > 0 || len(c.sim.VMs()) != c.n {
		t.Errorf("%d orders made %d VMs and the orphans %v", c.n, len(c.sim.VMs()), orphans)
	}
	t.Logf("in the end: %v", report)
}

// start starts a bot called name.
func (c *crew) start(name string) {
	c.t.Helper()
	c.lives[name] = serve(c.t, append(c.env, childName+"="+name, childAcked+"="+c.acked(name))...)
}

func (c *crew) acked(name string) string { return filepath.Join(c.dir, "acked-"+name) }

// order orders n VMs and returns when that was acknowledged.
func (c *crew) order(n int) {
	c.t.Helper()
	for range n {
		c.n++
		in := bot.Inbound{ID: fmt.Sprint("order-", c.n), Kind: bot.Command, By: dev, Text: fmt.Sprintf("/vm install ubuntu --name r%d --cpu 1 --ram 512M", c.n)}
		if err := c.chat.Deliver(c.ctx, in); err != nil {
			c.t.Fatal(err)
		}
	}
}

// settle waits until all that was ordered is over, and its cards say so.
func (c *crew) settle() {
	c.t.Helper()
	torture.Settled(c.ctx, c.t, c.store, c.chat, c.n)
}

// until waits until cond holds and returns how long that took.
func (c *crew) until(what string, cond func() bool) time.Duration {
	c.t.Helper()
	began := time.Now()
	for !cond() {
		if c.ctx.Err() != nil {
			c.t.Fatalf("never: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(began)
}

// owns lists the jobs that a bot holds.
func (c *crew) owns(name string) (ids []int64) {
	c.t.Helper()
	return c.ask(`SELECT id FROM jobs WHERE owner LIKE '%/' || $1::text || '/%' AND lease_until > 0`, fmt.Sprint(c.lives[name].cmd.Process.Pid))
}

func (c *crew) ask(query string, args ...any) (ids []int64) {
	c.t.Helper()
	rows, err := c.db.QueryContext(c.ctx, query, args...)
	if err != nil {
		c.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			c.t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// share: each bot has its part of the work.
func (c *crew) share() {
	c.order(12)
	c.settle()
	for name := range c.lives {
		n := len(c.wrote(name))
		c.t.Logf("bot %s wrote of %d jobs", name, n)
		if n == 0 {
			c.t.Errorf("bot %s did nothing", name)
		}
	}
}

// wrote are the jobs that a bot wrote events of, with how many.
func (c *crew) wrote(name string) map[int64]int {
	jobs := map[int64]int{}
	f, err := os.Open(c.acked(name))
	if err != nil {
		return jobs
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var id int64
		if n, _ := fmt.Sscan(lines.Text(), &id); n == 1 {
			jobs[id]++
		}
	}
	return jobs
}

// kill: what a killed bot did, others do.
func (c *crew) kill() {
	c.order(9)
	c.until("bot a has jobs", func() bool { return len(c.owns("a")) > 0 })
	c.lives["a"].kill()
	left := c.owns("a")
	took := c.until("others have its jobs", func() bool { return len(c.owns("a")) == 0 })
	c.t.Logf("a killed bot's %d jobs were taken over within %v (the lease is %v)", len(left), took.Round(10*time.Millisecond), replicaLease)
	c.settle()
	c.start("a")
}

// freeze: a bot that was frozen for longer than its lease touches nothing of
// what it had, when it wakes.
func (c *crew) freeze() {
	c.order(9)
	c.until("bot b has jobs", func() bool { return len(c.owns("b")) > 0 })
	frozen := c.lives["b"].cmd.Process
	if err := frozen.Signal(syscall.SIGSTOP); err != nil {
		c.t.Fatal(err)
	}
	left := c.owns("b")
	took := c.until("others have its jobs", func() bool { return len(c.owns("b")) == 0 })
	c.t.Logf("a frozen bot's %d jobs were taken over within %v", len(left), took.Round(10*time.Millisecond))
	c.until("they are over", func() bool {
		return len(c.ask(`SELECT id FROM jobs WHERE state NOT IN ('succeeded', 'failed', 'cancelled', 'parked')`)) == 0
	})
	var vmids []string
	for _, id := range left {
		job, err := c.store.Job(c.ctx, provision.JobID(id))
		if err != nil {
			c.t.Fatal(err)
		}
		vmids = append(vmids, fmt.Sprint(job.Facts.VMID))
	}
	wrote, ran := len(c.wrote("b")), len(c.sim.Ran())
	asleep, err := c.store.Position(c.ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := frozen.Signal(syscall.SIGCONT); err != nil {
		c.t.Fatal(err)
	}
	c.until("it works again", func() bool { c.order(1); c.settle(); return len(c.wrote("b")) > wrote })
	for _, id := range left {
		for e, err := range c.store.Events(c.ctx, provision.JobID(id), 0) {
			if err != nil || e.Pos > asleep {
				c.t.Errorf("job %d was over, and has a new event since the frozen bot woke: %+v, %v", id, e, err)
			}
		}
	}
	for _, r := range c.sim.Ran()[ran:] {
		if r.Argv[0] == "qm" && len(r.Argv) > 2 && slices.Contains([]string{"create", "set", "resize", "start", "stop", "destroy"}, r.Argv[1]) && slices.Contains(vmids, r.Argv[2]) {
			c.t.Errorf("the frozen bot ran %s after it woke", r)
		}
	}
}

// lead: the one that writes the cards is another one when it is killed.
func (c *crew) lead() {
	leader := func() string {
		var owner string
		err := c.db.QueryRowContext(c.ctx, `SELECT owner FROM roles WHERE name = 'cards/`+torture.Platform+`' AND expires > extract(epoch FROM clock_timestamp()) * 1000000`).Scan(&owner)
		if err != nil {
			return ""
		}
		for name, l := range c.lives {
			if strings.Contains(owner, fmt.Sprintf("/%d/", l.cmd.Process.Pid)) {
				return name
			}
		}
		return ""
	}
	c.until("somebody leads", func() bool { return leader() != "" })
	old := leader()
	c.order(3)
	c.lives[old].kill()
	took := c.until("another one leads", func() bool { now := leader(); return now != "" && now != old })
	c.t.Logf("the cards have another writer after %v", took.Round(10*time.Millisecond))
	before := len(c.chat.Editors())
	c.settle()
	if now := c.chat.Editors()[before:]; len(now) > 1 {
		c.t.Errorf("cards were edited by %v in turn", now)
	}
	c.start(old)
}

// roll: each bot in turn is asked to end, and another takes its place, while
// people go on ordering.
func (c *crew) roll() {
	for _, name := range []string{"a", "b", "c"} {
		c.order(1)
		old := c.lives[name]
		if err := old.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			c.t.Fatal(err)
		}
		c.order(2)
		<-old.gone
		c.start(name)
	}
	c.settle()
}
