package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"pvebot/cluster"
	"pvebot/cluster/pvesim"
	"pvebot/cluster/pvesim/simtest"
	"pvebot/commands"
	"pvebot/provision"
	"pvebot/provision/sqlstore/pgtest"
)

var upgradeWrite = flag.String("upgrade.write", "", "the `directory` that TestWritePinnedStores writes the earlier version's stores into")

// pinnedStores is where the stores of an earlier version are; see its README.
const pinnedStores = "testdata/cd05f1e"

// pinnedPolicy lets the migration wait.
const pinnedPolicy = `solo_admin: true
roles:
  all: {members: http/local, allow: [{verbs: all, scope: all}]}
approvals:
- {verbs: migrate, scope: all, need: 1, expires: 90d}
`

// The jobs in the stores, in their order.
const (
	pinnedDone provision.JobID = 1 + iota
	pinnedWaits
	pinnedParked
	pinnedUndoes
	pinnedRuns
)

// TestPinnedStores: today's program finishes what a version that was released left
// in its store, on SQLite and on PostgreSQL: a job that waits, one that is parked,
// one that is being undone, one that runs.
func TestPinnedStores(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(t.TempDir(), "data")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		testPinnedStore(t, "sqlite:"+dir, loadSQL(t, "sqlite", filepath.Join(dir, "pvebot.db"), "sqlite.sql"))
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		url := pgtest.URL(t)
		testPinnedStore(t, url, loadSQL(t, "pgx", url, "postgres.sql"))
	})
}

// later are the changes after which the years that go by here are none to the
// store: the approval and the VM's life end 72 years later, and the parked job
// was asked about then. Each is of one row.
var later = []string{
	`UPDATE jobs SET due = due + 2272147200000000, snapshot = replace(snapshot, '"expires":"2027-', '"expires":"2099-')
		WHERE due > 0 AND snapshot LIKE '%"expires":"2027-%'`,
	`UPDATE jobs SET updated = updated + 2272147200000000 WHERE state = 'parked'`,
	`UPDATE vms SET data = replace(data, '"until":"2027-', '"until":"2099-') WHERE data LIKE '%"until":"2027-%'`,
}

// whole are the queries that tell all that a store has, and what each row is:
// a key, and JSON or another value.
var whole = map[string]string{
	"job":   `SELECT CAST(id AS TEXT), snapshot FROM jobs`,
	"event": `SELECT job || '/' || seq, data FROM events`,
	"vm":    `SELECT cluster || '/' || vmid, data FROM vms`,
	"audit": `SELECT CAST(seq AS TEXT), data FROM audit`,
	"card":  `SELECT platform || '/' || job, ref FROM cards`,
	"slot":  `SELECT pool || '/' || slot, CAST(job AS TEXT) FROM slots`,
}

// loadSQL carries out a script of SQL in an empty database, and returns its rows
// as they are stored: by what they are and their key.
func loadSQL(t *testing.T, driver, dsn, script string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(pinnedStores, script))
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), string(text)); err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	for _, change := range later {
		res, err := db.ExecContext(t.Context(), change)
		if err != nil {
			t.Fatalf("%s: %v", change, err)
		}
		if n, err := res.RowsAffected(); err != nil || n != 1 {
			t.Fatalf("%s: %d rows, want 1: %v", change, n, err)
		}
	}
	stored := map[string]string{}
	for what, query := range whole {
		readPairs(t, db, query, func(key, value string) { stored[what+" "+key] = value })
	}
	return stored
}

func readPairs(t *testing.T, db *sql.DB, query string, each func(key, value string)) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		var key, value string
		if err := rows.Scan(&key, &value); err != nil {
			t.Fatal(err)
		}
		each(key, value)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// pinnedRows is how many rows the stores have, by what they are.
var pinnedRows = map[string]int{"job": 5, "event": 198, "vm": 1, "audit": 29, "card": 5, "slot": 4}

