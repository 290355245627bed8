package simguest

import (
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// disk is the guest's file system: a tree in memory, with owners, modes and
// symbolic links, and nothing of the host in it. Paths are absolute and clean.
// It may be used by many goroutines at once.
type disk struct {
	now func() time.Time

	mu    sync.Mutex
	nodes map[string]*inode
}

// inode is a file, directory or symbolic link.
type inode struct {
	mode   fs.FileMode // type and permission bits
	uid    int
	mtime  time.Time
	data   []byte
	sparse int64         // the size, where that is more than data (fallocate)
	target string        // of a symbolic link
	live   func() []byte // content that is made when it is read: /proc, /dev
}

const root = 0 // the uid that may do everything

func newDisk(now func() time.Time) *disk {
	d := &disk{now: now, nodes: map[string]*inode{}}
	d.nodes["/"] = &inode{mode: fs.ModeDir | 0o755, mtime: now()}
	return d
}

func (n *inode) size() int64 { return max(int64(len(n.data)), n.sparse) }

// may tells whether uid may use n in the way of bits (4 read, 2 write, 1 run).
func (n *inode) may(uid int, bits fs.FileMode) bool {
	switch uid {
	case root:
		return bits != 1 || n.mode.IsDir() || n.mode.Perm()&0o111 != 0
	case n.uid:
		return n.mode.Perm()>>6&bits == bits
	default:
		return n.mode.Perm()&bits == bits
	}
}

// resolve follows symbolic links, the last one too if follow, and returns the
// clean path, which need not exist.
func (d *disk) resolve(name string, follow bool) (string, error) {
	name = path.Clean("/" + name)
	for range 40 {
		at, changed := "/", false
		parts := strings.Split(strings.TrimPrefix(name, "/"), "/")
		for i, part := range parts {
			at = path.Join(at, part)
			n := d.nodes[at]
			if n == nil || n.mode&fs.ModeSymlink == 0 || (i == len(parts)-1 && !follow) {
				continue
			}
			target := n.target
			if !path.IsAbs(target) {
				target = path.Join(path.Dir(at), target)
			}
			name, changed = path.Join(append([]string{target}, parts[i+1:]...)...), true
			break
		}
		if !changed {
			return name, nil
		}
	}
	return "", &fs.PathError{Op: "open", Path: name, Err: syscall.ELOOP}
}

// find returns the node of name, and its resolved path.
func (d *disk) find(op, name string, follow bool) (string, *inode, error) {
	at, err := d.resolve(name, follow)
	if err != nil {
		return "", nil, err
	}
	n := d.nodes[at]
	if n == nil {
		return at, nil, &fs.PathError{Op: op, Path: name, Err: syscall.ENOENT}
	}
	return at, n, nil
}

// real is name without symbolic links; it need not exist.
func (d *disk) real(name string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.resolve(name, true)
}

// parent checks that uid may add and remove entries beside at.
func (d *disk) parent(op, at string, uid int) error {
	switch dir := d.nodes[path.Dir(at)]; {
	case dir == nil:
		return &fs.PathError{Op: op, Path: at, Err: syscall.ENOENT}
	case !dir.mode.IsDir():
		return &fs.PathError{Op: op, Path: at, Err: syscall.ENOTDIR}
	case !dir.may(uid, 2):
		return &fs.PathError{Op: op, Path: at, Err: syscall.EACCES}
	}
	return nil
}

func (d *disk) stat(name string, follow bool) (fs.FileInfo, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, n, err := d.find("stat", name, follow)
	if err != nil {
		return nil, err
	}
	return info{name: path.Base(name), node: *n}, nil
}

// access tells whether uid may use name in the way of bits, as access(2) does.
func (d *disk) access(name string, bits fs.FileMode, uid int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, n, err := d.find("access", name, true)
	if err != nil {
		return err
	}
	for _, bit := range []fs.FileMode{4, 2, 1} {
		if bits&bit != 0 && !n.may(uid, bit) {
			return &fs.PathError{Op: "access", Path: name, Err: syscall.EACCES}
		}
	}
	return nil
}

// list are the entries of a directory, sorted by name.
func (d *disk) list(name string) ([]fs.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, n, err := d.find("open", name, true)
	if err != nil {
		return nil, err
	}
	if !n.mode.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: syscall.ENOTDIR}
	}
	var out []fs.DirEntry
	for p, n := range d.nodes {
		if p != "/" && path.Dir(p) == at {
			out = append(out, fs.FileInfoToDirEntry(info{name: path.Base(p), node: *n}))
		}
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return out, nil
}

