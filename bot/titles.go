package bot

import (
	"fmt"
	"strings"
	"time"

	"pvebot/commands"
	"pvebot/provision"
)

// titleOf is what a job is about, in a few words.
func titleOf(job provision.Job) string {
	switch s := job.Order.Spec.(type) {
	case nil:
		return fmt.Sprintf("Job %d", job.ID)
	case provision.Install:
		return installTitle(s, job.Facts.Name)
	case provision.Power:
		return powerWords[s.Do] + " " + s.VM.String()
	case provision.Set:
		return "Change " + s.VM.String() + ": " + strings.Join(changesOf(s), ", ")
	case provision.Destroy:
		return "Destroy " + s.VM.String()
	case provision.Migrate:
		return "Migrate " + s.VM.String() + " to " + s.To
	case provision.Snapshot:
		return withName("Snapshot of "+s.VM.String(), s.Name)
	case provision.Rollback:
		return "Roll " + s.VM.String() + " back to " + s.Name
	case provision.Clone:
		return withName("Clone "+s.VM.String(), s.Name)
	case provision.Extend:
		return "Extend the life of " + s.VM.String() + " until " + moment(s.Until)
	case provision.Adopt:
		return "Adopt " + s.VM.String()
	case provision.Trust:
		return "Trust the new host key of " + s.VM.String()
	case provision.Remind:
		if s.Over {
			return s.VM.String() + " is over"
		}
		return s.VM.String() + " ends soon"
	case provision.Drain:
		return fmt.Sprintf("Drain %s: %s", s.Node, count(len(s.Moves), "VM", "VMs"))
	default:
		return capital(s.Kind())
	}
}

var powerWords = map[string]string{"start": "Start", "stop": "Stop", "shutdown": "Shut down", "reboot": "Reboot"}

func withName(title, name string) string {
	if name == "" {
		return title
	}
	return title + ": " + name
}

func installTitle(spec provision.Install, name string) string {
	if name == "" {
		name = spec.Name
	}
	return withName(strings.TrimSpace("Install "+spec.OS+" "+spec.Version), name)
}

func changesOf(s provision.Set) []string {
	var all []string
	if s.Cores != 0 {
		all = append(all, count(s.Cores, "CPU", "CPUs"))
	}
	if s.MemoryMB != 0 {
		all = append(all, commands.Size(int64(s.MemoryMB))+" of memory")
	}
	if s.GrowMB != 0 {
		what := "disk"
		if s.Disk != "" && s.Disk != provision.TheBootDisk {
			what = "disk " + s.Disk
		}
		all = append(all, what+" +"+commands.Size(s.GrowMB))
	}
	return all
}

// moment writes a time as all cards do.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
