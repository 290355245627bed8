package pvesim

import (
	"fmt"
	"slices"
	"strings"
)

// pvesmUsage is the line after a complaint, by command.
var pvesmUsage = map[string]string{
	"status": "pvesm status  [OPTIONS]", "list": "pvesm list <storage> [OPTIONS]", "free": "pvesm free <volume> [OPTIONS]",
	"alloc": "pvesm alloc <storage> <vmid> <filename> <size> [OPTIONS]", "path": "pvesm path <volume>",
}

// pvesm is the command `pvesm`.
func (c *call) pvesm() error {
	if len(c.argv) == 0 {
		return fail("ERROR: no command specified\nUSAGE: pvesm <COMMAND> [ARGS] [OPTIONS]")
	}
	fn := map[string]func([]string, map[string]string) error{
		"status": c.pvesmStatus, "list": c.pvesmList, "free": c.pvesmFree, "alloc": c.pvesmAlloc, "path": c.pvesmPath,
	}[c.argv[0]]
	if fn == nil {
		return fail("ERROR: unknown command 'pvesm %s'\nUSAGE: pvesm <COMMAND> [ARGS] [OPTIONS]", c.argv[0])
	}
	known := map[string][]string{
		"status": {"storage", "content", "enabled", "format", "target"}, "list": {"content", "vmid"},
		"free": {"delay", "storage"}, "alloc": {"format"},
	}[c.argv[0]]
	var words []string
	opts := map[string]string{}
	for i := 1; i < len(c.argv); i++ {
		name, ok := strings.CutPrefix(c.argv[i], "-")
		if !ok {
			words = append(words, c.argv[i])
			continue
		}
		key, value, has := strings.Cut(strings.TrimPrefix(name, "-"), "=")
		if !slices.Contains(known, key) {
			return fail("Unknown option: %s\n400 unable to parse option\n%s", key, pvesmUsage[c.argv[0]])
		}
		if !has && i+1 < len(c.argv) {
			i++
			value = c.argv[i]
		}
		opts[key] = value
	}
	usage := pvesmUsage[c.argv[0]]
	switch want := strings.Count(usage, "<"); {
	case len(words) < want:
		return fail("400 not enough arguments\n%s", usage)
	case len(words) > want:
		return fail("400 too many arguments\n%s", usage)
	}
	return fn(words, opts)
}

func (c *call) pvesmStatus(_ []string, opts map[string]string) error {
	c.sim.mu.Lock()
	text, err := c.storageTable(opts)
	c.sim.mu.Unlock()
	if err != nil {
		return err
	}
	return c.out(text)
}

func (c *call) storageTable(opts map[string]string) (string, error) {
	if name := opts["storage"]; name != "" && c.sim.store(c.node, name) == nil {
		return "", fail("400 Parameter verification failed.\nstorage: No such storage.\n%s", pvesmUsage["status"])
	}
	width := 0
	var rows []*store
	for _, st := range c.sim.stores {
		if !st.on(c.node) || opts["storage"] != "" && opts["storage"] != st.spec.Name {
			continue
		}
		if k := opts["content"]; k != "" && (!st.holds(k) || st.spec.Disabled) {
			continue
		}
		width = max(width, len(st.spec.Name))
		rows = append(rows, st)
	}
	slices.SortFunc(rows, func(a, b *store) int { return strings.Compare(a.spec.Name, b.spec.Name) })
	width++ // PVE: one blank more than the longest name needs
	var b strings.Builder
	fmt.Fprintf(&b, "%-*s %10s %10s %15s %15s %15s %8s\n", width, "Name", "Type", "Status",
		"Total (KiB)", "Used (KiB)", "Available (KiB)", "%")
	for _, st := range rows {
		if st.spec.Disabled {
			fmt.Fprintf(&b, "%-*s %10s %10s %15d %15d %15d %8s\n", width, st.spec.Name, st.spec.Type, "disabled", 0, 0, 0, "N/A")
			continue
		}
		fmt.Fprintf(&b, "%-*s %10s %10s %15d %15d %15d %7.2f%%\n", width, st.spec.Name, st.spec.Type, "active",
			st.spec.Capacity/kib, st.taken()/kib, st.free()/kib, float64(st.taken())*100/float64(st.spec.Capacity))
	}
	return b.String(), nil
}

