package pvesim

import (
	"fmt"
	"slices"
	"strings"
)

// kind is what a type of storage can do, as PVE's plugins have it.
type kind struct {
	files     bool // volumes are files below a directory
	mount     bool // the directory is /mnt/pve/NAME, else /var/lib/vz
	content   []string
	formats   []string // of disks; the first one is the default
	thick     bool     // a disk takes all of its size at once
	clones    bool     // linked clones and templates
	snapshots []string // formats that have snapshots
	linked    bool     // a linked clone's name begins with its base's
	lvm       bool     // speaks as LVM does
}

var (
	everything = []string{"images", "rootdir", "import", "iso", "vztmpl", "backup", "snippets"}
	fileKinds  = kind{
		files: true, content: everything, formats: []string{"raw", "qcow2", "vmdk"}, clones: true, snapshots: []string{"qcow2"}, linked: true,
	}
	disks = []string{"images", "rootdir"}
	raw   = []string{"raw"}
)

// kinds are the types of storage that the simulation knows.
var kinds = map[string]kind{
	"dir":     fileKinds,
	"nfs":     mounted(fileKinds, everything),
	"cifs":    mounted(fileKinds, everything),
	"cephfs":  mounted(fileKinds, []string{"vztmpl", "iso", "backup", "snippets", "import"}), // PVE: no disks
	"btrfs":   {files: true, content: everything, formats: raw, clones: true, snapshots: raw},
	"lvm":     {content: disks, formats: raw, thick: true, lvm: true},
	"lvmthin": {content: disks, formats: raw, clones: true, snapshots: raw, lvm: true},
	"zfspool": {content: disks, formats: raw, clones: true, snapshots: raw, linked: true},
	"esxi":    {content: []string{"import"}, formats: raw}, // PVE: shows the VMs of an ESXi host, takes nothing
	"rbd":     {content: disks, formats: raw, clones: true, snapshots: raw, linked: true},
}

func mounted(k kind, content []string) kind {
	k.mount, k.content = true, content
	return k
}

// checkKinds says what is wrong with the storages of Options.
func (o *Options) checkKinds() error {
	for _, s := range o.Storages {
		k, ok := kinds[s.Type]
		if !ok {
			return fmt.Errorf("storage %s: type %q is not simulated", s.Name, s.Type)
		}
		if s.VolumeChain && !slices.Contains([]string{"dir", "nfs", "cifs", "lvm"}, s.Type) {
			return fmt.Errorf("storage %s: type %s has no snapshots as volume chains", s.Name, s.Type)
		}
		for _, c := range s.Content {
			if !slices.Contains(k.content, c) {
				return fmt.Errorf("storage %s: type %s does not take %s", s.Name, s.Type, c)
			}
		}
	}
	return nil
}

func (st *store) kind() kind {
	k := kinds[st.spec.Type]
	if st.spec.VolumeChain {
		k.snapshots = []string{"qcow2"}
		if !k.files {
			k.formats = []string{"raw", "qcow2"}
		}
	}
	return k
}

// files says whether volumes are files, not block devices.
func (st *store) files() bool { return st.kind().files }

// format is the format that a disk gets here when one like this is wanted.
func (st *store) format(wanted string) string {
	if f := st.kind().formats; !slices.Contains(f, wanted) {
		return f[0]
	}
	return wanted
}

// dir is where a storage of files has them, as PVE's messages say it.
func (st *store) dir() string {
	if st.kind().mount {
		return "/mnt/pve/" + st.spec.Name
	}
	return "/var/lib/vz"
}

// devices is where a storage of block devices has them.
func (st *store) devices() string {
	switch st.spec.Type {
	case "zfspool":
		return "/dev/zvol/rpool/data/"
	case "rbd":
		return "/dev/rbd-pve/ceph/" + st.spec.Name + "/"
	}
	return "/dev/pve/"
}

// snapshots says whether the storage has snapshots of a volume.
func (st *store) snapshots(v *volume) bool { return slices.Contains(st.kind().snapshots, v.format) }

// linkedPath is the path of a linked clone that would be called path without
// its base.
func (st *store) linkedPath(base *volume, path string) string {
	if !st.kind().linked {
		return path
	}
	return strings.TrimPrefix(base.path, base.base+"/") + "/" + path
}

// noSpace is how a storage of block devices refuses a volume.
func (st *store) noSpace(path string) error {
	switch st.spec.Type {
	case "lvm":
		return fail("lvcreate 'pve/%s' error:   Volume group \"pve\" has insufficient free space", path)
	case "zfspool":
		return fail("zfs error: cannot create 'rpool/data/%s': out of space", path)
	case "rbd":
		return fail("rbd create '%s' error: error opening pool: (28) No space left on device", path)
	}
	return fail("lvcreate 'pve/%s' error:   Cannot create new thin volume, free space in thin pool pve/data reached threshold.", path)
}
