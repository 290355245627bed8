package commands

import (
	"time"

	"pvebot/provision"
)

// limits of what a line can ask for. The cluster's own limits are narrower,
// and the engine's business.
const (
	minGrowth      = 1 << 10                   // MiB; smaller steps are not worth a job
	maxCount       = 20                        // one order's worth
	minTTL, maxTTL = 3600, 365 * 86400         // seconds; the reminder needs some time to be read
	maxName        = 63 - len("-") - len("20") // a DNS label, with room for the numbers of --count
)

// Parameters and words that several verbs have.
var (
	ofCPU, ofRAM, ofDisk = provision.CPUBound, provision.MemoryBound, provision.DiskBound

	theVM    = Param{Name: "vm", Type: TypeVM, Required: true, Summary: "The VM, by name or id", Example: "web-1"}
	dryRun   = Param{Name: "dry-run", Also: []string{"dryrun", "plan"}, Type: TypeBool, Summary: "Only show what would be done"}
	cpuWords = []string{"cpus", "cores", "vcpu"}
	ramWords = []string{"memory", "mem"}
)

// table is what people may say. A new verb is a row here and a type in
// request.go.
var table = newGrammar(
	Verb{
		Name: "install", Also: []string{"create", "new"},
		Summary: "Make and set up a new VM",
		Args: []Param{
			{Name: "os", Type: TypeOS, Required: true, Summary: "The operating system, like ubuntu or debian", Example: "ubuntu"},
			{Name: "version", Type: TypeVersion, Summary: "Its version, like 24.04 or bookworm", Default: "the system's usual one", Example: "24.04"},
		},
		Flags: []Param{
			{Name: "name", Type: TypeName, Summary: "The VM's name, a DNS name", Default: "OS-VMID, like ubuntu-101", Example: "web-1"},
			{Name: "cpu", Also: cpuWords, Type: TypeInt, Min: ofCPU.Min, Max: ofCPU.Max, Summary: "How many CPU cores", Default: "2", Example: "2", Offers: []string{"1", "2", "4", "8", "16"}},
			{Name: "ram", Also: ramWords, Type: TypeSize, Bare: "M", Min: ofRAM.Min, Max: ofRAM.Max, Summary: "Memory, like 4G or 512M; a bare number is megabytes", Default: "2G", Example: "4G", Offers: []string{"1G", "2G", "4G", "8G", "16G", "32G"}},
			{Name: "disk", Type: TypeSize, Bare: "G", Min: ofDisk.Min, Max: ofDisk.Max, Summary: "Disk, like 32G or 1T; a bare number is gigabytes", Default: "16G", Example: "32G", Offers: []string{"16G", "32G", "64G", "128G", "256G"}},
			{Name: "node", Type: TypeNode, Summary: "The node that runs it", Default: "the bot chooses", Example: "pve1"},
			{Name: "storage", Type: TypeStorage, Summary: "The storage for its disk", Default: "as the bot is set up", Example: "local-lvm"},
			{Name: "network", Also: []string{"net", "pool"}, Type: TypeName, Summary: "The network it is in, by the name that the operator gave it", Default: "the usual one", Example: "dmz"},
			{Name: "user", Type: TypeUser, Summary: "The login name in the VM", Default: "the system's own, like ubuntu", Example: "alice"},
			{Name: "key", Also: []string{"pubkey", "ssh-key"}, Type: TypeKey, Summary: "Your SSH public key, the line in ~/.ssh/id_ed25519.pub", Example: exampleKey},
			{Name: "password", Type: TypeBool, Summary: "Make a password for its console, shown to you alone", Default: "only keys let in"},
			{Name: "id", Also: []string{"vmid"}, Type: TypeInt, Min: provision.VMIDBound.Min, Max: provision.VMIDBound.Max, Summary: "The VMID", Default: "a free one", Example: "190"},
			{Name: "count", Type: TypeInt, Min: 1, Max: maxCount, Summary: "How many VMs like this", Default: "1", Example: "3"},
			{Name: "ttl", Type: TypeDuration, Min: minTTL, Max: maxTTL, Summary: "How long it lives, like 12h, 7d or 2w; you are reminded before the end", Default: "for ever", Example: "7d", Offers: []string{"1d", "7d", "30d"}},
			dryRun,
		},
		Examples: []string{
			"/vm install ubuntu",
			"/vm install ubuntu 24.04 --name web-1 --cpu 4 --ram 8G --disk 64G",
			"/vm install debian bookworm --node pve2 --count 3 --ttl 7d",
		},
		Notes: []string{
			"/vm images lists the systems there are.",
			"Sizes are powers of two, with M, G or T: 512M, 1.5G, 16GB, 1TiB.",
			"--key takes the whole line up to the next flag, with or without quotes.",
		},
		Sited:  true,
		build:  buildInstall,
		fields: installFields,
	},
	Verb{
		Name: "list", Also: []string{"ls", "vms"},
		Summary:  "All VMs of the cluster",
		Examples: []string{"/vm list"},
		Reads:    true,
		Sited:    true,
		build:    always(List{}),
	},
	Verb{
		Name: "show", Also: []string{"status", "info"},
		Summary:  "One VM: where it is, what it has, who owns it",
		Args:     []Param{theVM},
		Examples: []string{"/vm show web-1", "/vm show 101"},
		Reads:    true,
		Sited:    true,
		build:    of(func(vm string) Request { return Show{VM: vm} }),
		fields:   vmFields,
	},
	Verb{
		Name: "start", Also: []string{"boot", "poweron"},
		Summary:  "Start a VM and wait until SSH is ready",
		Args:     []Param{theVM},
		Examples: []string{"/vm start web-1"},
		Sited:    true,
		build:    of(func(vm string) Request { return Power{Do: "start", VM: vm} }),
		fields:   vmFields,
	},
	Verb{
		Name:     "stop",
		Summary:  "Switch a VM off at once, as if its plug was pulled",
		Args:     []Param{theVM},
		Examples: []string{"/vm stop web-1"},
		Notes:    []string{"/vm shutdown is the gentle way."},
		Sited:    true,
		build:    of(func(vm string) Request { return Power{Do: "stop", VM: vm} }),
		fields:   vmFields,
	},
	Verb{
		Name: "shutdown", Also: []string{"poweroff", "halt"},
		Summary:  "Ask a VM to shut itself down",
		Args:     []Param{theVM},
		Examples: []string{"/vm shutdown web-1"},
		Sited:    true,
		build:    of(func(vm string) Request { return Power{Do: "shutdown", VM: vm} }),
		fields:   vmFields,
	},
	Verb{
		Name: "reboot", Also: []string{"restart"},
		Summary:  "Restart a VM and wait until SSH is ready",
		Args:     []Param{theVM},
		Examples: []string{"/vm reboot web-1"},
		Sited:    true,
		build:    of(func(vm string) Request { return Power{Do: "reboot", VM: vm} }),
		fields:   vmFields,
	},
	Verb{
		Name: "destroy", Also: []string{"delete", "remove", "rm"},
		Summary: "Remove a VM and its disks, for good",
		Args:    []Param{theVM},
		Flags: []Param{
			{Name: "detached", Type: TypeBool, Summary: "Its detached data disks go too", Default: "they stay"},
			dryRun,
		},
		Examples: []string{"/vm destroy web-1", "/vm destroy web-1 --dry-run"},
		Notes:    []string{"You see which volumes will go, and have to confirm it."},
		Sited:    true,
		build: func(v values) (Request, *Mistake) {
			return Destroy{VM: v.text("vm"), Detached: v.yes("detached"), DryRun: v.yes("dry-run")}, nil
		},
		fields: func(r Request) Fields {
			d := r.(Destroy)
			return Fields{"vm": d.VM, "detached": yes(d.Detached), "dry-run": yes(d.DryRun)}
		},
	},
	Verb{
		Name: "set", Also: []string{"resize", "change"},
		Summary: "Give a VM more or fewer CPUs, more or less memory, a larger disk",
		Args:    []Param{theVM},
		Flags: []Param{
			{Name: "cpu", Also: cpuWords, Type: TypeInt, Min: ofCPU.Min, Max: ofCPU.Max, Summary: "How many CPU cores", Default: "as it is", Example: "4", Offers: []string{"1", "2", "4", "8", "16"}},
			{Name: "ram", Also: ramWords, Type: TypeSize, Bare: "M", Min: ofRAM.Min, Max: ofRAM.Max, Summary: "Memory, like 4G or 512M; a bare number is megabytes", Default: "as it is", Example: "4G", Offers: []string{"1G", "2G", "4G", "8G", "16G", "32G"}},
			{Name: "disk", Type: TypeGrowth, Bare: "G", Min: minGrowth, Max: ofDisk.Max, Summary: "By how much its disk grows, like +20G", Default: "as it is", Example: "+20G", Offers: []string{"+10G", "+20G", "+50G", "+100G"}},
		},
		Examples: []string{"/vm set web-1 --cpu 4 --ram 8G", "/vm set web-1 --disk +20G"},
		Notes:    []string{"A disk can't shrink.", "Of several disks, say which one grows: --disk virtio1:+20G."},
		Sited:    true,
		build:    buildSet,
		fields:   setFields,
	},
	Verb{
		Name: "migrate", Also: []string{"move", "mv"},
		Summary: "Move a VM to another node, with its disks",
		Args: []Param{
			theVM,
			{Name: "node", Type: TypeNode, Required: true, Summary: "The node to move it to", Example: "pve2"},
		},
		Flags: []Param{
			{Name: "online", Also: []string{"live"}, Type: TypeBool, Summary: "While it runs", Default: "if it runs"},
			{Name: "offline", Type: TypeBool, Summary: "Only while it is stopped"},
			{Name: "storage", Type: TypeStorage, Summary: "The storage for its disks there", Default: "the one of the same name", Example: "local-lvm"},
			dryRun,
		},
		Examples: []string{"/vm migrate web-1 pve2", "/vm migrate web-1 pve2 --storage local-lvm --dry-run"},
		Sited:    true,
		build:    buildMigrate,
		fields:   migrateFields,
	},
	Verb{
		Name: "snapshot", Also: []string{"snap"},
		Summary: "Remember a VM's disks as they are now",
		Args: []Param{
			theVM,
			{Name: "name", Type: TypeSnapshot, Summary: "What to call it", Default: "the time", Example: "before-upgrade"},
		},
		Examples: []string{"/vm snapshot web-1 before-upgrade", "/vm snapshot web-1"},
		Sited:    true,
		build: func(v values) (Request, *Mistake) {
			return Snapshot{VM: v.text("vm"), Name: v.text("name")}, nil
		},
		fields: func(r Request) Fields { return Fields{"vm": r.(Snapshot).VM, "name": r.(Snapshot).Name} },
	},
	Verb{
		Name: "rollback", Also: []string{"revert"},
		Summary: "Take a VM back to a snapshot; what came after is lost",
		Args: []Param{
			theVM,
			{Name: "name", Type: TypeSnapshot, Required: true, Summary: "The snapshot", Example: "before-upgrade"},
		},
		Examples: []string{"/vm rollback web-1 before-upgrade"},
		Notes:    []string{"/vm snapshots lists what there is. You have to confirm it."},
		Sited:    true,
		build: func(v values) (Request, *Mistake) {
			return Rollback{VM: v.text("vm"), Name: v.text("name")}, nil
		},
		fields: func(r Request) Fields { return Fields{"vm": r.(Rollback).VM, "name": r.(Rollback).Name} },
	},
	Verb{
		Name: "snapshots", Also: []string{"snaps"},
		Summary:  "A VM's snapshots",
		Args:     []Param{theVM},
		Examples: []string{"/vm snapshots web-1"},
		Reads:    true,
		Sited:    true,
		build:    of(func(vm string) Request { return Snapshots{VM: vm} }),
		fields:   vmFields,
	},
	Verb{
		Name: "clone", Also: []string{"copy", "cp"},
		Summary: "Copy a VM into a new one with an address of its own",
		Args: []Param{
			theVM,
			{Name: "name", Type: TypeName, Summary: "The name of the new VM", Default: "chosen by the bot", Example: "web-2"},
		},
		Examples: []string{"/vm clone web-1 web-2", "/vm clone web-1"},
		Sited:    true,
		build: func(v values) (Request, *Mistake) {
			return Clone{VM: v.text("vm"), Name: v.text("name")}, nil
		},
		fields: func(r Request) Fields { return Fields{"vm": r.(Clone).VM, "name": r.(Clone).Name} },
	},
	Verb{
		Name: "extend", Also: []string{"renew", "keep"},
		Summary: "Let a VM live longer",
		Args: []Param{
			theVM,
			{Name: "time", Type: TypeDuration, Required: true, Min: minTTL, Max: maxTTL, Summary: "How much longer, like 12h, 7d or 2w", Example: "7d", Offers: []string{"1d", "7d", "30d"}},
		},
		Examples: []string{"/vm extend web-1 7d"},
		Sited:    true,
		build: func(v values) (Request, *Mistake) {
			return Extend{VM: v.text("vm"), By: time.Duration(v.num("time")) * time.Second}, nil
		},
		fields: func(r Request) Fields {
			return Fields{"vm": r.(Extend).VM, "time": seconds(int64(r.(Extend).By / time.Second))}
		},
	},
	Verb{
		Name: "adopt", Also: []string{"claim"},
		Summary:  "Become the owner of a VM that belongs to nobody",
		Args:     []Param{theVM},
		Examples: []string{"/vm adopt web-1"},
		Sited:    true,
		build:    of(func(vm string) Request { return Adopt{VM: vm} }),
		fields:   vmFields,
	},
	Verb{
		Name:     "trust",
		Summary:  "Take the new SSH host key of a VM for its own",
		Args:     []Param{theVM},
		Examples: []string{"/vm trust web-1"},
		Notes: []string{
			"A VM makes new keys after its name, address or keys were changed in Proxmox VE, or when it was installed anew.",
			"You see the known key and the new one, and have to confirm it.",
		},
		Sited:  true,
		build:  of(func(vm string) Request { return Trust{VM: vm} }),
		fields: vmFields,
	},
	Verb{
		Name: "drain", Also: []string{"evacuate"},
		Summary:  "Move every VM off a node, one after the other",
		Args:     []Param{{Name: "node", Type: TypeNode, Required: true, Summary: "The node to empty", Example: "pve2"}},
		Flags:    []Param{dryRun},
		Examples: []string{"/vm drain pve2", "/vm drain pve2 --dry-run"},
		Sited:    true,
		build: func(v values) (Request, *Mistake) {
			return Drain{Node: v.text("node"), DryRun: v.yes("dry-run")}, nil
		},
		fields: func(r Request) Fields {
			return Fields{"node": r.(Drain).Node, "dry-run": yes(r.(Drain).DryRun)}
		},
	},
	Verb{
		Name:     "jobs",
		Summary:  "What the bot is doing and has done lately",
		Examples: []string{"/vm jobs"},
		Reads:    true,
		build:    always(Jobs{}),
	},
	Verb{
		Name:     "nodes",
		Summary:  "The cluster's nodes and their load",
		Examples: []string{"/vm nodes"},
		Reads:    true,
		Sited:    true,
		build:    always(Nodes{}),
	},
	Verb{
		Name: "images", Also: []string{"os"},
		Summary:  "The operating systems that can be installed",
		Examples: []string{"/vm images"},
		Reads:    true,
		Sited:    true,
		build:    always(Images{}),
	},
	Verb{
		Name: "cancel", Also: []string{"abort"},
		Summary:  "Stop a job and undo what it did",
		Args:     []Param{{Name: "job", Type: TypeJob, Required: true, Summary: "The job's number", Example: "12"}},
		Examples: []string{"/vm cancel 12"},
		build: func(v values) (Request, *Mistake) {
			return Cancel{Job: provision.JobID(v.num("job"))}, nil
		},
		fields: func(r Request) Fields { return Fields{"job": r.(Cancel).Job.String()} },
	},
	Verb{
		Name: "can", Also: []string{"may"},
		Summary: "May somebody do that? With the rule that says so",
		Args: []Param{
			{Name: "who", Type: TypePerson, Required: true, Summary: "Who, as a mention", Example: "@U012ABC"},
			{Name: "verb", Type: TypeVerb, Required: true, Summary: "The command", Example: "destroy"},
			{Name: "vm", Type: TypeVM, Summary: "The VM it is about, or the job to cancel", Example: "web-1"},
		},
		Flags:    []Param{{Name: "node", Type: TypeNode, Summary: "The node it is about: where to install or migrate, what to drain", Example: "pve2"}},
		Examples: []string{"/vm can @U012ABC destroy web-1", "/vm can @U012ABC migrate web-1 --node pve2", "/vm can slack/U012ABC install"},
		Reads:    true,
		Sited:    true,
		build:    buildCan,
		fields:   canFields,
	},
	Verb{
		Name: "audit", Also: []string{"history", "log"},
		Summary:  "Who did what, by which rule, with which result",
		Args:     []Param{{Name: "about", Type: TypeSubject, Summary: "A VM, or a person as a mention", Default: "everything", Example: "web-1"}},
		Examples: []string{"/vm audit", "/vm audit web-1", "/vm audit @U012ABC"},
		Reads:    true,
		Sited:    true,
		build:    buildAudit,
		fields:   auditFields,
	},
	Verb{
		Name: "help", Also: []string{"?", "--help", "-h", "commands"},
		Summary:  "What can be said, or all about one command",
		Args:     []Param{{Name: "verb", Type: TypeVerb, Summary: "The command", Example: "install"}},
		Examples: []string{"/vm help", "/vm help install"},
		Reads:    true,
		build:    func(v values) (Request, *Mistake) { return Help{Topic: v.text("verb")}, nil },
		fields:   func(r Request) Fields { return Fields{"verb": r.(Help).Topic} },
	},
)
