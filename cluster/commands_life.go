package cluster

import (
	"strconv"
	"strings"
	"time"
)

// The commands of a VM's life after it was made; see commands.go.

func cmdShutdown(vmid int, wait time.Duration) Cmd {
	return changes(qm("shutdown", vmid, "--timeout", seconds(wait)))
}

func cmdReboot(vmid int, wait time.Duration) Cmd {
	return changes(qm("reboot", vmid, "--timeout", seconds(wait)))
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d.Seconds())) }

func cmdSet(vmid int, o Options) Cmd {
	var args []string
	option := func(name, value string) {
		if value != "" {
			args = append(args, name, value)
		}
	}
	if o.Cores > 0 {
		option("--cores", strconv.Itoa(o.Cores))
	}
	if o.MemoryMB > 0 {
		option("--memory", strconv.Itoa(o.MemoryMB))
	}
	if o.BalloonMB > 0 {
		option("--balloon", strconv.Itoa(o.BalloonMB))
	}
	option("--name", o.Name)
	option("--ipconfig0", o.IPConfig)
	option("--description", inASCII(o.Description))
	option("--delete", o.Delete)
	return changes(qm("set", vmid, args...))
}

func cmdSnapshot(vmid int, name, description string) Cmd {
	args := []string{name}
	if description != "" {
		args = append(args, "--description", inASCII(strings.ReplaceAll(description, "%", "%25")))
	}
	return changes(qm("snapshot", vmid, args...))
}

func cmdDeleteSnapshot(vmid int, name string) Cmd { return changes(qm("delsnapshot", vmid, name)) }

func cmdRollback(vmid int, name string) Cmd { return changes(qm("rollback", vmid, name)) }

func cmdSnapshots(node string, vmid int) Cmd {
	return pvesh("/nodes/" + node + "/qemu/" + strconv.Itoa(vmid) + "/snapshot")
}

func cmdMigrationCheck(node string, vmid int, target string) Cmd {
	c := pvesh("/nodes/" + node + "/qemu/" + strconv.Itoa(vmid) + "/migrate")
	c.Argv = append(c.Argv, "--target", target)
	return c
}

func cmdMigrate(m Migration) Cmd {
	args := []string{m.Target}
	if m.Online {
		args = append(args, "--online", "1")
	}
	if m.LocalDisks {
		args = append(args, "--with-local-disks", "1")
	}
	if m.Storage != "" {
		args = append(args, "--targetstorage", m.Storage)
	}
	return changes(qm("migrate", m.VMID, args...))
}

func cmdClone(c NewClone) Cmd {
	args := []string{strconv.Itoa(c.NewID), "--name", c.Name, "--full", "1"}
	if c.Description != "" {
		args = append(args, "--description", inASCII(c.Description))
	}
	if c.Storage != "" {
		args = append(args, "--storage", c.Storage)
	}
	return changes(qm("clone", c.VMID, args...))
}

func cmdAgentPing(vmid int) Cmd {
	return Cmd{Argv: []string{"qm", "guest", "cmd", strconv.Itoa(vmid), "ping"}}
}

func cmdAgentInterfaces(vmid int) Cmd {
	return Cmd{Argv: []string{"qm", "guest", "cmd", strconv.Itoa(vmid), "network-get-interfaces"}}
}

func cmdHAResources(etc string) Cmd {
	return script(haResources, "ha-resources", etc+"/ha/resources.cfg")
}
