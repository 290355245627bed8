// Package commands is what people may say and who may say it: one grammar table
// ([Verbs]) that gives the parser, the help, the completion and the schemas of
// chat platforms, and the policy that says yes, no, or "if others agree".
//
// Everything here is pure: no input, output or clock. A line goes through
// [Normalise], [Parse] makes it a [Request] or a [Mistake] whose Try is a line
// that works, and [Policy.Decide] says what becomes of it.
package commands

import (
	"time"

	"pvebot/provision"
)

// A Request is what a line asks for: one of the types below.
type Request interface {
	// Verb is the request's word in the grammar: install, list, ...
	Verb() string
}

// A VMRequest is about one VM that exists.
type VMRequest interface {
	Request
	// NamesVM is the VMID or the name by which it calls the VM; "" for none,
	// where that is possible.
	NamesVM() string
}

// At is a request about the cluster that --cluster names.
type At struct {
	Request
	Cluster string
}

// Site is what r asks for, and the cluster that it names; "" when it names
// none.
func Site(r Request) (what Request, cluster string) {
	if at, ok := r.(At); ok {
		return at.Request, at.Cluster
	}
	return r, ""
}

// The requests about new VMs, jobs and the cluster.
type (
	// Install asks for Count new VMs like Spec. Zero fields of Spec mean the
	// defaults.
	Install struct {
		Spec   provision.Install
		Count  int
		DryRun bool // only to show what would be done; so everywhere
		// Password asks for one that is made up, and shown to the asker alone.
		Password bool
	}
	// List asks for all VMs.
	List struct{}
	// Jobs asks for the newest jobs.
	Jobs struct{}
	// Nodes asks for the cluster's nodes.
	Nodes struct{}
	// Images asks what can be installed.
	Images struct{}
	// Cancel asks for a job's end.
	Cancel struct{ Job provision.JobID }
	// Drain asks for moving all VMs off a node.
	Drain struct {
		Node   string
		DryRun bool
	}
	// Help asks for help, on one verb when Topic is not empty.
	Help struct{ Topic string }
)

// The requests about VMs that exist. VM is a VMID or a name.
type (
	// Show asks for what there is to know.
	Show struct{ VM string }
	// Power asks for another power state: Do is start, stop, shutdown or
	// reboot.
	Power struct{ Do, VM string }
	// Destroy asks for the end of a VM and its disks, those detached from it
	// only if asked.
	Destroy struct {
		VM               string
		Detached, DryRun bool
	}
	// Set asks for another size; zero fields stay as they are.
	Set struct {
		VM              string
		Cores, MemoryMB int
		GrowMB          int64  // so much larger the disk becomes, in MiB
		Disk            string // which one grows, like virtio1; "": the only one
	}
	// Migrate asks for a move to Node. Mode is online, offline, or "" for what
	// the VM's state calls for; Storage is the target's, "" keeps the names.
	Migrate struct {
		VM, Node, Mode, Storage string
		DryRun                  bool
	}
	// Snapshot asks for a snapshot; without Name it is called by the time.
	Snapshot struct{ VM, Name string }
	// Rollback asks for going back to a snapshot.
	Rollback struct{ VM, Name string }
	// Snapshots asks for a VM's snapshots.
	Snapshots struct{ VM string }
	// Clone asks for a copy; without Name the bot finds one.
	Clone struct{ VM, Name string }
	// Extend asks for a later end of life.
	Extend struct {
		VM string
		By time.Duration
	}
	// Adopt asks for becoming the owner of a VM that has none.
	Adopt struct{ VM string }
	// Trust asks for taking the host key that a VM shows now for its own.
	Trust struct{ VM string }
	// Can asks whether Who may Do that: to VM, which is a job's number when
	// Do is cancel, and empty when Do is about nothing that exists.
	Can struct{ Who, Do, VM, Node string } // Who is for Person
	// Audit asks what was done: to VM, by Who, or at all when both are empty.
	Audit struct{ VM, Who string } // Who is for Person
)

// Verb implements Request.
func (Install) Verb() string { return "install" }

// Verb implements Request.
func (List) Verb() string { return "list" }

// Verb implements Request.
func (Jobs) Verb() string { return "jobs" }

// Verb implements Request.
func (Nodes) Verb() string { return "nodes" }

// Verb implements Request.
func (Images) Verb() string { return "images" }

// Verb implements Request.
func (Cancel) Verb() string { return "cancel" }

// Verb implements Request.
func (Drain) Verb() string { return "drain" }

// Verb implements Request.
func (Help) Verb() string { return "help" }

// Verb implements Request.
func (Show) Verb() string { return "show" }

// Verb implements Request.
func (Destroy) Verb() string { return "destroy" }

// Verb implements Request.
func (Set) Verb() string { return "set" }

// Verb implements Request.
func (Migrate) Verb() string { return "migrate" }

// Verb implements Request.
func (Snapshot) Verb() string { return "snapshot" }

// Verb implements Request.
func (Rollback) Verb() string { return "rollback" }

// Verb implements Request.
func (Snapshots) Verb() string { return "snapshots" }

// Verb implements Request.
func (Clone) Verb() string { return "clone" }

// Verb implements Request.
func (Extend) Verb() string { return "extend" }

// Verb implements Request.
func (Adopt) Verb() string { return "adopt" }

// Verb implements Request.
func (Trust) Verb() string { return "trust" }

// Verb implements Request.
func (Can) Verb() string { return "can" }

// Verb implements Request.
func (Audit) Verb() string { return "audit" }

// Verb implements Request.
func (r Power) Verb() string { return r.Do }

// NamesVM implements VMRequest.
func (r Show) NamesVM() string { return r.VM }

// NamesVM implements VMRequest.
func (r Power) NamesVM() string { return r.VM }

// NamesVM implements VMRequest.
func (r Destroy) NamesVM() string { return r.VM }

// NamesVM implements VMRequest.
func (r Set) NamesVM() string { return r.VM }

// NamesVM implements VMRequest.
func (r Migrate) NamesVM() string { return r.VM }

// NamesVM implements VMRequest.
func (r Snapshot) NamesVM() string { return r.VM }

// NamesVM implements VMRequest.
func (r Rollback) NamesVM() string { return r.VM }

// NamesVM implements VMRequest.
func (r Snapshots) NamesVM() string { return r.VM }

// NamesVM implements VMRequest.
func (r Clone) NamesVM() string { return r.VM }

// NamesVM implements VMRequest.
func (r Extend) NamesVM() string { return r.VM }

// NamesVM implements VMRequest.
func (r Adopt) NamesVM() string { return r.VM }

// NamesVM implements VMRequest.
func (r Trust) NamesVM() string { return r.VM }

// Mistake is the answer to a line that is no request.
type Mistake struct {
	Say  string // what is wrong, a sentence without a final stop: --cpu wants a number, got lots
	Try  string // the nearest right line, e.g. /vm install ubuntu --cpu 2
	Verb string // the verb that was meant, "" when unknown

	// Param is the name of the argument or flag that is wrong or missing, ""
	// when it is the line as a whole: a form shows Say beside that field.
	Param string
	// Fields are the values that were understood, by parameter: what a form
	// that opens instead starts with.
	Fields Fields
	// Missing: nothing is wrong but Param is not there yet, so that a front
	// end with forms opens one instead of complaining.
	Missing bool
	// Secret: the line holds a secret. It must not be stored, logged or shown.
	Secret bool

	fix Fields // what to try instead; nil when there is no idea
}

func (m *Mistake) Error() string { return m.Say }
