package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh/knownhosts"

	"pvebot/cluster"
)

// needed are the tools that a node has to have, with what brings them; "" for
// those of PVE itself.
var needed = []struct{ tool, pkg string }{
	{"qm", ""}, {"pvesh", ""}, {"pvesm", ""},
	{"wget", "wget"}, {"ping", "iputils-ping"}, {"setsid", "util-linux"}, {"sha256sum", "coreutils"}, {"sha512sum", "coreutils"},
}

// nodes looks at every node that is configured, all at once.
func (e *exam) nodes(ctx context.Context) {
	var tools []string
	for _, n := range needed {
		tools = append(tools, n.tool)
	}
	type answer struct {
		look cluster.Look
		off  time.Duration
		err  error
	}
	names := e.Cluster.Nodes().Names()
	answers := make([]answer, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() {
			before := e.Clock.Now()
			look, err := e.Cluster.Look(ctx, name, e.ImageDir, tools...)
			after := e.Clock.Now()
			// Right is whatever lies between the two moments, less a second, of
			// which the node tells no parts.
			off := max(before.Add(-time.Second).Sub(look.Time), look.Time.Sub(after), 0).Round(time.Second)
			answers[i] = answer{look, off, err}
		})
	}
	all.Wait()
	for i, name := range names {
		if err := answers[i].err; err != nil {
			e.unreachable(name, err)
			continue
		}
		look := answers[i].look
		e.looks[name], e.off[name] = look, answers[i].off
		if look.User != "root" {
			e.problem(name, "SSH_USER=root", "the bot is %s there, and qm wants root", look.User)
			continue
		}
		e.fine(name, "answers as root, and its host key is the pinned one")
	}
}

// unreachable says why a node does not answer, and what helps.
func (e *exam) unreachable(name string, err error) {
	wrong, isKey := errors.AsType[*cluster.HostKeyError](err)
	switch {
	case isKey && wrong.Revoked != "":
		e.problem(name, fmt.Sprintf("make new host keys on %s (rm /etc/ssh/ssh_host_*; dpkg-reconfigure openssh-server), or remove that line if it is there by mistake; then: bot nodes trust %s", name, name),
			"it shows a host key that %s revokes: %s", wrong.Revoked, wrong.Fingerprint)
	case isKey && wrong.Changed:
		e.problem(name, fmt.Sprintf("make sure that %s was installed anew, then: %s && bot nodes trust %s", name, forget(wrong), name),
			"it shows another host key than the pinned one: %s", wrong.Fingerprint)
	case isKey:
		e.problem(name, "bot nodes trust "+name, "its host key is not pinned: %s", wrong.Fingerprint)
	case cluster.IsRefusedByGate(err):
		e.oldGate(name)
	case strings.Contains(err.Error(), "unable to authenticate"):
		e.problem(name, e.ssh(name, "ssh-copy-id -i "+e.KeyFile), "it does not let the bot's key in")
	case isUnknownHost(err):
		e.problem(name, "write the address: NODE_"+name+"=ADDRESS; names and ports of ~/.ssh/config are not read",
			"nobody knows a machine called %s", e.Addrs[name])
	default:
		e.problem(name, "see whether NODE_"+name+" is right: "+e.on(name, "hostname"), "it can't be reached at %s: %v", e.Addrs[name], err)
	}
}

// isUnknownHost reports whether a name has no address.
func isUnknownHost(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound
}

// oldGate says that a node refuses what this version of the bot runs there.
func (e *exam) oldGate(name string) {
	e.problem(name, "bot gate | "+e.on(name, "install -m 0755 /dev/stdin /usr/local/sbin/pvebot-gate"),
		"its gate is of another version of the bot, or of other settings")
}

// forget is the command that removes the key that is known for a machine.
func forget(wrong *cluster.HostKeyError) string {
	words := "ssh-keygen -R " + hostOf(wrong.Addr)
	if known, ok := errors.AsType[*knownhosts.KeyError](wrong); ok && len(known.Want) > 0 && known.Want[0].Filename != "" {
		words += " -f " + known.Want[0].Filename
	}
	return words
}

// hostOf is how known_hosts calls an address, to be typed into a shell.
func hostOf(addr string) string {
	host := knownhosts.Normalize(addr)
	if strings.ContainsAny(host, "[]") {
		return cluster.Quote([]string{host})
	}
	return host
}

func (e *exam) tools(context.Context) {
	for _, name := range e.answering() {
		has := e.looks[name].Has
		var pve, others, packages []string
		for _, n := range needed {
			switch {
			case has[n.tool]:
			case n.pkg == "":
				pve = append(pve, n.tool)
			default:
				others, packages = append(others, n.tool), append(packages, n.pkg)
			}
		}
		switch {
		case len(pve) > 0:
			e.problem(name, e.on(name, "pveversion"), "there is no %s: is it a Proxmox VE node?", strings.Join(pve, ", no "))
		case len(others) > 0:
			slices.Sort(packages)
			e.problem(name, e.on(name, "apt install "+strings.Join(slices.Compact(packages), " ")), "there is no %s", strings.Join(others, ", no "))
		default:
			e.fine(name, "qm, pvesh, pvesm and all else are there")
		}
	}
}

// How far a clock may be off: leases and tasks are told apart by seconds,
// certificates and Ceph by less than a minute.
const (
	skewWarning = 5 * time.Second
	skewProblem = time.Minute
)

// clocks compares the nodes with this machine.
func (e *exam) clocks(context.Context) {
	for _, name := range e.answering() {
		off := e.off[name]
		fix := e.on(name, "systemctl restart chrony; timedatectl") + ", and timedatectl here"
		switch {
		case off > skewProblem:
			e.problem(name, fix, "its clock and this machine's are %s apart", off)
		case off > skewWarning:
			e.warn(name, fix, "its clock and this machine's are %s apart", off)
		default:
			e.fine(name, "its clock is right")
		}
	}
}

// leastRoom is what the largest image of the catalogue takes, with what is
// unpacked of it.
const leastRoom = 4 << 30

func (e *exam) room(context.Context) {
	for _, name := range e.answering() {
		space := e.looks[name].Space
		if space < leastRoom {
			e.warn(name, e.on(name, "df -h "+e.ImageDir)+", then make room or set IMAGE_DIR",
				"%s free for images in %s", size(space), e.ImageDir)
			continue
		}
		e.fine(name, "%s free for images in %s", size(space), e.ImageDir)
	}
}