func (c *call) pvesmList(words []string, opts map[string]string) error {
	c.sim.mu.Lock()
	st := c.sim.store(c.node, words[0])
	if st == nil {
		c.sim.mu.Unlock()
		return fail("storage '%s' does not exist", words[0])
	}
	width := len("Volid")
	var rows []*volume
	for _, v := range st.sorted() {
		if k := opts["content"]; k != "" && k != v.content {
			continue
		}
		if id := opts["vmid"]; id != "" && id != fmt.Sprint(v.vmid) {
			continue
		}
		width = max(width, len(st.id(v)))
		rows = append(rows, v)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-*s %-7s %-7s %10s %s\n", width, "Volid", "Format", "Type", "Size", "VMID")
	for _, v := range rows {
		fmt.Fprintf(&b, "%-*s %-7s %-7s %10d", width, st.id(v), v.format, v.content, v.shown())
		if v.vmid != 0 {
			fmt.Fprintf(&b, " %d", v.vmid)
		}
		b.WriteString("\n")
	}
	c.sim.mu.Unlock()
	return c.out(b.String())
}

func (c *call) pvesmFree(words []string, _ map[string]string) error {
	c.sim.mu.Lock()
	st, vol := c.sim.volume(c.node, words[0])
	switch name, _, _ := strings.Cut(words[0], ":"); {
	case st == nil:
		c.sim.mu.Unlock()
		return fail("storage '%s' does not exist", name)
	case vol == nil:
		c.sim.mu.Unlock()
		if st.files() { // PVE: a file that is gone is none that can't be freed
			return c.out(fmt.Sprintf("disk image '%s' does not exist", st.dir()+"/images/"+strings.SplitN(words[0], ":", 2)[1]) + fmt.Sprintf("\nRemoved volume '%s'", words[0]))
		}
		_, path, _ := strings.Cut(words[0], ":")
		return failStatus(5, "lvremove 'pve/%s' error:   Failed to find logical volume \"pve/%s\"", path, path)
	}
	delete(st.vols, vol.path)
	c.sim.unplace(st, vol)
	c.sim.mu.Unlock()
	if line := st.freed(vol); line != "" {
		if err := c.out(line); err != nil {
			return err
		}
	}
	return c.out(fmt.Sprintf("Removed volume '%s'", words[0]))
}

func (c *call) pvesmAlloc(words []string, opts map[string]string) error {
	size := words[3]
	if !strings.HasSuffix(size, "M") && !strings.HasSuffix(size, "G") {
		size += "K" // PVE: kilobytes without a unit
	}
	bytes, ok := parseSize(size)
	if !ok {
		return fail("400 Parameter verification failed.\nsize: value does not match the regex pattern\n%s", pvesmUsage["alloc"])
	}
	c.sim.mu.Lock()
	st := c.sim.store(c.node, words[0])
	if st == nil {
		c.sim.mu.Unlock()
		return fail("storage '%s' does not exist", words[0])
	}
	format := opts["format"]
	if format == "" {
		format = "raw"
	}
	path := words[2]
	if st.files() && !strings.Contains(path, "/") {
		path = words[1] + "/" + path
	}
	vol := &volume{path: path, content: "images", format: format, size: bytes, created: c.sim.now()}
	_, _ = fmt.Sscan(words[1], &vol.vmid)
	st.add(vol)
	line := st.allocated(vol)
	c.sim.mu.Unlock()
	if err := c.out(line); err != nil {
		return err
	}
	return c.out(fmt.Sprintf("successfully created '%s'", st.id(vol)))
}

func (c *call) pvesmPath(words []string, _ map[string]string) error {
	name, path, ok := strings.Cut(words[0], ":")
	if !ok {
		return fail("unable to parse volume ID '%s'", words[0])
	}
	c.sim.mu.Lock()
	st, vol := c.sim.volume(c.node, words[0])
	c.sim.mu.Unlock()
	if st == nil {
		return fail("storage '%s' does not exist", name)
	}
	if vol != nil && vol.body != nil {
		return c.out(rootPath + st.path(vol)) // a real file, below the node's own root
	}
	return c.out(st.path(&volume{path: path, content: contentOf(path)}))
}
