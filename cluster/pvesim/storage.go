package pvesim

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// store is a storage: one per node, or one for all when shared. Guarded by
// Sim.mu.
type store struct {
	spec StorageSpec
	node string // "" when shared
	used int64  // bytes, beside the volumes
	vols map[string]*volume
}

// volume is a volume on a storage.
type volume struct {
	path    string // the id without its storage
	content string
	format  string
	size    int64  // virtual, in bytes
	taken   int64  // of the storage, in bytes
	vmid    int    // 0: nobody's
	system  string // ubuntu 24.04: what a cloud image has on it
	body    []byte // of a file that was downloaded
	backing string // of a chain: the file that holds its newest snapshot
	base    string // path of the volume that a linked clone stands on, "" for all others
	created time.Time
	silent  bool // PVE 8: files are made without a word
}

func (s *Sim) addStores() error {
	for _, spec := range s.opts.Storages {
		nodes := []string{""}
		if !spec.Shared {
			nodes = nil
			for _, n := range s.opts.Nodes {
				nodes = append(nodes, n.Name)
			}
		}
		for _, node := range nodes {
			if node != "" && len(spec.Nodes) > 0 && !slices.Contains(spec.Nodes, node) {
				continue
			}
			st := &store{spec: spec, node: node, used: spec.Used, vols: map[string]*volume{}}
			for _, v := range spec.Volumes {
				st.add(&volume{
					path: v.Path, content: contentOf(v.Path), format: v.Format,
					size: max(v.Size, v.Grown), taken: v.Size, created: s.now(),
				})
			}
			s.stores = append(s.stores, st)
		}
	}
	return nil
}

// contentOf is the content type of a path on a storage of files.
func contentOf(path string) string {
	kind, _, _ := strings.Cut(path, "/")
	switch kind {
	case "import", "iso", "snippets", "vztmpl", "backup":
		return kind
	}
	return "images"
}

// store finds a storage as node sees it; nil when it is not there.
func (s *Sim) store(node *node, name string) *store {
	for _, st := range s.stores {
		if st.spec.Name == name && st.on(node) {
			return st
		}
	}
	return nil
}

// known says whether the cluster has a storage of that name on any node.
func (s *Sim) known(name string) bool {
	return slices.ContainsFunc(s.stores, func(st *store) bool { return st.spec.Name == name })
}

func (st *store) on(n *node) bool {
	if st.node != "" {
		return st.node == n.name
	}
	return len(st.spec.Nodes) == 0 || slices.Contains(st.spec.Nodes, n.name)
}

// shown is a volume's size in lists, in bytes: of files to import and the like
// what they take, of disks what guests see.
func (v *volume) shown() int64 {
	if v.content == "images" {
		return v.size
	}
	return v.taken
}

func (st *store) add(v *volume)          { st.vols[v.path] = v }
func (st *store) id(v *volume) string    { return st.spec.Name + ":" + v.path }
func (st *store) holds(kind string) bool { return slices.Contains(st.spec.Content, kind) }

func (st *store) path(v *volume) string {
	switch {
	case !st.files():
		return st.devices() + strings.TrimPrefix(strings.TrimPrefix(v.path, v.base), "/")
	case v.content == "images":
		return st.dir() + "/images/" + strings.TrimPrefix(strings.TrimPrefix(v.path, v.base), "/")
	case v.content == "iso", v.content == "vztmpl":
		_, file, _ := strings.Cut(v.path, "/")
		return st.dir() + "/template/" + map[string]string{"iso": "iso/", "vztmpl": "cache/"}[v.content] + file
	}
	return st.dir() + "/" + v.path
}

func (st *store) taken() int64 {
	n := st.used
	for _, v := range st.vols {
		n += v.taken
	}
	return n
}

func (st *store) free() int64 { return max(0, st.spec.Capacity-st.taken()) }

// sorted are the volumes by path.
func (st *store) sorted() []*volume {
	var out []*volume
	for _, v := range st.vols {
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b *volume) int { return strings.Compare(a.path, b.path) })
	return out
}

// volume finds a volume by its id, as node sees it.
func (s *Sim) volume(n *node, id string) (*store, *volume) {
	name, path, _ := strings.Cut(id, ":")
	st := s.store(n, name)
	if st == nil {
		return nil, nil
	}
	return st, st.vols[path]
}

// freeName is the name of the next disk of a VM: vm-101-disk-0 and on.
func (st *store) freeName(vmid int, format string) string {
	for i := 0; ; i++ {
		path := st.vmPath(vmid, "disk-"+strconv.Itoa(i), format)
		base := st.vmPath(vmid, "disk-"+strconv.Itoa(i), "")
		taken := false
		for p := range st.vols {
			stem := strings.TrimSuffix(p, filepath.Ext(p))
			taken = taken || stem == base || strings.HasSuffix(stem, "/"+base)
		}
		if !taken {
			return path
		}
	}
}

// vmPath is the path of a VM's volume: 101/vm-101-disk-0.qcow2 as a file,
// vm-101-disk-0 as a device.
func (st *store) vmPath(vmid int, what, format string) string {
	name := fmt.Sprintf("vm-%d-%s", vmid, what)
	if !st.files() {
		if format == "qcow2" { // of a chain on LVM
			name += ".qcow2"
		}
		return name
	}
	if format != "" {
		name += "." + format
	}
	return strconv.Itoa(vmid) + "/" + name
}

// samePath is the path that a volume of another storage would keep here.
func (st *store) samePath(v *volume) string {
	name := v.path[strings.LastIndexByte(v.path, '/')+1:]
	if !st.files() {
		return strings.TrimSuffix(name, filepath.Ext(name))
	}
	if filepath.Ext(name) == "" {
		name += "." + v.format
	}
	return strconv.Itoa(v.vmid) + "/" + name
}

// allocated is what allocating a volume prints.
func (st *store) allocated(v *volume) string {
	switch {
	case v.silent:
		return ""
	case !st.files() && !st.kind().lvm:
		return ""
	case !st.files():
		_, name, ok := strings.Cut(v.path, "/")
		if !ok {
			name = v.path
		}
		return fmt.Sprintf("  Logical volume \"%s\" created.", name)
	case st.spec.Type == "btrfs":
		return ""
	case v.format == "raw":
		return fmt.Sprintf("Formatting '%s', fmt=raw size=%d preallocation=off", st.path(v), v.size)
	}
	return fmt.Sprintf("Formatting '%s', fmt=qcow2 cluster_size=65536 extended_l2=off preallocation=metadata"+
		" compression_type=zlib size=%d lazy_refcounts=off refcount_bits=16", st.path(v), v.size)
}

// freed is what freeing a volume prints; files go silently.
func (st *store) freed(v *volume) string {
	if !st.kind().lvm {
		return ""
	}
	return fmt.Sprintf("  Logical volume \"%s\" successfully removed.", v.path)
}

// free removes volumes by their ids; one that is gone is fine.
func (s *Sim) free(n *node, ids []string) {
	for _, id := range ids {
		if st, vol := s.volume(n, id); vol != nil {
			delete(st.vols, vol.path)
		}
	}
}

// owned are the volumes of a VM on the storages that node sees.
func (s *Sim) owned(n *node, vmid int) []string {
	var ids []string
	for _, st := range s.stores {
		if !st.on(n) {
			continue
		}
		for _, v := range st.sorted() {
			if v.vmid == vmid {
				ids = append(ids, st.id(v))
			}
		}
	}
	return ids
}
