package cluster

import (
	_ "embed"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// This file is the closed table of everything that is ever run on a node:
// each command is one function here, and nothing else in this package builds
// a Cmd. Values are words of their own, never spliced into a script; whoever
// calls has checked that none of them can pass for an option.

//go:embed scripts/task-lib.sh
var taskLib string

//go:embed scripts/task-start.sh
var taskStart string

//go:embed scripts/task-run.sh
var taskRun string

//go:embed scripts/task-find.sh
var taskFind string

//go:embed scripts/task-poll.sh
var taskPoll string

//go:embed scripts/task-interrupt.sh
var taskInterrupt string

//go:embed scripts/task-forget.sh
var taskForget string

//go:embed scripts/read-config.sh
var readConfig string

//go:embed scripts/addresses.sh
var addresses string

//go:embed scripts/alive.sh
var alive string

//go:embed scripts/proxy.sh
var useProxy string

//go:embed scripts/download.sh
var downloadFile string

//go:embed scripts/read-url.sh
var readURL string

//go:embed scripts/look-url.sh
var lookURL string

//go:embed scripts/look.sh
var look string

//go:embed scripts/gate.pl
var gateBegin string

//go:embed scripts/gate-end.pl
var gateEnd string

const (
	fileExists  = `if [ -e "$1" ]; then echo yes; else echo no; fi`
	haResources = `if [ -e "$1" ]; then cat -- "$1"; fi`
)

// script runs one of our constant scripts under the given name.
func script(text, name string, args ...string) Cmd {
	return Cmd{Argv: append([]string{"sh", "-c", text, name}, args...)}
}

// changes marks a command as one that changes something.
func changes(c Cmd) Cmd {
	c.Changes = true
	return c
}

// Tasks.

func cmdTaskStart(runDir, key, nonce, bootID, systemd string, c Cmd) Cmd {
	start := script(taskStart, "task-start", runDir, key, nonce, bootID,
		strconv.Itoa(len(c.Stdin)), Quote(c.Argv), taskRun, systemd)
	start.Stdin, start.Changes = c.Stdin, c.Changes
	return start
}

func cmdTaskFind(runDir, key string) Cmd {
	return script(taskFind, "task-find", runDir, key)
}

func cmdTaskPoll(runDir, key, nonce, bootID string, offset int64, looks, pause, limit int) Cmd {
	return script(taskLib+taskPoll, "task-poll", runDir, key, nonce, bootID,
		strconv.FormatInt(offset, 10), strconv.Itoa(looks), strconv.Itoa(pause), strconv.Itoa(limit))
}

func cmdTaskInterrupt(runDir, key, nonce, bootID string) Cmd {
	return changes(script(taskLib+taskInterrupt, "task-interrupt", runDir, key, nonce, bootID))
}

func cmdTaskForget(runDir, key, nonce, bootID string) Cmd {
	return changes(script(taskLib+taskForget, "task-forget", runDir, key, nonce, bootID))
}

// Files: milliseconds.

func cmdMembers(etc string) Cmd { return Cmd{Argv: []string{"cat", "--", etc + "/.members"}} }

func cmdBootID(file string) Cmd { return Cmd{Argv: []string{"cat", "--", file}} }

func cmdVMList(etc string) Cmd { return Cmd{Argv: []string{"cat", "--", etc + "/.vmlist"}} }

// cmdReadConfig exits with noConfigStatus when there is no such file.
func cmdReadConfig(etc, node string, vmid int) Cmd {
	return script(readConfig, "read-config", etc, node, strconv.Itoa(vmid))
}

const noConfigStatus = 44

func cmdAddresses(etc string) Cmd { return script(addresses, "addresses", etc) }

func cmdFileExists(path string) Cmd {
	return script(fileExists, "file-exists", path)
}

func cmdLook(dir string, tools ...string) Cmd {
	return script(look, "look", append([]string{dir}, tools...)...)
}

// Questions to PVE: most of a second each.

func pvesh(path string) Cmd {
	return Cmd{Argv: []string{"pvesh", "get", path, "--output-format", "json"}}
}

func cmdResources() Cmd { return pvesh("/cluster/resources") }

func cmdStorages(node string) Cmd { return pvesh("/nodes/" + node + "/storage") }

func cmdVolumes(node, storage string) Cmd {
	return pvesh("/nodes/" + node + "/storage/" + storage + "/content")
}

// PVE: only who asks for any_bridge is told of the vnets on the node.
func cmdNetworks(node string) Cmd {
	cmd := pvesh("/nodes/" + node + "/network")
	cmd.Argv = append(cmd.Argv, "--type", "any_bridge")
	return cmd
}

func cmdNodeStatus(node string) Cmd { return pvesh("/nodes/" + node + "/status") }

func cmdStatus(vmid int) Cmd { return qm("status", vmid) }

// Actions.

func qm(verb string, vmid int, args ...string) Cmd {
	return Cmd{Argv: append([]string{"qm", verb, strconv.Itoa(vmid)}, args...)}
}

func cmdStart(vmid int) Cmd { return changes(qm("start", vmid)) }

func cmdStop(vmid int) Cmd { return changes(qm("stop", vmid)) }

func cmdResize(vmid int, disk string, size int64) Cmd {
	return changes(Cmd{Argv: []string{"qm", "disk", "resize", strconv.Itoa(vmid), disk, strconv.FormatInt(size, 10)}})
}

func cmdDestroy(vmid int, o DestroyOptions) Cmd {
	args := []string{"--purge", "1", "--destroy-unreferenced-disks", flag(o.Unreferenced)}
	if o.SkipLock {
		args = append(args, "--skiplock", "1")
	}
	return changes(qm("destroy", vmid, args...))
}

func cmdFreeVolume(volume string) Cmd {
	return changes(Cmd{Argv: []string{"pvesm", "free", volume}})
}

// cmdCreate makes a VM with its disk in one call. Resizing and starting can't
// be part of it (PVE: import-from wants size 0; `--start 1` ends well when
// the start failed). PVE: a password in
// clear text would be stored as it is.
func cmdCreate(vm NewVM) Cmd {
	c := qm("create", vm.VMID,
		"--name", vm.Name,
		"--memory", strconv.Itoa(vm.MemoryMB),
		"--cores", strconv.Itoa(vm.Cores),
		"--cpu", vm.CPU,
		"--numa", flag(vm.NUMA),
		"--ostype", "l26",
		"--net0", vm.net0(),
		"--scsihw", "virtio-scsi-single",
		"--scsi0", vm.disk(),
		"--ide2", vm.Storage+":cloudinit",
		"--boot", "order=scsi0",
		"--serial0", "socket",
		"--vga", "serial0",
		"--agent", "enabled=1",
		"--onboot", flag(vm.OnBoot),
		"--ciupgrade", "0",
		"--ipconfig0", vm.IPConfig, // PVE: a net without it gets no address at all
	)
	if vm.UUID != "" {
		c.Argv = append(c.Argv, "--smbios1", "uuid="+vm.UUID)
	}
	if len(vm.Tags) > 0 {
		c.Argv = append(c.Argv, "--tags", strings.Join(vm.Tags, ";"))
	}
	if vm.Description != "" {
		c.Argv = append(c.Argv, "--description", inASCII(vm.Description))
	}
	vm.guestOptions(&c)
	return changes(c)
}

// disk is the VM's disk. PVE: a file that is imported by its path becomes a raw
// disk unless another format is asked for.
func (vm NewVM) disk() string {
	disk := vm.Storage + ":0,import-from=" + vm.ImportFrom
	if vm.Format != "" {
		disk += ",format=" + vm.Format
	}
	return disk + ",discard=on"
}

// inASCII writes what is beyond ASCII as %XX, for arguments that people read. PVE
// 9: where the shell has no locale, each byte of it would become U+FFFD.
func inASCII(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if text[i] < 0x80 {
			b.WriteByte(text[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", text[i])
		}
	}
	return b.String()
}

func flag(on bool) string {
	if on {
		return "1"
	}
	return "0"
}

// Reaching out from a node.

// cmdAlive prints "up ADDR" for each address that answers, "? ADDR" for one
// that could not be asked.
func cmdAlive(addrs []netip.Addr) Cmd {
	args := make([]string, len(addrs))
	for i, a := range addrs {
		args[i] = a.String()
	}
	return script(alive, "alive", args...)
}

func cmdReadURL(etc, url string) Cmd { return script(useProxy+readURL, "read-url", etc, url) }

func cmdHead(etc, url string) Cmd { return script(useProxy+lookURL, "look-url", etc, url) }

func cmdDownload(etc string, d Download) Cmd {
	return changes(script(useProxy+downloadFile, "download", d.Dir, d.File, d.URL, d.Algorithm+"sum", strings.ToLower(d.Sum), etc))
}
