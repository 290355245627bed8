// Package doctor looks for what keeps the bot from working, and says how to
// mend it: the nodes and how they are reached, their tools, clocks, storages and
// networks, the cluster, the range of addresses, the images' sources. What lies
// beyond a cluster, such as tokens of chat platforms, is a Probe.
//
// Nothing is changed by it. To test against it, take a simulated cluster.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"pvebot/alloc"
	"pvebot/cluster"
	"pvebot/provision/image"
)

// Status is how a finding is.
type Status string

// The statuses, from good to bad. Skipped is what could not be looked at because
// of another problem.
const (
	Fine    Status = "fine"
	Skipped Status = "skipped"
	Warning Status = "warning" // it works, but not all of it, or not for long
	Problem Status = "problem" // VMs can't be installed
)

// Finding is what a check found about one thing.
type Finding struct {
	Check  string `json:"check"`
	About  string `json:"about,omitempty"` // a node, a storage, an image
	Status Status `json:"status"`
	Say    string `json:"say"`
	// Fix is the command that mends it, or the setting to change; it is empty
	// when all is well.
	Fix string `json:"fix,omitempty"`
}

// Patient is what is looked at.
type Patient struct {
	Cluster  *cluster.Cluster
	Addrs    map[string]string // NODE_<name>: host[:port] by node
	MainNode string
	User     string    // that the bot logs in to nodes as
	KeyFile  string    // of its SSH key
	Storage  string    // for new disks
	Bridge   string    // of the default network
	Networks []Network // beside it
	ImageDir string    // on the nodes
	Pool     alloc.Pool
	Images   *image.Catalogue
	Clock    cluster.Clock
}

// Trouble is an error of a probe that knows more than the probe: how bad it is,
// and how to mend it.
type Trouble struct {
	Status Status
	Say    string
	Fix    string
}

func (t *Trouble) Error() string { return t.Say }

// Probe is a check that somebody else knows how to do. An error is a problem,
// unless it is a *Trouble; Fix says how to mend it.
type Probe struct {
	Check string
	Fix   string
	Run   func(ctx context.Context) (say string, err error)
}

// check is one line of the table.
type check struct {
	name string
	// needs nodes that answer: without any it is skipped.
	needsNodes bool
	run        func(*exam, context.Context)
}

// checks are all that is looked at in the cluster, in this order.
var checks = []check{
	{"nodes", false, (*exam).nodes},
	{"tools", true, (*exam).tools},
	{"clocks", true, (*exam).clocks},
	{"quorum", true, (*exam).quorum},
	{"versions", true, (*exam).versions},
	{"storage", true, (*exam).storage},
	{"room for images", true, (*exam).room},
	{"bridge", true, (*exam).bridge},
	{"addresses", true, (*exam).addresses},
	{"images", true, (*exam).images},
}

// Examine makes all checks, one after the other, and tells each finding as it
// comes. Its error is ctx's cause.
func Examine(ctx context.Context, p Patient, tell func(Finding)) error {
	if p.Clock == nil {
		p.Clock = cluster.SystemClock{}
	}
	e := &exam{Patient: p, tell: tell, looks: map[string]cluster.Look{}, off: map[string]time.Duration{}}
	for _, c := range checks {
		e.check = c.name
		if c.needsNodes && len(e.looks) == 0 {
			e.find(Finding{Status: Skipped, Say: "no node answers"})
		} else {
			c.run(e, ctx)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// Probes tries each and tells its finding, in order. Its error is ctx's cause.
func Probes(ctx context.Context, probes []Probe, tell func(Finding)) error {
	for _, probe := range probes {
		f := Finding{Check: probe.Check, Status: Fine}
		say, err := probe.Run(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			f.Status, f.Say, f.Fix = Problem, err.Error(), probe.Fix
			if t, ok := errors.AsType[*Trouble](err); ok {
				f.Status, f.Fix = t.Status, t.Fix
			}
		default:
			f.Say = say
		}
		tell(f)
	}
	return nil
}

// exam is one examination.
type exam struct {
	Patient
	check string // that is being made
	tell  func(Finding)
	looks map[string]cluster.Look  // the nodes that answer, and what they have
	off   map[string]time.Duration // how far their clocks and ours are apart
}

func (e *exam) find(f Finding) {
	f.Check = e.check
	e.tell(f)
}

func (e *exam) fine(about, format string, a ...any) {
	e.find(Finding{About: about, Status: Fine, Say: fmt.Sprintf(format, a...)})
}

func (e *exam) warn(about, fix, format string, a ...any) {
	e.find(Finding{About: about, Status: Warning, Fix: fix, Say: fmt.Sprintf(format, a...)})
}

func (e *exam) problem(about, fix, format string, a ...any) {
	e.find(Finding{About: about, Status: Problem, Fix: fix, Say: fmt.Sprintf(format, a...)})
}

// answering are the nodes that answer, sorted.
func (e *exam) answering() []string {
	names := e.Cluster.Nodes().Names()
	return slices.DeleteFunc(names, func(n string) bool { _, ok := e.looks[n]; return !ok })
}

// on is a command to be typed here that runs another one on a node.
func (e *exam) on(node, command string) string {
	return e.ssh(node, "ssh") + " " + cluster.Quote([]string{command})
}

// ssh is the beginning of a command that reaches a node.
func (e *exam) ssh(node, program string) string {
	host, port, err := net.SplitHostPort(e.Addrs[node])
	if err != nil {
		host, port = e.Addrs[node], ""
	}
	words := []string{program}
	if port != "" && port != "22" {
		words = append(words, "-p", port)
	}
	return strings.Join(append(words, e.User+"@"+host), " ")
}

// size writes bytes as people do.
func size(bytes int64) string {
	for _, u := range []struct {
		name  string
		bytes int64
	}{{"TB", 1 << 40}, {"GB", 1 << 30}} {
		if bytes >= u.bytes {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(bytes)/float64(u.bytes)), ".0") + " " + u.name
		}
	}
	return fmt.Sprintf("%d MB", bytes>>20)
}
