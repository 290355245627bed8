package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pvebot/cluster"
	"pvebot/cluster/pvesim"
	"pvebot/cluster/pvesim/simtest"
	"pvebot/commands"
	"pvebot/provision"
	"pvebot/provision/sqlstore"
)

var upgradeFrom = flag.String("upgrade.from", "", "an earlier version's `test binary` of this package, whose jobs TestUpgrade finishes")

const (
	upgradePolicy = "roles:\n  all: {members: http/local, allow: [{verbs: all, scope: all}]}\napprovals: []\n"
	firstGuest    = 300
)

// upgrade is an earlier version at work on a cluster, and what finishes its
// jobs when it was killed.
type upgrade struct {
	t    *testing.T
	sim  *pvesim.Sim
	dir  string
	env  []string // of both versions
	jobs int
}

// TestUpgrade kills an earlier version of the bot at each border of each step of
// a job, as torture.Deadly has them, and lets this one go on: every job succeeds,
// and its VM is what was ordered. .ci/upgrade builds the earlier version.
func TestUpgrade(t *testing.T) {
	if *upgradeFrom == "" {
		t.Skip("it takes an earlier version: .ci/upgrade")
	}
	for _, tt := range []struct {
		verb, line string // of the order; %d is the VM
		want       func(u *upgrade, vmid int) error
	}{
		{"install", "/vm install ubuntu 24.04 --name g%d --cpu 1 --ram 512M", (*upgrade).installed},
		{"migrate", "/vm migrate %d pve2", (*upgrade).migrated},
		{"destroy", "/vm destroy %d", (*upgrade).destroyed},
		{"rollback", "/vm rollback %d before", (*upgrade).rolledBack},
	} {
		t.Run(tt.verb, func(t *testing.T) {
			t.Parallel()
			u := newUpgrade(t, tt.verb)
			died := 0
			for border := 0; ; border++ {
				vmid := firstGuest + border
				if !u.dies(fmt.Sprintf(tt.line, vmid)) {
					break
				}
				died++
				job := u.finish()
				if died == 1 {
					u.skip(job)
				}
				if job.State != provision.StateSucceeded {
					t.Fatalf("%s: job %d %s: %+v", u.lastBorder(), job.ID, job.State, job.Problem)
				}
				if job.Facts.VMID != 0 {
					vmid = job.Facts.VMID
				}
				if err := tt.want(u, vmid); err != nil {
					t.Fatalf("%s: %v", u.lastBorder(), err)
				}
			}
			if orphans := u.sim.Orphans(); len(orphans) > 0 {
				t.Errorf("orphans: %v", orphans)
			}
			if died < 4 {
				t.Errorf("it died only %d times", died)
			}
			t.Logf("%d jobs of %d borders were finished", u.jobs, died)
		})
	}
}

