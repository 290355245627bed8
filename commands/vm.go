package commands

import (
	"maps"
	"strings"

	"pvebot/provision"
)

// of is the build of a verb that takes a VM and nothing else, vmFields its
// inverse.
func of(request func(vm string) Request) func(values) (Request, *Mistake) {
	return func(v values) (Request, *Mistake) { return request(v.text("vm")), nil }
}

func vmFields(r Request) Fields { return Fields{"vm": r.(VMRequest).NamesVM()} }

// yes is a switch as a field.
func yes(on bool) string {
	if on {
		return "true"
	}
	return ""
}

func buildSet(v values) (Request, *Mistake) {
	r := Set{VM: v.text("vm"), Cores: int(v.num("cpu")), MemoryMB: int(v.num("ram")), GrowMB: v.num("disk")}
	if disk, _, named := strings.Cut(v.text("disk"), ":"); named {
		r.Disk = disk
	}
	if r.Cores == 0 && r.MemoryMB == 0 && r.GrowMB == 0 {
		return nil, &Mistake{
			Say:   "set wants something to change: --cpu, --ram or --disk",
			Param: "cpu", Missing: true,
			fix: Fields{"vm": r.VM, "cpu": "4"},
		}
	}
	return r, nil
}

func setFields(r Request) Fields {
	s := r.(Set)
	f := Fields{"vm": s.VM, "cpu": number(int64(s.Cores)), "ram": Size(int64(s.MemoryMB))}
	if s.GrowMB > 0 {
		f["disk"] = "+" + Size(s.GrowMB)
		if s.Disk != "" {
			f["disk"] = s.Disk + ":" + f["disk"]
		}
	}
	return f
}

func buildMigrate(v values) (Request, *Mistake) {
	r := Migrate{VM: v.text("vm"), Node: v.text("node"), Storage: v.text("storage"), DryRun: v.yes("dry-run")}
	switch online, offline := v.yes("online"), v.yes("offline"); {
	case online && offline:
		return nil, &Mistake{Say: "--online and --offline exclude each other", Param: "offline", fix: migrateFields(r)}
	case online:
		r.Mode = "online"
	case offline:
		r.Mode = "offline"
	}
	return r, nil
}

func migrateFields(r Request) Fields {
	m := r.(Migrate)
	return given(Fields{
		"vm": m.VM, "node": m.Node, "storage": m.Storage, "dry-run": yes(m.DryRun),
		"online": yes(m.Mode == "online"), "offline": yes(m.Mode == "offline"),
	})
}

func buildCan(v values) (Request, *Mistake) {
	r := Can{Who: v.text("who"), Do: v.text("verb"), VM: v.text("vm"), Node: v.text("node")}
	fix := canFields(r)
	switch about := v.num("verb") == 1; {
	case about && r.VM == "":
		fix["vm"] = theVM.Example
		return nil, &Mistake{Say: "can wants VM: whose matters when it is about " + r.Do, Param: "vm", Missing: true, fix: fix}
	case !about && r.VM != "":
		delete(fix, "vm")
		return nil, &Mistake{Say: r.Do + " is about no VM that exists", Param: "vm", fix: fix}
	}
	return r, nil
}

func canFields(r Request) Fields {
	c := r.(Can)
	return given(Fields{"who": c.Who, "verb": c.Do, "vm": c.VM, "node": c.Node})
}

func buildAudit(v values) (Request, *Mistake) {
	about := v.text("about")
	if isPerson(about) {
		return Audit{Who: about}, nil
	}
	return Audit{VM: about}, nil
}

func auditFields(r Request) Fields { return given(Fields{"about": r.(Audit).VM + r.(Audit).Who}) }

// given is f without what is empty.
func given(f Fields) Fields {
	maps.DeleteFunc(f, func(_, text string) bool { return text == "" })
	return f
}

// isPerson: names of VMs have neither @ nor /.
func isPerson(text string) bool { return strings.ContainsAny(text, "@/") }

// Person is the one whom a request names: @ID is somebody of platform, where
// the request was made; PLATFORM/ID says it all.
func Person(platform, who string) provision.Actor {
	if p, id, ok := strings.Cut(who, "/"); ok {
		return provision.Actor{Platform: p, ID: id}
	}
	return provision.Actor{Platform: platform, ID: strings.TrimPrefix(who, "@")}
}
