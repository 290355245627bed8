package bot

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"pvebot/cluster"
	"pvebot/commands"
	"pvebot/provision"
)

func listCard(vms []provision.VM) Card {
	t := &Table{Head: []string{"VMID", "name", "node", "status", "CPUs", "memory", "disk", "owner", "ends"}}
	for _, vm := range vms {
		if vm.Type != "qemu" || vm.Template {
			continue
		}
		row := []string{strconv.Itoa(vm.VMID), vm.Name, vm.Node, vm.Status, "?", "?", "?", "-", "-"}
		if vm.Cores > 0 { // a silent node has no figures
			row[4], row[5], row[6] = strconv.Itoa(vm.Cores), mebibytes(int64(vm.MemoryMB)), mebibytes(vm.DiskMB)
		}
		if vm.Owner != nil {
			row[7] = vm.Owner.String()
		}
		if !vm.Until.IsZero() {
			row[8] = vm.Until.UTC().Format(time.DateOnly)
		}
		t.Rows = append(t.Rows, row)
	}
	if len(t.Rows) == 0 {
		return Card{Title: "VMs", Text: "There are none yet.", Fields: []Field{{Name: "try", Value: "/vm install ubuntu", Code: true}}}
	}
	return Card{Title: "VMs", Table: t, Footer: count(len(t.Rows), "VM", "VMs")}
}

func mebibytes(n int64) string { return bytesText(n << 20) }

// vmCard tells all about a VM; jobs are those about it, newest first.
func vmCard(vm provision.VM, jobs []provision.Job, now time.Time) Card {
	c := Card{Title: fmt.Sprintf("%s (VMID %d)", cmp.Or(vm.Name, "VM"), vm.VMID), Tone: Plain}
	add := func(name, value string) {
		if value != "" {
			c.Fields = append(c.Fields, Field{Name: name, Value: value})
		}
	}
	add("status", vm.Status)
	if vm.Template {
		add("kind", "a template")
	}
	add("locked", vm.Lock)
	add("node", vm.Node)
	if vm.Cores > 0 {
		add("CPUs", strconv.Itoa(vm.Cores))
		add("memory", mebibytes(int64(vm.MemUsedMB))+" of "+mebibytes(int64(vm.MemoryMB)))
		add("disk", mebibytes(vm.DiskMB))
	}
	if vm.Uptime > 0 {
		add("up for", Took(vm.Uptime))
	}
	add("tags", strings.Join(vm.Tags, ", "))
	add("uuid", vm.UUID)
	if vm.Owner != nil {
		add("owner", vm.Owner.String())
		add("lives", livesUntil(vm))
		if vm.Until.IsZero() {
			c.Fields = c.Fields[:len(c.Fields)-1]
		} else if left := vm.Until.Sub(now); left > 0 {
			c.Fields[len(c.Fields)-1].Value += ", " + Took(left) + " from now"
		}
	} else {
		add("owner", "nobody I know")
		add("try", fmt.Sprintf("/vm adopt %d", vm.VMID))
	}
	if vm.IP.IsValid() {
		add("IP", vm.IP.String())
		if made := madeBy(jobs, vm); made != nil && made.Facts.User != "" {
			c.Fields = append(c.Fields, Field{Name: "ssh", Value: sshLine(made.Facts.User, vm.IP), Code: true})
		}
	}
	if len(jobs) > 0 {
		c.Footer = fmt.Sprintf("last job: %d, which %s", jobs[0].ID, stateWords(jobs[0].State))
	}
	return c
}

// livesUntil is a VM's end of life in words.
func livesUntil(vm provision.VM) string {
	if vm.Until.IsZero() {
		return "it has no end of life"
	}
	return "until " + moment(vm.Until)
}

// madeBy is the job that made the VM, nil when it is not among jobs.
func madeBy(jobs []provision.Job, vm provision.VM) *provision.Job {
	for i, job := range jobs {
		if job.ID == vm.Job {
			return &jobs[i]
		}
	}
	return nil
}

func sshLine(user string, ip netip.Addr) string { return "ssh " + user + "@" + ip.String() }

func snapshotsCard(vm provision.VM, list []cluster.VMSnapshot) Card {
	c := Card{Title: "Snapshots of " + vm.String()}
	if len(list) == 0 {
		c.Text = "There are none."
		c.Fields = []Field{{Name: "try", Value: fmt.Sprintf("/vm snapshot %d before-upgrade", vm.VMID), Code: true}}
		return c
	}
	c.Table = &Table{Head: []string{"name", "taken", "memory", "after", "about"}}
	for _, s := range list {
		memory := "no"
		if s.WithMemory {
			memory = "yes"
		}
		about, _, _ := strings.Cut(strings.TrimSpace(s.Description), "\n")
		c.Table.Rows = append(c.Table.Rows, []string{s.Name, moment(s.At), memory, s.Parent, about})
	}
	c.Fields = []Field{{Name: "go back", Value: commands.Format(commands.Rollback{VM: strconv.Itoa(vm.VMID), Name: list[len(list)-1].Name}), Code: true}}
	return c
}