func newUpgrade(t *testing.T, verb string) *upgrade {
	u := &upgrade{t: t, dir: t.TempDir()}
	var guests []pvesim.GuestSpec
	if verb != "install" {
		for i := range 40 {
			guests = append(guests, pvesim.GuestSpec{VMID: firstGuest + i, Node: "pve1", Name: fmt.Sprintf("g%d", firstGuest+i), Cores: 1, MemoryMB: 128, Disk: 1 << 30})
		}
	}
	u.sim = pvesim.Start(t, pvesim.Options{Guests: guests, Empty: len(guests) == 0, Statd: -1})
	if verb == "rollback" {
		u.snapshots(guests)
	}
	policy := filepath.Join(u.dir, "policy.yaml")
	if err := os.WriteFile(policy, []byte(upgradePolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	u.env = append(u.sim.Env(), "STORE_URL=sqlite:"+filepath.Join(u.dir, "data"), "POLICY_FILE="+policy, "LOG_LEVEL=error", "HOME="+u.dir)
	return u
}

// snapshots takes a snapshot of each guest, and then changes it.
func (u *upgrade) snapshots(guests []pvesim.GuestSpec) {
	var script strings.Builder
	for _, g := range guests {
		fmt.Fprintf(&script, "qm snapshot %d before && qm set %d --cores 3 || exit 1\n", g.VMID, g.VMID)
	}
	onNode(u.t, u.sim, "pve1", "sh", "-c", script.String())
}

func (u *upgrade) borders() string { return filepath.Join(u.dir, "borders") }

// lastBorder is where the earlier version died last.
func (u *upgrade) lastBorder() string {
	text, err := os.ReadFile(u.borders())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// skip leaves out the borders that look like others: after the record that a step
// is done comes the one that the next has begun.
func (u *upgrade) skip(job provision.Job) {
	text, err := os.ReadFile(u.borders())
	if err != nil {
		u.t.Fatal(err)
	}
	for _, s := range job.Steps {
		text = fmt.Appendf(text, "%s: %s %s is written\n", job.Order.Spec.Kind(), s.Name, provision.StepDone)
	}
	if err := os.WriteFile(u.borders(), text, 0o600); err != nil {
		u.t.Fatal(err)
	}
}

// dies lets the earlier version work on an order, and reports whether it died at
// a border where it had not died before; else it has carried the order out.
func (u *upgrade) dies(line string) bool {
	u.t.Helper()
	port, err := freePort()
	if err != nil {
		u.t.Fatal(err)
	}
	cmd := exec.CommandContext(u.t.Context(), *upgradeFrom, "-test.run=^TestServeChild$")
	cmd.Env = append(slices.Clone(u.env), "PORT="+port, childServes+"=1", simtest.Program+"="+os.Getenv(simtest.Program), "PATH="+os.Getenv("PATH"),
		childBorders+"="+u.borders(), childAcked+"="+filepath.Join(u.dir, "acked"))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		u.t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() { _ = cmd.Wait(); close(gone) }()
	over := make(chan struct{})
	ctx, cancel := context.WithCancel(u.t.Context())
	go func() {
		defer close(over)
		u.order(ctx, "http://127.0.0.1:"+port, line)
	}()
	died := true
	select {
	case <-gone:
	case <-over:
		select {
		case <-gone:
		case <-u.settled(ctx):
			died = false
		}
	}
	cancel()
	_ = cmd.Process.Kill()
	<-gone
	<-over
	u.jobs++
	if strings.Contains(said.String(), "FAIL") {
		u.t.Fatalf("the earlier version: %s", said.String())
	}
	return died
}

// order places an order as soon as the bot listens, and confirms it where it has
// to be. The bot may die before it answers: the key makes it one order.
func (u *upgrade) order(ctx context.Context, base, line string) {
	var answer struct {
		Jobs []struct {
			ID    provision.JobID
			State provision.State
			Gate  *provision.Gate
		}
	}
	body := map[string]any{"line": line}
	for u.post(ctx, base+"/api/v1/jobs", body, &answer) != nil {
		if (cluster.SystemClock{}).Sleep(ctx, 20*time.Millisecond) != nil {
			return
		}
	}
	if len(answer.Jobs) == 1 && answer.Jobs[0].State == provision.StateWaiting {
		vote := map[string]any{"yes": true, "digest": answer.Jobs[0].Gate.Digest}
		_ = u.post(ctx, fmt.Sprintf("%s/api/v1/jobs/%d/vote", base, answer.Jobs[0].ID), vote, &struct{}{}) // it may die of that
	}
}

// post sends a request. Its error is that of a bot which is not there.
func (u *upgrade) post(ctx context.Context, url string, body map[string]any, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", fmt.Sprint("order-", u.jobs))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if text, err = io.ReadAll(resp.Body); err != nil {
		return err
	}
	if resp.StatusCode >= 400 {
		u.t.Errorf("%s %v: %s %s", url, body, resp.Status, text)
	}
	return json.Unmarshal(text, into)
}

// finish lets this version work on the store until all jobs rest, and returns
// the newest.
func (u *upgrade) finish() provision.Job {
	u.t.Helper()
	c, err := readConfig(u.env, os.DevNull)
	if err != nil {
		u.t.Fatal(err)
	}
	h, err := build(u.t.Context(), c, commands.Policy{}, slog.New(slog.DiscardHandler))
	if err != nil {
		u.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(u.t.Context())
	worked := make(chan error, 1)
	go func() { worked <- h.labour(ctx) }()
	job := u.rest(ctx, h.store)
	stop()
	if err := unlessDone(ctx, <-worked); err != nil {
		u.t.Error(err)
	}
	if err := h.close(); err != nil {
		u.t.Error(err)
	}
	return job
}

// settled is closed when the newest job of a bot in another process rests.
func (u *upgrade) settled(ctx context.Context) <-chan struct{} {
	over := make(chan struct{})
	go func() {
		store, err := sqlstore.Open(ctx, "sqlite:"+filepath.Join(u.dir, "data"), sqlstore.Options{ReadOnly: true})
		if ctx.Err() != nil { // the bot died meanwhile, and nobody waits
			if err == nil {
				_ = store.Close()
			}
			return
		}
		if err != nil {
			u.t.Error(err)
			return
		}
		defer store.Close()
		u.rest(ctx, store)
		if ctx.Err() == nil {
			close(over)
		}
	}()
	return over
}

// rest waits until the newest job of a store is over, or people are asked.
func (u *upgrade) rest(ctx context.Context, store provision.Store) provision.Job {
	for _, err := range store.Follow(ctx, 0) {
		if err != nil {
			break
		}
		jobs, err := store.Jobs(ctx, provision.Filter{Limit: 1})
		if err != nil || len(jobs) == 0 {
			continue
		}
		if job := jobs[0]; job.State.Final() || job.State == provision.StateParked {
			return job
		}
	}
	return provision.Job{}
}

func (u *upgrade) installed(vmid int) error {
	v, ok := u.sim.VM(vmid)
	if made := len(u.sim.VMs()); !ok || !v.Running || v.Lock != "" || made != u.jobs {
		return fmt.Errorf("%d installs made %d VMs; the last: %+v", u.jobs, made, v)
	}
	return nil
}

func (u *upgrade) migrated(vmid int) error {
	if v, ok := u.sim.VM(vmid); !ok || v.Node != "pve2" || v.Lock != "" {
		return fmt.Errorf("%+v", v)
	}
	return nil
}

func (u *upgrade) destroyed(vmid int) error {
	if v, ok := u.sim.VM(vmid); ok {
		return fmt.Errorf("it is there: %+v", v)
	}
	return nil
}

func (u *upgrade) rolledBack(vmid int) error {
	if v, ok := u.sim.VM(vmid); !ok || v.Options["cores"] != "1" || v.Lock != "" {
		return fmt.Errorf("%+v", v)
	}
	return nil
}