// readWhole holds what is stored to what today's program makes of it: it may know
// more, and must not have lost anything.
func readWhole(t *testing.T, store provision.Store, stored map[string]string) {
	t.Helper()
	read := map[string]any{}
	put := func(value any, err error, what string, key ...any) {
		t.Helper()
		if err != nil {
			t.Errorf("%s %v: %v", what, key, err)
			return
		}
		read[what+" "+strings.ReplaceAll(strings.TrimSpace(fmt.Sprintln(key...)), " ", "/")] = value
	}
	for id := pinnedDone; id <= pinnedRuns; id++ {
		job, err := store.Job(t.Context(), id)
		if err == nil {
			job.Order, err = job.Order.Stored()
		}
		put(job, err, "job", id)
		for e, err := range store.Events(t.Context(), id, 0) {
			e.Pos = 0 // its column has it
			put(e, err, "event", id, e.Seq)
		}
		for _, h := range job.Slots {
			held, err := store.Held(t.Context(), h.Pool)
			put(held[h.Slot], err, "slot", h.Pool+"/"+h.Slot)
		}
		card, there, err := store.Card(t.Context(), "web", id)
		if there {
			put(card.Ref, err, "card", "web", id)
		}
	}
	records, err := store.VMRecords(t.Context(), "sim")
	if err != nil {
		t.Error(err)
	}
	for _, r := range records {
		put(r, nil, "vm", r.Cluster, r.VMID)
	}
	for r, err := range store.AuditRows(t.Context(), provision.AuditFilter{}) {
		put(r, err, "audit", r.Seq)
	}
	rows := map[string]int{}
	for key, text := range stored {
		what, _, _ := strings.Cut(key, " ")
		rows[what]++
		value, ok := read[key]
		if !ok {
			t.Errorf("%s is not read", key)
			continue
		}
		again, err := json.Marshal(value)
		if err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		if lost := lostOf(parsed(t, text), parsed(t, string(again))); lost != "" {
			t.Errorf("%s: %s is lost or another: stored %s, read %s", key, lost, text, again)
		}
	}
	if !maps.Equal(rows, pinnedRows) {
		t.Errorf("the store has %v rows, want %v", rows, pinnedRows)
	}
}

func parsed(t *testing.T, text string) (value any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return value
}

// lostOf is the path of the first value in stored that read has not, "" when it
// has all.
func lostOf(stored, read any) string {
	switch stored := stored.(type) {
	case map[string]any:
		read, _ := read.(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(stored)) {
			if lost := lostOf(stored[key], read[key]); lost != "" {
				return "." + key + lost
			}
			if _, ok := read[key]; !ok {
				return "." + key
			}
		}
		return ""
	case []any:
		read, _ := read.([]any)
		if len(read) != len(stored) {
			return "[]"
		}
		for i := range stored {
			if lost := lostOf(stored[i], read[i]); lost != "" {
				return fmt.Sprintf("[%d]%s", i, lost)
			}
		}
		return ""
	default:
		if stored != read {
			return "="
		}
		return ""
	}
}

