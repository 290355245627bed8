package pvesim

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"
)

// seedAge is how long the guests that are there from the start have been.
const seedAge = 40 * 24 * time.Hour

// addGuests makes the guests of Options. Sim.mu must be held.
func (s *Sim) addGuests() error {
	for _, g := range s.opts.Guests {
		if err := s.addGuest(g); err != nil {
			return fmt.Errorf("guest %d: %w", g.VMID, err)
		}
	}
	return nil
}

func (s *Sim) addGuest(g GuestSpec) error {
	n := s.node(g.Node)
	if n == nil {
		return fmt.Errorf("no node %q", g.Node)
	}
	if g.Storage == "" {
		g.Storage = s.imageStorage()
	}
	st := s.store(n, g.Storage)
	if st == nil {
		return fmt.Errorf("no storage %q on %s", g.Storage, g.Node)
	}
	if g.Type == "" {
		g.Type = "qemu"
	}
	v := &vm{
		id: g.VMID, typ: g.Type, node: n, running: g.Running,
		born: s.now().Add(-seedAge), started: s.now().Add(-seedAge / 4),
	}
	path := st.freeName(g.VMID, "raw")
	if g.Template {
		path = strings.Replace(path, "vm-", "base-", 1)
	}
	vol := &volume{path: path, content: "images", format: "raw", size: g.Disk, taken: g.Disk / 2, vmid: g.VMID, created: v.born}
	st.add(vol)
	disk := st.id(vol) + ",size=" + formatSize(g.Disk)
	v.opts = map[string]string{"cores": strconv.Itoa(g.Cores), "memory": strconv.Itoa(g.MemoryMB)}
	if g.Type == "lxc" {
		maps.Copy(v.opts, map[string]string{
			"arch": "amd64", "hostname": g.Name, "ostype": "debian", "rootfs": disk, "swap": "512",
			"net0": "name=eth0,bridge=vmbr0,hwaddr=" + s.mac(nil) + ",ip=" + g.IP + ",type=veth",
		})
	} else {
		maps.Copy(v.opts, map[string]string{
			"name": g.Name, "scsi0": disk, "boot": "order=scsi0;net0", "ostype": "l26", "scsihw": "virtio-scsi-single",
			"net0": "virtio=" + s.mac(nil) + ",bridge=vmbr0", "smbios1": "uuid=" + s.uuid(), "vmgenid": s.uuid(),
			"meta": fmt.Sprintf("creation-qemu=9.0.2,ctime=%d", v.born.Unix()),
		})
		if g.IP != "" {
			v.opts["ipconfig0"] = "ip=" + g.IP + ",gw=" + s.opts.Gateway.Addr().String()
		}
		if g.Template {
			v.opts["template"] = "1"
		}
	}
	if g.Tags != "" {
		v.opts["tags"] = g.Tags
	}
	maps.Copy(v.opts, g.Options)
	if g.Running {
		v.pid = s.nextPid()
		v.ip = v.address()
	}
	s.vms[v.id] = v
	s.saveVM(v)
	return nil
}