// mkdir makes one directory.
func (d *disk) mkdir(name string, perm fs.FileMode, uid int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, n, _ := d.find("mkdir", name, true)
	if n != nil {
		return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.EEXIST}
	}
	if err := d.parent("mkdir", at, uid); err != nil {
		return err
	}
	d.nodes[at] = &inode{mode: fs.ModeDir | perm.Perm(), uid: uid, mtime: d.now()}
	return nil
}

// remove removes a file, an empty directory, or with all a whole tree.
func (d *disk) remove(name string, all bool, uid int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, _, err := d.find("remove", name, false)
	if err != nil {
		return err
	}
	if err := d.parent("remove", at, uid); err != nil {
		return err
	}
	for p := range d.nodes {
		if strings.HasPrefix(p, at+"/") && !all {
			return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
		}
	}
	d.drop(at)
	return nil
}

// holds reports whether a directory has entries.
func (d *disk) holds(dir string) bool {
	for p := range d.nodes {
		if strings.HasPrefix(p, dir+"/") {
			return true
		}
	}
	return false
}

// rename moves a file or a tree; a file or an empty directory that was at the
// new name is gone.
func (d *disk) rename(from, to string, uid int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	src, moves, err := d.find("rename", from, false)
	if err != nil {
		return err
	}
	dst, there, _ := d.find("rename", to, false)
	switch {
	case there == nil || src == dst:
	case there.mode.IsDir() && !moves.mode.IsDir():
		return &fs.PathError{Op: "rename", Path: to, Err: syscall.EISDIR}
	case there.mode.IsDir() && d.holds(dst):
		return &fs.PathError{Op: "rename", Path: to, Err: syscall.ENOTEMPTY}
	}
	for _, at := range []string{src, dst} {
		if err := d.parent("rename", at, uid); err != nil {
			return err
		}
	}
	if src == dst || strings.HasPrefix(dst, src+"/") {
		return &fs.PathError{Op: "rename", Path: to, Err: syscall.EINVAL}
	}
	moved := map[string]*inode{}
	for p, n := range d.nodes {
		switch {
		case p == src || strings.HasPrefix(p, src+"/"):
			moved[dst+strings.TrimPrefix(p, src)] = n
			delete(d.nodes, p)
		case p == dst || strings.HasPrefix(p, dst+"/"):
			delete(d.nodes, p)
		}
	}
	for p, n := range moved {
		d.nodes[p] = n
	}
	return nil
}

// link makes a symbolic link.
func (d *disk) link(target, name string, uid int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, n, _ := d.find("symlink", name, false)
	if n != nil {
		return &fs.PathError{Op: "symlink", Path: name, Err: syscall.EEXIST}
	}
	if err := d.parent("symlink", at, uid); err != nil {
		return err
	}
	d.nodes[at] = &inode{mode: fs.ModeSymlink | 0o777, uid: uid, target: target, mtime: d.now()}
	return nil
}

// change edits a node in place: chmod, touch, fallocate. Its owner may do so.
func (d *disk) change(name string, uid int, edit func(*inode)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, n, err := d.find("change", name, true)
	if err != nil {
		return err
	}
	if uid != root && uid != n.uid {
		return &fs.PathError{Op: "change", Path: name, Err: syscall.EPERM}
	}
	edit(n)
	return nil
}

// read is the content of a file, as root sees it.
func (d *disk) read(name string) ([]byte, error) {
	h, err := d.open(name, syscall.O_RDONLY, 0, root)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(h)
}

// What the guest's own making does to the disk is done as root, with folders
// as needed, and cannot be refused: put, point, edit and erase.

func (d *disk) put(name string, mode fs.FileMode, content string) *inode {
	return d.place(name, &inode{mode: mode, mtime: d.now(), data: []byte(content)})
}

// point makes a symbolic link.
func (d *disk) point(name, target string) {
	d.place(name, &inode{mode: fs.ModeSymlink | 0o777, mtime: d.now(), target: target})
}

func (d *disk) place(name string, n *inode) *inode {
	d.mu.Lock()
	defer d.mu.Unlock()
	for dir := path.Dir(name); d.nodes[dir] == nil; dir = path.Dir(dir) {
		d.nodes[dir] = &inode{mode: fs.ModeDir | 0o755, mtime: d.now()}
	}
	d.nodes[name] = n
	return n
}

func (d *disk) edit(name string, edit func(*inode)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.nodes[name]; n != nil {
		edit(n)
	}
}

// erase removes a file or a tree.
func (d *disk) erase(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop(name)
}

func (d *disk) drop(name string) {
	for p := range d.nodes {
		if p == name || strings.HasPrefix(p, name+"/") {
			delete(d.nodes, p)
		}
	}
}