func testPinnedStore(t *testing.T, storeURL string, stored map[string]string) {
	sim := pinnedCluster(t)
	c, err := readConfig(append(sim.Env(), "STORE_URL="+storeURL, "KEEP_EVENTS_DAYS=0"), os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	h, err := build(t.Context(), c, commands.Policy{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	for id, want := range map[provision.JobID]provision.State{
		pinnedDone: provision.StateSucceeded, pinnedWaits: provision.StateWaiting, pinnedParked: provision.StateParked,
		pinnedUndoes: provision.StateUndoing, pinnedRuns: provision.StateRunning,
	} {
		if job, err := h.store.Job(t.Context(), id); err != nil || job.State != want {
			t.Fatalf("job %d is %s, want %s: %v", id, job.State, want, err)
		}
	}
	if _, err := h.store.VerifyAudit(t.Context(), ""); err != nil {
		t.Error(err)
	}
	readWhole(t, h.store, stored)
	if t.Failed() {
		return // the jobs would go on with what is not theirs
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	worked := make(chan error, 1)
	go func() { worked <- h.labour(ctx) }()
	engine := h.works[0].engine
	me := provision.Actor{Platform: "http", ID: "local"}
	waits, err := h.store.Job(t.Context(), pinnedWaits)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := engine.Vote(t.Context(), provision.Vote{Job: pinnedWaits, By: me, Yes: true, Digest: waits.Order.Gate.Digest}); err != nil {
		t.Error(err)
	}
	if _, err := engine.Resolve(t.Context(), provision.Resolution{Job: pinnedParked, By: me, Do: provision.RollBack}); err != nil {
		t.Error(err)
	}
	jobs := untilFinal(t, h.store, pinnedDone, pinnedWaits, pinnedParked, pinnedUndoes, pinnedRuns)
	for _, id := range []provision.JobID{pinnedParked, pinnedUndoes} {
		if v, ok := sim.VM(jobs[id].Facts.VMID); ok {
			t.Errorf("the VM of job %d is there: %+v", id, v)
		}
	}

	// What was undone whole can be tried again.
	if _, err := engine.Resolve(t.Context(), provision.Resolution{Job: pinnedParked, By: me, Do: provision.Retry}); err != nil {
		t.Error(err)
	} else if job := untilFinal(t, h.store, pinnedParked)[pinnedParked]; job.State != provision.StateSucceeded {
		t.Errorf("job %d was tried again and %s: %+v", job.ID, job.State, job.Problem)
	} else if v, ok := sim.VM(job.Facts.VMID); !ok || !v.Running {
		t.Errorf("the VM of job %d, which was tried again, is %+v", job.ID, v)
	}
	stop()
	if err := unlessDone(ctx, <-worked); err != nil {
		t.Error(err)
	}

	for id, want := range map[provision.JobID]provision.State{
		pinnedWaits: provision.StateSucceeded, pinnedParked: provision.StateFailed, pinnedUndoes: provision.StateFailed, pinnedRuns: provision.StateSucceeded,
	} {
		if job := jobs[id]; job.State != want {
			t.Errorf("job %d %s, want %s: %+v", id, job.State, want, job.Problem)
		}
	}
	if v, ok := sim.VM(firstGuest); !ok || v.Node != "pve2" {
		t.Errorf("the VM that was to migrate is %+v", v)
	}
	if v, ok := sim.VM(jobs[pinnedRuns].Facts.VMID); !ok || !v.Running || !strings.HasSuffix(v.Options["scsi0"], ",size=16G") {
		t.Errorf("the VM whose install ran is %+v", v)
	}
	if orphans := sim.Orphans(); len(orphans) > 0 {
		t.Errorf("orphans: %v", orphans)
	}
	record, ok, err := h.store.VMRecord(t.Context(), "sim", jobs[pinnedDone].Facts.VMID)
	if err != nil || !ok || !record.Owner.Same(me) || record.Until.IsZero() {
		t.Errorf("the record of the VM that was installed: %+v, %v", record, err)
	}
	if _, err := h.store.VerifyAudit(t.Context(), ""); err != nil {
		t.Error(err)
	}
}

// untilFinal waits until jobs are over, and returns them.
func untilFinal(t *testing.T, store provision.Store, ids ...provision.JobID) map[provision.JobID]provision.Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	jobs := map[provision.JobID]provision.Job{}
	for _, err := range store.Follow(ctx, 0) {
		if err != nil {
			for id, job := range jobs {
				t.Logf("job %d is %s", id, job.State)
			}
			t.Fatalf("waiting for the jobs to end: %v", err)
		}
		open := false
		for _, id := range ids {
			job, err := store.Job(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			jobs[id] = job
			if job.State == provision.StateParked && id != pinnedParked {
				t.Fatalf("job %d waits for people: %+v", id, job.Problem)
			}
			open = open || !job.State.Final()
		}
		if !open {
			break
		}
	}
	return jobs
}

// pinnedVM is a VM of the cluster, as the stores' bot left it.
type pinnedVM struct {
	VMID        int
	Node        string
	Running     bool
	Description string
	Disk        int64 // bytes
	Options     map[string]string
}

// cloudInitDrive is an option that is made anew, with its volume.
const cloudInitDrive = "ide2"

// pinnedCluster is a simulated cluster with the VMs of the stores.
func pinnedCluster(t *testing.T) *pvesim.Sim {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(pinnedStores, "cluster.json"))
	if err != nil {
		t.Fatal(err)
	}
	var vms []pinnedVM
	if err := json.Unmarshal(text, &vms); err != nil {
		t.Fatal(err)
	}
	var guests []pvesim.GuestSpec
	for _, v := range vms {
		guests = append(guests, pvesim.GuestSpec{VMID: v.VMID, Node: v.Node, Name: v.Options["name"], Running: v.Running, Disk: v.Disk, Options: v.Options})
	}
	sim := pvesim.Start(t, pvesim.Options{Guests: guests, Statd: -1})
	signers, err := cluster.LoadSigners(sim.Access().KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	key := url.PathEscape(string(ssh.MarshalAuthorizedKey(signers[0].PublicKey())))
	for _, v := range vms {
		sim.SetOption(v.VMID, "description", v.Description)
		if v.Options["sshkeys"] != "" {
			sim.SetOption(v.VMID, "sshkeys", key) // of the bot that goes on
			onNode(t, sim, v.Node, "qm", "set", fmt.Sprint(v.VMID), "--"+cloudInitDrive, "local-lvm:cloudinit")
		}
	}
	return sim
}

func onNode(t *testing.T, sim *pvesim.Sim, node string, argv ...string) {
	t.Helper()
	nodes, err := cluster.Connect(sim.NodesConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer nodes.Close()
	r, err := nodes.Node(node)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(t.Context(), cluster.Cmd{Argv: argv}); err != nil {
		t.Fatal(err)
	}
}

// TestWritePinnedStores lets an earlier version leave its jobs halfway, and writes
// down its store and its cluster.
func TestWritePinnedStores(t *testing.T) {
	if *upgradeWrite == "" || *upgradeFrom == "" {
		t.Skip("it takes an earlier version and a directory: -upgrade.from and -upgrade.write")
	}
	postgres := pgtest.URL(t)
	u := &upgrade{t: t, dir: t.TempDir()}
	u.sim = pvesim.Start(t, pvesim.Options{
		Guests: []pvesim.GuestSpec{{VMID: firstGuest, Node: "pve1", Name: "moves", Cores: 1, MemoryMB: 128, Disk: 1 << 30}}, Statd: -1,
	})
	policy := filepath.Join(u.dir, "policy.yaml")
	if err := os.WriteFile(policy, []byte(pinnedPolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(u.dir, "data")
	u.env = append(u.sim.Env(), "STORE_URL=sqlite:"+data, "POLICY_FILE="+policy, "LOG_LEVEL=error", "HOME="+u.dir)
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	child := append(slices.Clone(u.env), simtest.Program+"="+os.Getenv(simtest.Program), "PATH="+os.Getenv("PATH"))
	bot := exec.CommandContext(t.Context(), *upgradeFrom, "-test.run=^TestServeChild$")
	bot.Env = append(slices.Clone(child), "PORT="+port, childServes+"=1")
	bot.Stdout, bot.Stderr = os.Stdout, os.Stderr
	if err := bot.Start(); err != nil {
		t.Fatal(err)
	}
	base := "http://127.0.0.1:" + port
	order := func(line string, until func(job provision.Job) bool) {
		t.Helper()
		u.jobs++
		var answer struct{}
		for u.post(t.Context(), base+"/api/v1/jobs", map[string]any{"line": line}, &answer) != nil {
			pause(t)
		}
		for !until(jobAt(t, base, u.jobs)) {
			pause(t)
		}
	}
	in := func(state provision.State) func(provision.Job) bool {
		return func(job provision.Job) bool { return job.State == state }
	}
	asked := func(words string) func(provision.Job) bool {
		return func(job provision.Job) bool {
			return slices.ContainsFunc(u.sim.Ran(), func(r pvesim.Ran) bool {
				return strings.HasPrefix(r.String(), fmt.Sprintf("%s %d ", words, job.Facts.VMID))
			})
		}
	}
	order("/vm install ubuntu 24.04 --name done --cpu 1 --ram 512M --ttl 365d", in(provision.StateSucceeded))
	order(fmt.Sprintf("/vm migrate %d pve2", firstGuest), in(provision.StateWaiting))
	u.sim.FailOnce("qm start", 255, "no luck")
	u.sim.FailOnce("qm destroy", 255, "no luck either")
	order("/vm install ubuntu 24.04 --name parked --cpu 1 --ram 512M", in(provision.StateParked))
	u.sim.FailOnce("qm start", 255, "no luck")
	defer u.sim.Hold("qm destroy")()
	order("/vm install ubuntu 24.04 --name undone --cpu 1 --ram 512M", asked("qm destroy"))
	defer u.sim.Hold("qm disk resize")()
	order("/vm install ubuntu 24.04 --name runs --cpu 1 --ram 512M", asked("qm disk resize"))
	if err := bot.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = bot.Wait()

	writeCluster(t, u.sim)
	copied := &exec.Cmd{
		Path: *upgradeFrom, Args: []string{"bot", "store", "copy", "--to", postgres}, Env: child, Stdout: os.Stdout, Stderr: os.Stderr,
	}
	if err := copied.Run(); err != nil {
		t.Fatal(err)
	}
	write(t, "sqlite.sql", dumpSQLite(t, filepath.Join(data, "pvebot.db")))
	write(t, "postgres.sql", dumpPostgres(t, postgres))
}

func pause(t *testing.T) {
	t.Helper()
	if err := (cluster.SystemClock{}).Sleep(t.Context(), 20*time.Millisecond); err != nil {
		t.Fatal(err)
	}
}

func jobAt(t *testing.T, base string, id int) provision.Job {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("%s/api/v1/jobs/%d", base, id), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var job struct {
		State provision.State
		Facts provision.Facts
		VM    struct{ VMID int }
	}
	if err := json.NewDecoder(resp.Body).Decode(&job); err != nil {
		t.Fatal(err)
	}
	if job.Facts.VMID == 0 {
		job.Facts.VMID = job.VM.VMID
	}
	return provision.Job{State: job.State, Facts: job.Facts}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(*upgradeWrite, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func writeCluster(t *testing.T, sim *pvesim.Sim) {
	t.Helper()
	var vms []pinnedVM
	for _, v := range sim.VMs() {
		p := pinnedVM{VMID: v.VMID, Node: v.Node, Running: v.Running, Description: v.Description, Options: maps.Clone(v.Options)}
		delete(p.Options, cloudInitDrive)
		if p.Options["sshkeys"] != "" {
			p.Options["sshkeys"] = "the bot's" // that of the bot that goes on is put there
		}
		volume, _, _ := strings.Cut(v.Options["scsi0"], ",")
		for _, vol := range sim.Volumes() {
			if vol.ID == volume {
				p.Disk = vol.Size
			}
		}
		vms = append(vms, p)
	}
	text, err := json.MarshalIndent(vms, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	write(t, "cluster.json", string(text)+"\n")
}

// dumpSQLite writes a database as the SQL that makes it.
func dumpSQLite(t *testing.T, file string) string {
	t.Helper()
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	column := func(query string) (all []string) {
		t.Helper()
		rows, err := db.QueryContext(t.Context(), query)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		defer rows.Close()
		for rows.Next() {
			var s string
			if err := rows.Scan(&s); err != nil {
				t.Fatal(err)
			}
			all = append(all, s)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return all
	}
	var b strings.Builder
	for _, pragma := range []string{"application_id", "user_version"} {
		fmt.Fprintf(&b, "PRAGMA %s = %s;\n", pragma, column("PRAGMA " + pragma)[0])
	}
	for _, s := range column(`SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY rowid`) {
		b.WriteString(s + ";\n")
	}
	tables := column(`SELECT name FROM sqlite_master WHERE type = 'table' AND (name NOT LIKE 'sqlite\_%' ESCAPE '\' OR name = 'sqlite_sequence') ORDER BY name`)
	for _, table := range tables {
		var quoted []string
		for _, c := range column(`SELECT name FROM pragma_table_info('` + table + `') ORDER BY cid`) {
			quoted = append(quoted, `quote("`+c+`")`)
		}
		for _, row := range column(`SELECT ` + strings.Join(quoted, ` || ', ' || `) + ` FROM "` + table + `" ORDER BY rowid`) {
			fmt.Fprintf(&b, "INSERT INTO %q VALUES (%s);\n", table, row)
		}
	}
	return b.String()
}

// chatter are lines of pg_dump that are for psql, or about the server.
var chatter = regexp.MustCompile(`(?m)^(?:\\.*|--.*|SET .*|SELECT pg_catalog\.set_config.*|CREATE SCHEMA .*)?\n`)

// dumpPostgres writes the tables of a schema as the SQL that makes them in any
// other.
func dumpPostgres(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	schema := q.Get("search_path")
	q.Del("search_path")
	u.RawQuery = q.Encode()
	out, err := exec.CommandContext(t.Context(), "pg_dump", "--inserts", "--no-owner", "--no-privileges", "--schema="+schema, u.String()).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(chatter.ReplaceAllString(string(out), ""), schema+".", "")
}
