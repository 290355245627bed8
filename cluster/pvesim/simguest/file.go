package simguest

import (
	"io"
	"io/fs"
	"syscall"
	"time"
)

// open opens a file the way open(2) does.
func (d *disk) open(name string, flag int, perm fs.FileMode, uid int) (*handle, error) {
	h, err := d.openNode(name, flag, perm, uid)
	if err == nil && h.node.live != nil {
		h.content = h.node.live() // without d.mu, for it takes locks of its own
	}
	return h, err
}

func (d *disk) openNode(name string, flag int, perm fs.FileMode, uid int) (*handle, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, n, err := d.find("open", name, true)
	write := flag&(syscall.O_WRONLY|syscall.O_RDWR) != 0
	switch {
	case n == nil && flag&syscall.O_CREAT == 0:
		return nil, err
	case n == nil:
		if err := d.parent("open", at, uid); err != nil {
			return nil, err
		}
		n = &inode{mode: perm.Perm() &^ 0o022, uid: uid, mtime: d.now()}
		d.nodes[at] = n
	case n.mode.IsDir() && write:
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	case write && !n.may(uid, 2), flag&syscall.O_WRONLY == 0 && !n.may(uid, 4):
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EACCES}
	}
	if write && flag&syscall.O_TRUNC != 0 && n.live == nil {
		n.data, n.sparse, n.mtime = nil, 0, d.now()
	}
	return &handle{disk: d, node: n, name: name, append: flag&syscall.O_APPEND != 0}, nil
}

// handle is an open file.
type handle struct {
	disk    *disk
	node    *inode
	name    string
	append  bool
	content []byte // of a live file
	off     int64
}

func (h *handle) Read(p []byte) (int, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if h.node.mode.IsDir() {
		return 0, &fs.PathError{Op: "read", Path: h.name, Err: syscall.EISDIR}
	}
	data := h.node.data
	if h.node.live != nil {
		data = h.content
	}
	if h.off < int64(len(data)) {
		n := copy(p, data[h.off:])
		h.off += int64(n)
		return n, nil
	}
	if left := h.node.sparse - h.off; left > 0 {
		n := int(min(left, int64(len(p))))
		clear(p[:n])
		h.off += int64(n)
		return n, nil
	}
	return 0, io.EOF
}

func (h *handle) Write(p []byte) (int, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if h.node.live != nil {
		return len(p), nil // /dev/null and its kin take everything
	}
	if h.append {
		h.off = int64(len(h.node.data))
	}
	if grow := h.off + int64(len(p)) - int64(len(h.node.data)); grow > 0 {
		h.node.data = append(h.node.data, make([]byte, grow)...)
	}
	h.off += int64(copy(h.node.data[h.off:], p))
	h.node.mtime = h.disk.now()
	return len(p), nil
}

func (h *handle) Close() error { return nil }

// info is a node as stat tells it.
type info struct {
	name string
	node inode
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.node.size() }
func (i info) Mode() fs.FileMode  { return i.node.mode }
func (i info) ModTime() time.Time { return i.node.mtime }
func (i info) IsDir() bool        { return i.node.mode.IsDir() }
func (i info) Sys() any {
	return &syscall.Stat_t{Uid: uint32(i.node.uid), Gid: uint32(i.node.uid), Size: i.node.size()}
}
