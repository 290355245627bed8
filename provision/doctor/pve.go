package doctor

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pvebot/cluster"
)

func (e *exam) quorum(ctx context.Context) {
	m, err := e.Cluster.Membership(ctx)
	if err != nil {
		e.problem("", e.on(e.MainNode, "systemctl status pve-cluster corosync"), "the cluster does not tell its members: %v", err)
		return
	}
	if !m.Quorate {
		e.problem("", e.on(e.MainNode, "pvecm status"), "the cluster has no quorum: nothing can be created, started or moved")
	}
	members := map[string]bool{}
	for _, n := range m.Members {
		members[n.Name] = true
		if _, configured := e.Addrs[n.Name]; !configured {
			addr := "ADDRESS"
			if n.IP.IsValid() {
				addr = n.IP.String()
			}
			e.warn(n.Name, fmt.Sprintf("NODE_%s=%s", n.Name, addr), "it is in the cluster, and the bot does not know it: VMs that move there are out of reach")
		}
		if !n.Online {
			e.warn(n.Name, e.on(n.Name, "systemctl status corosync"), "the cluster says that it is offline")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.Addrs)) {
		if len(members) > 0 && !members[name] {
			e.problem(name, fmt.Sprintf("take NODE_%s out, or call it as PVE does: %s", name, strings.Join(slices.Sorted(maps.Keys(members)), ", ")),
				"the cluster has no node of that name")
		}
	}
	if m.Quorate {
		e.fine("", "the cluster has a quorum, %d of %d nodes are online", online(m), max(len(m.Members), 1))
	}
}

func online(m cluster.Membership) int {
	n := 0
	for _, member := range m.Members {
		if member.Online {
			n++
		}
	}
	return max(n, 1) // whoever stands alone does not say so
}

// Older ones lack what the bot uses: x86-64-v2 and on since 8.0.4, ciupgrade
// since 8.0.7.
const leastMajor, leastMinor = 8, 1

var pveVersion = regexp.MustCompile(`^pve-manager/(\d+)\.(\d+)[^/]*`)

func (e *exam) versions(ctx context.Context) {
	found := map[string]bool{}
	for _, name := range e.answering() {
		status, err := e.Cluster.NodeStatus(ctx, name)
		if err != nil {
			e.problem(name, e.on(name, "systemctl status pvedaemon pve-cluster"), "it does not tell its status: %v", err)
			continue
		}
		m := pveVersion.FindStringSubmatch(status.Version)
		if m == nil {
			e.warn(name, e.on(name, "pveversion"), "its version is %q, which says nothing", status.Version)
			continue
		}
		release := strings.TrimPrefix(m[0], "pve-manager/")
		found[m[1]+"."+m[2]] = true
		major, _ := strconv.Atoi(m[1]) // digits
		minor, _ := strconv.Atoi(m[2])
		if major < leastMajor || major == leastMajor && minor < leastMinor {
			e.problem(name, e.on(name, "apt update && apt full-upgrade"), "it runs Proxmox VE %s; the bot needs %d.%d", release, leastMajor, leastMinor)
			continue
		}
		e.fine(name, "Proxmox VE %s", release)
	}
	if len(found) > 1 {
		e.warn("", "upgrade the older nodes", "the nodes run different releases (%s): VMs move only to newer ones", strings.Join(slices.Sorted(maps.Keys(found)), ", "))
	}
}

// leastStorage is the smallest disk that a VM has.
const leastStorage = 16 << 30

func (e *exam) storage(ctx context.Context) {
	for _, name := range e.answering() {
		storages, err := e.Cluster.Storages(ctx, name)
		if err != nil {
			e.problem(name, e.on(name, "pvesm status"), "it does not list its storages: %v", err)
			continue
		}
		i := slices.IndexFunc(storages, func(s cluster.Storage) bool { return s.Name == e.Storage })
		if i < 0 {
			var fit []string
			for _, s := range storages {
				if s.Enabled && slices.Contains(s.Content, "images") {
					fit = append(fit, "ASSIGN_STORAGE="+s.Name)
				}
			}
			say, fix := e.problem, strings.Join(fit, " or ")
			if fix == "" {
				fix = e.on(name, "pvesm status")
			}
			if name != e.MainNode {
				say = e.warn // the others can do
			}
			say(name, fix, "there is no storage %s", e.Storage)
			continue
		}
		e.oneStorage(name, storages[i])
	}
}

func (e *exam) oneStorage(node string, s cluster.Storage) {
	switch {
	case !s.Enabled:
		e.problem(node, e.on(node, "pvesm set "+s.Name+" --disable 0"), "storage %s is disabled", s.Name)
	case !slices.Contains(s.Content, "images"):
		content := strings.Join(append(slices.Clone(s.Content), "images"), ",")
		e.problem(node, e.on(node, "pvesm set "+s.Name+" --content "+content), "storage %s may not hold disks of VMs, only %s", s.Name, strings.Join(s.Content, ", "))
	case !s.Active:
		e.problem(node, e.on(node, "pvesm status --storage "+s.Name), "storage %s is not active", s.Name)
	case s.Avail < leastStorage:
		e.problem(node, e.on(node, "pvesm list "+s.Name), "storage %s has %s free, less than one disk", s.Name, size(s.Avail))
	case s.Total > 0 && s.Avail < s.Total/10:
		e.warn(node, e.on(node, "pvesm list "+s.Name), "storage %s has only %s of %s free", s.Name, size(s.Avail), size(s.Total))
	default:
		e.fine(node, "storage %s (%s) has %s of %s free", s.Name, s.Type, size(s.Avail), size(s.Total))
	}
}
