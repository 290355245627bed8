package simguest

import "maps"

// Disk is what was on a guest's disk at a moment. It never changes.
type Disk struct{ nodes map[string]inode }

// Disk is what is on the guest's disk now.
func (g *Guest) Disk() *Disk {
	d := g.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	saved := &Disk{nodes: make(map[string]inode, len(d.nodes))}
	for name, n := range d.nodes {
		copied := *n
		copied.data = append([]byte(nil), n.data...)
		saved.nodes[name] = copied
	}
	return saved
}

// PutDisk puts back what was on the disk once. The guest must be off.
func (g *Guest) PutDisk(saved *Disk) { g.disk.load(saved) }

// load makes a disk what it was. Files that the kernel makes up as they are
// read stay those of this guest.
func (d *disk) load(saved *Disk) {
	d.mu.Lock()
	defer d.mu.Unlock()
	live := maps.Clone(d.nodes)
	d.nodes = make(map[string]*inode, len(saved.nodes))
	for name, n := range saved.nodes {
		if n.live != nil {
			if own := live[name]; own != nil {
				d.nodes[name] = own
			}
			continue
		}
		copied := n
		copied.data = append([]byte(nil), n.data...)
		d.nodes[name] = &copied
	}
}
