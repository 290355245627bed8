package pvesim

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// pmxcfs keeps PVE's files under /etc/pve as cat on a node finds them. The
// state in memory is the truth; every change of it ends in a call here, under
// Sim.mu.

func (s *Sim) confPath(v *vm) string {
	dir := "qemu-server"
	if v.typ == "lxc" {
		dir = "lxc"
	}
	return filepath.Join(s.dir, "pve", "nodes", v.node.name, dir, strconv.Itoa(v.id)+".conf")
}

// saveVM writes the conf file of v.
func (s *Sim) saveVM(v *vm) {
	s.listVersion++
	v.version = s.listVersion
	s.writeFile(s.confPath(v), []byte(v.conf()))
	s.writeList()
}

// moveVM moves v's conf file to another node, and with it the VM.
func (s *Sim) moveVM(v *vm, to *node) {
	from := s.confPath(v)
	v.node = to
	if err := os.Rename(from, s.confPath(v)); err != nil {
		s.log.Error("conf file", "error", err)
	}
	s.saveVM(v)
}

// forgetVM removes v and its conf file.
func (s *Sim) forgetVM(v *vm) {
	delete(s.vms, v.id)
	if err := os.Remove(s.confPath(v)); err != nil {
		s.log.Error("conf file", "error", err)
	}
	s.listVersion++
	s.writeList()
}

// writeList writes .vmlist, which all nodes have alike.
func (s *Sim) writeList() {
	type entry struct {
		Node    string `json:"node"`
		Type    string `json:"type"`
		Version int    `json:"version"`
	}
	list := map[string]any{"version": s.listVersion}
	ids := map[string]entry{}
	for id, v := range s.vms {
		ids[strconv.Itoa(id)] = entry{Node: v.node.name, Type: v.typ, Version: v.version}
	}
	if len(ids) > 0 { // PVE: without guests there are no ids
		list["ids"] = ids
	}
	text := mustJSON(list)
	for _, n := range s.nodes {
		s.writeFile(filepath.Join(n.dir, "etc/pve/.vmlist"), text)
	}
}

// writeMembers writes .members, where each node also has its own name. Its
// version has nothing to do with that of .vmlist.
func (s *Sim) writeMembers() {
	s.memberVersion++
	for _, n := range s.nodes {
		s.writeFile(filepath.Join(n.dir, "etc/pve/.members"), s.members(n))
	}
}

// members is .members as n has it. A stand-alone node has no cluster.
func (s *Sim) members(n *node) []byte {
	m := map[string]any{"nodename": n.name, "version": s.memberVersion}
	if len(s.nodes) > 1 {
		list := map[string]any{}
		for _, o := range s.nodes {
			list[o.name] = map[string]any{"id": o.id, "online": number(o.online()), "ip": o.spec.IP.String()}
		}
		m["nodelist"] = list
		m["cluster"] = map[string]any{
			"name": s.opts.Name, "version": len(s.nodes), "nodes": len(s.nodes), "quorate": number(s.quorate),
		}
	}
	return mustJSON(m)
}

// writeFile replaces a file at once: no reader sees half of it.
func (s *Sim) writeFile(path string, data []byte) {
	tmp := fmt.Sprintf("%s.tmp.%d", path, os.Getpid())
	err := os.WriteFile(tmp, data, 0o640)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		s.log.Error("cluster file", "error", err)
	}
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own maps of strings and numbers
	}
	return append(b, '\n')
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}
