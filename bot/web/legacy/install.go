package legacy

import (
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"pvebot/commands"
	"pvebot/provision"
)

// installBody is what a client sends. Zero and "" are the same as absent:
// clients in Go and Java send them for what nobody filled in.
type installBody struct {
	OS      string `json:"os"`
	Version string `json:"version"`
	Name    string `json:"name"`
	ID      int    `json:"id"`
	Node    string `json:"node"`
	CPU     int    `json:"cpu"`
	RAM     int    `json:"ram"`  // MB
	Disk    string `json:"disk"` // 16G
	User    string `json:"user"`
	Passwd  string `json:"passwd"`
	PubKey  string `json:"pubkey"`
}

// What a VM has when the client does not say.
const (
	defaultCores    = 2
	defaultMemoryMB = 2048
)

// install answers with the stream of an install.
func (a *API) install(w http.ResponseWriter, r *http.Request, by provision.Actor) error {
	var b installBody
	if err := body(r, &b); err != nil {
		return err
	}
	spec, notes, err := b.spec(a.Settings)
	if err != nil {
		return err
	}
	job, err := a.place(r.Context(), by, spec, commands.Install{Spec: spec, Count: 1})
	if provision.KindOf(err) == provision.NotFound { // there is no such system: the body is wrong, not the path
		say, try := provision.Explain(err)
		err = &provision.Error{Kind: provision.Invalid, Say: say, Try: try, Err: err}
	}
	return a.stream(w, r, job, err, narrator{notes: notes, named: b.Node != ""})
}

// spec is what b orders. What is above the limits is brought down to them, as
// ever; notes, by stage, say so.
func (b installBody) spec(s provision.Settings) (spec provision.Install, notes map[string][]string, err error) {
	if err := b.check(); err != nil {
		return spec, nil, err
	}
	spec = provision.Install{
		OS: b.OS, Version: b.Version, Name: b.Name, NumberName: true, VMID: b.ID, Node: b.Node, User: b.User,
		Key: strings.TrimSpace(b.PubKey), Cores: b.CPU, MemoryMB: b.RAM, DiskMB: minInstallGB << 10,
	}
	if spec.Node == "" {
		spec.Node = s.MainNode
	}
	if spec.Cores == 0 {
		spec.Cores = defaultCores
	}
	if spec.MemoryMB == 0 {
		spec.MemoryMB = defaultMemoryMB
	}
	if b.Disk != "" {
		mb, ok := parseDisk(b.Disk)
		if !ok || mb < minInstallGB<<10 {
			return spec, nil, provision.Errorf(provision.Invalid, "disk is %s: at least \"%dG\"", quote(b.Disk), minInstallGB)
		}
		spec.DiskMB = mb
	}
	notes = map[string][]string{}
	note := func(stage, format string, v ...any) { notes[stage] = append(notes[stage], fmt.Sprintf(format, v...)) }
	if limit := s.MaxCores; limit > 0 && spec.Cores > limit {
		note(stageCPU, "%d CPUs are more than one VM may have: it gets %d", spec.Cores, limit)
		spec.Cores = limit
	}
	if limit := s.MaxMemoryMB; limit > 0 && spec.MemoryMB > limit {
		note(stageCPU, "%d MB of memory are more than one VM may have: it gets %d", spec.MemoryMB, limit)
		spec.MemoryMB = limit
	}
	if limit := s.MaxDiskMB; limit > 0 && spec.DiskMB > limit {
		note(stageDisk, "a disk of %d GB is more than one VM may have: it gets %d", spec.DiskMB>>10, limit>>10)
		spec.DiskMB = limit
	}
	if b.Passwd != "" {
		if spec.PasswordHash, err = provision.HashPassword(b.Passwd); err != nil {
			return spec, nil, err
		}
	}
	return spec, notes, spec.Validate()
}

// The stages of an install that notes belong to.
const (
	stageCPU  = "validating CPU and RAM"
	stageDisk = "validating disk size"
)

func (b installBody) check() error {
	for name, s := range map[string]string{
		"os": b.OS, "version": b.Version, "name": b.Name, "node": b.Node, "user": b.User, "passwd": b.Passwd, "pubkey": strings.TrimSpace(b.PubKey),
	} {
		if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }) {
			return provision.Errorf(provision.Invalid, "%s has a line break or an invisible character in it", name)
		}
	}
	switch {
	case b.OS == "":
		return provision.Errorf(provision.Invalid, "os is missing: debian, ubuntu or rockylinux")
	case b.Version == "":
		return provision.Errorf(provision.Invalid, "version is missing, like \"24.04\"")
	case b.ID != 0 && (b.ID < 100 || b.ID > 254):
		return provision.Errorf(provision.Invalid, "id is %d: 100 to 254", b.ID)
	case b.CPU < 0 || b.RAM < 0:
		return provision.Errorf(provision.Invalid, "cpu and ram can't be negative")
	case b.RAM != 0 && b.RAM < minMemoryMB:
		return provision.Errorf(provision.Invalid, "ram is %d: at least %d MB", b.RAM, minMemoryMB)
	case b.Node != "" && !nodeRE.MatchString(b.Node):
		return provision.Errorf(provision.Invalid, "node is %s: the name of a node, like \"pve2\"", quote(b.Node))
	}
	return nil
}
