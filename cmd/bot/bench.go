package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pvebot/cluster"
	"pvebot/cluster/pvesim"
)

// bench measures the bot on simulated clusters, whose commands take as long as
// Proxmox VE's do.
type bench struct {
	p     *program
	clock cluster.SystemClock
	dir   string // for data
	full  bool   // the large sizes, too
	out   report

	postgres string // URL of a server, "": none
	profiles string // a directory for them, "": none
	section  string // that is measured
	children int    // bots started for it
}

// benchLatency is how long things take on Proxmox VE, as it was measured: 0.65 s
// for each qm, 0.85 s for each pvesh, whatever they do; an image is imported in
// 6 s, a VM boots in 12 s, and its init script takes 5 s.
var benchLatency = pvesim.Latency{
	QM: 650 * time.Millisecond, PVESH: 850 * time.Millisecond,
	Import: 6 * time.Second, Boot: 12 * time.Second, Init: 5 * time.Second,
	PingLost: time.Second, AgentLost: 3 * time.Second,
}

// benchSections are what can be measured, in the order of the page.
var benchSections = []struct {
	name string
	run  func(*bench, context.Context) error
}{
	{"install", (*bench).install},
	{"fifty", (*bench).fifty},
	{"store", (*bench).store},
	{"allocation", (*bench).allocation},
	{"answers", (*bench).answers},
	{"watchers", (*bench).watchers},
	{"restart", (*bench).restart},
	{"process", (*bench).process},
	{"clusters", (*bench).clusters},
}

func benchNames() []string {
	var names []string
	for _, s := range benchSections {
		names = append(names, s.name)
	}
	return names
}

func (p *program) benchCommand() *cobra.Command {
	b := &bench{p: p}
	var write string
	cmd := &cobra.Command{
		Use:   "bench [SECTION...]",
		Short: "Measure the bot on simulated clusters",
		Long: "Measures the bot on simulated clusters that are as slow as Proxmox VE, and prints\n" +
			"tables; about ten minutes for all of it. The sections are\n" + strings.Join(benchNames(), ", ") + ".",
		Example:   "  bot bench install\n  bot bench --full --write docs/performance.md",
		ValidArgs: benchNames(),
		Args:      cobra.OnlyValidArgs,
		RunE:      func(cmd *cobra.Command, args []string) error { return b.run(cmd.Context(), write, args) },
	}
	cmd.Flags().BoolVar(&b.full, "full", false, "the large sizes, too: 5,000 watchers, 1,000 takers of addresses, 1,000 VMs on 32 nodes")
	cmd.Flags().StringVar(&b.postgres, "postgres", "", "measure the store on this PostgreSQL, too, in a schema that goes afterwards: postgres://... is its `URL`")
	cmd.Flags().StringVar(&b.profiles, "profile", "", "profile CPU and memory, of this process and of the bots that it starts, into this `directory`")
	cmd.Flags().StringVar(&write, "write", "", "write the tables to this `file`, as Markdown")
	return cmd
}

func (b *bench) run(ctx context.Context, write string, sections []string) (err error) {
	if b.dir, err = os.MkdirTemp("", "bench"); err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, os.RemoveAll(b.dir)) }()
	var failed []error // what could be measured is shown all the same
	for _, s := range benchSections {
		if len(sections) > 0 && !slices.Contains(sections, s.name) {
			continue
		}
		fmt.Fprintf(b.p.err, "measuring %s\n", s.name)
		from := len(b.out.tables)
		b.section, b.children = s.name, 0
		if err := b.profiled(ctx, s.run); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", s.name, err))
			b.out.tables = b.out.tables[:from]
		}
		for i := range b.out.tables[from:] {
			b.out.tables[from+i].load = load()
		}
	}
	var text bytes.Buffer
	b.out.write(&text, machine(b.clock.Now()))
	if write != "" {
		err = os.WriteFile(write, text.Bytes(), 0o644) //nolint:gosec // a document
	} else {
		_, err = b.p.out.Write(text.Bytes())
	}
	return errors.Join(append(failed, err)...)
}

// profiled runs a section, with a profile where one is wanted.
func (b *bench) profiled(ctx context.Context, section func(*bench, context.Context) error) (err error) {
	if b.profiles != "" {
		if err := os.MkdirAll(b.profiles, 0o755); err != nil { //nolint:gosec // nothing secret is in them
			return err
		}
		stop, perr := profile(filepath.Join(b.profiles, b.section))
		if perr != nil {
			return perr
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	return section(b, ctx)
}

// machine says where and when it was measured.
func machine(now time.Time) string {
	name := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				name = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%s, %d cores, %s, %s; pvebot %s; %s",
		name, runtime.NumCPU(), runtime.GOOS, runtime.Version(), versionName(), now.UTC().Format("2006-01-02 15:04 MST"))
}

// load is how many processes wanted a core in the last minute, on average.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// report is what was measured.
type report struct{ tables []table }

// table is one section of the page.
type table struct {
	title, text string
	head        []string
	rows        [][]string
	load        string // of the machine, when it was done
}

// add begins a table.
func (r *report) add(title, text string, head ...string) *table {
	r.tables = append(r.tables, table{title: title, text: text, head: head})
	return &r.tables[len(r.tables)-1]
}

// row adds a row; durations are rounded to what matters.
func (t *table) row(cells ...any) {
	var row []string
	for _, c := range cells {
		if d, ok := c.(time.Duration); ok {
			c = roundly(d)
		}
		row = append(row, fmt.Sprint(c))
	}
	t.rows = append(t.rows, row)
}

// roundly is d with three digits that count.
func roundly(d time.Duration) string {
	for unit := time.Duration(1); ; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit).String()
		}
	}
}

func (r *report) write(w *bytes.Buffer, machine string) {
	fmt.Fprintf(w, "# Performance\n\nMeasured by `make bench`, which is `bot bench --full`, on: %s.\n", machine)
	fmt.Fprintf(w, "\nThe clusters are simulated. Each command on their nodes is a real one, over SSH, and takes as long as Proxmox VE's: "+
		"%s for a `qm`, %s for a `pvesh`; %s for an import, %s for a boot, %s for an init script.\n",
		benchLatency.QM, benchLatency.PVESH, benchLatency.Import, benchLatency.Boot, benchLatency.Init)
	for _, t := range r.tables {
		fmt.Fprintf(w, "\n## %s\n\n%s (Load average of the machine: %s.)\n\n| %s |\n|%s\n", t.title, t.text, t.load, strings.Join(t.head, " | "), strings.Repeat("---|", len(t.head)))
		for _, row := range t.rows {
			fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
		}
	}
}

// spread is a set of measured times.
type spread []time.Duration

// at is the time that the given part of them does not exceed.
func (s spread) at(part float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	slices.Sort(s)
	return s[min(len(s)-1, int(part*float64(len(s))))]
}

// pair is two of its times as people read them.
func (s spread) pair(one, other float64) string {
	return roundly(s.at(one)) + " / " + roundly(s.at(other))
}
