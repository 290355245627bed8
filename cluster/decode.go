package cluster

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fields is a JSON object of PVE. PVE: numbers may come as strings, booleans
// as numbers, and what is false or unknown is often left out, so that reading
// a field never fails.
type fields map[string]any

func decode[T any](data []byte) (T, error) {
	var v T
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		if line, _, _ := bytes.Cut(bytes.TrimSpace(data), []byte("\n")); len(line) > 0 && !bytes.ContainsAny(line[:1], `{["`) {
			return v, fmt.Errorf("PVE answered with something else than JSON: %.100q; if root's shell prints that at its start, let it do so only in a terminal", line)
		}
		return v, fmt.Errorf("PVE answered with something else than the JSON we know: %w", err)
	}
	return v, nil
}

func (f fields) text(key string) string {
	switch v := f[key].(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

func (f fields) float(key string) float64 {
	x, err := strconv.ParseFloat(f.text(key), 64)
	if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
		return 0
	}
	return x
}

// int is a whole number, 0 for one that an int64 can't hold.
func (f fields) int(key string) int64 {
	if n, err := strconv.ParseInt(f.text(key), 10, 64); err == nil {
		return n
	}
	if x := f.float(key); math.Abs(x) < 1<<62 {
		return int64(x)
	}
	return 0
}

func (f fields) bool(key string) bool {
	if b, ok := f[key].(bool); ok {
		return b
	}
	return f.int(key) != 0
}

func (f fields) seconds(key string) time.Duration {
	n := f.int(key)
	if n < 0 || n > math.MaxInt64/int64(time.Second) {
		return 0
	}
	return time.Duration(n) * time.Second
}

// lastTime is the end of the year 9999: a later time has no JSON form.
const lastTime = 253402300799

// time is a Unix time, the zero time for none or one that is not of this age.
func (f fields) time(key string) time.Time {
	n := f.int(key)
	if n <= 0 || n > lastTime {
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}

func (f fields) object(key string) fields {
	m, _ := f[key].(map[string]any)
	return m
}

func (f fields) has(key string) bool { return f[key] != nil }

// words splits a list of PVE: tags, content types.
func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ';' || r == ' ' || r == 0 })
}

// Tags are the tags of a list of PVE, as it writes them down: they differ by more
// than their capitals, and stand between semicolons, commas or blanks.
func Tags(list string) []string {
	var tags []string
	for _, tag := range words(strings.ToLower(list)) {
		if !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	return tags
}

func sortedWords(s string) []string {
	w := words(s)
	slices.Sort(w)
	return w
}

// decodeMembers reads /etc/pve/.members.
func decodeMembers(data []byte) (Membership, error) {
	f, err := decode[fields](data)
	if err != nil {
		return Membership{}, err
	}
	m := Membership{Version: int(f.int("version")), Quorate: true}
	if c := f.object("cluster"); c != nil {
		m.Cluster, m.Quorate = c.text("name"), c.bool("quorate")
	}
	list := f.object("nodelist")
	for name := range list {
		n := list.object(name)
		ip, _ := netip.ParseAddr(n.text("ip"))
		m.Members = append(m.Members, Member{Name: name, Online: n.bool("online"), IP: ip})
	}
	if list == nil && f.text("nodename") != "" {
		m.Members = []Member{{Name: f.text("nodename"), Online: true}} // a stand-alone node
	}
	slices.SortFunc(m.Members, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	return m, nil
}

// decodeVMList reads /etc/pve/.vmlist.
func decodeVMList(data []byte) (map[int]Guest, error) {
	f, err := decode[fields](data)
	if err != nil {
		return nil, err
	}
	guests := map[int]Guest{}
	ids := f.object("ids")
	for id := range ids {
		vmid, err := strconv.Atoi(id)
		if err != nil {
			return nil, fmt.Errorf(".vmlist: %q is no VMID", id)
		}
		g := ids.object(id)
		guests[vmid] = Guest{VMID: vmid, Node: g.text("node"), Type: g.text("type")}
	}
	return guests, nil
}

// decodeResources reads /cluster/resources. Entries of other types (pools,
// SDN zones) are left out.
func decodeResources(data []byte) (Resources, error) {
	list, err := decode[[]fields](data)
	if err != nil {
		return Resources{}, err
	}
	var r Resources
	for _, f := range list {
		switch f.text("type") {
		case "qemu", "lxc":
			r.VMs = append(r.VMs, VM{
				VMID: int(f.int("vmid")), Name: f.text("name"), Node: f.text("node"), Type: f.text("type"),
				Status: f.text("status"), Known: f.has("maxmem"), Template: f.bool("template"),
				CPUs: int(f.int("maxcpu")), CPU: f.float("cpu"), Mem: f.int("mem"), MaxMem: f.int("maxmem"),
				MaxDisk: f.int("maxdisk"), Uptime: f.seconds("uptime"), Lock: f.text("lock"), Tags: Tags(f.text("tags")),
			})
		case "node":
			r.Nodes = append(r.Nodes, Node{
				Name: f.text("node"), Status: f.text("status"), CPUs: int(f.int("maxcpu")), CPU: f.float("cpu"),
				Mem: f.int("mem"), MaxMem: f.int("maxmem"), Uptime: f.seconds("uptime"),
				HAState: f.text("hastate"),
			})
		case "storage":
			r.Storages = append(r.Storages, Storage{
				Name: f.text("storage"), Node: f.text("node"), Type: f.text("plugintype"),
				Content: sortedWords(f.text("content")), Shared: f.bool("shared"),
				Enabled: true, // PVE: disabled ones are left out here
				Active:  f.text("status") == "available",
				Total:   f.int("maxdisk"), Used: f.int("disk"), Avail: max(0, f.int("maxdisk")-f.int("disk")),
			})
		}
	}
	slices.SortFunc(r.VMs, func(a, b VM) int { return cmp.Compare(a.VMID, b.VMID) })
	slices.SortFunc(r.Nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Storages, compareStorages)
	return r, nil
}

func compareStorages(a, b Storage) int {
	if c := strings.Compare(a.Node, b.Node); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}

// decodeStorages reads /nodes/NODE/storage.
func decodeStorages(data []byte, node string) ([]Storage, error) {
	list, err := decode[[]fields](data)
	if err != nil {
		return nil, err
	}
	storages := make([]Storage, 0, len(list))
	for _, f := range list {
		storages = append(storages, Storage{
			Name: f.text("storage"), Node: node, Type: f.text("type"), Content: sortedWords(f.text("content")),
			Shared: f.bool("shared"), Enabled: f.bool("enabled"), Active: f.bool("active"),
			Total: f.int("total"), Used: f.int("used"), Avail: f.int("avail"),
		})
	}
	slices.SortFunc(storages, compareStorages)
	return storages, nil
}

// decodeVolumes reads /nodes/NODE/storage/STORAGE/content.
func decodeVolumes(data []byte) ([]Volume, error) {
	list, err := decode[[]fields](data)
	if err != nil {
		return nil, err
	}
	volumes := make([]Volume, 0, len(list))
	for _, f := range list {
		volumes = append(volumes, Volume{
			ID: f.text("volid"), Content: f.text("content"), Format: f.text("format"),
			Size: f.int("size"), VMID: int(f.int("vmid")), Parent: f.text("parent"),
		})
	}
	slices.SortFunc(volumes, func(a, b Volume) int { return strings.Compare(a.ID, b.ID) })
	return volumes, nil
}

// decodeNodeStatus reads /nodes/NODE/status.
func decodeNodeStatus(data []byte) (NodeStatus, error) {
	f, err := decode[fields](data)
	if err != nil {
		return NodeStatus{}, err
	}
	cpu, mem := f.object("cpuinfo"), f.object("memory")
	s := NodeStatus{
		CPUFlags: strings.Fields(cpu.text("flags")), CPUs: int(cpu.int("cpus")),
		MemTotal: mem.int("total"), MemFree: mem.int("free"), Version: f.text("pveversion"),
	}
	if mem.has("available") {
		s.MemFree = mem.int("available")
	}
	if load, ok := f["loadavg"].([]any); ok && len(load) > 0 {
		s.Load1 = fields{"1": load[0]}.float("1")
	}
	return s, nil
}

var configLine = regexp.MustCompile(`^([a-zA-Z][a-zA-Z0-9_-]*):\s*(.*?)\s*$`)

// decodeConfig reads a VM's conf file up to its first section. Unknown lines are
// passed over.
func decodeConfig(data []byte, node string, vmid int) VMConfig {
	head, _, _ := strings.Cut("\n"+string(data), "\n[")
	return decodeOptions(data, head, node, vmid)
}

// decodeSnapshot reads the section of a snapshot in a VM's conf file; false when
// there is none.
func decodeSnapshot(data []byte, node string, vmid int, name string) (VMConfig, bool) {
	_, section, ok := strings.Cut("\n"+strings.ReplaceAll(string(data), "\r\n", "\n"), "\n["+name+"]\n")
	section, _, _ = strings.Cut("\n"+section, "\n[")
	return decodeOptions(data, section, node, vmid), ok
}

// decodeOptions reads the options in text, a part of the conf file data.
func decodeOptions(data []byte, text, node string, vmid int) VMConfig {
	sum := sha1.Sum(data) // PVE: that is what --digest compares
	c := VMConfig{Node: node, VMID: vmid, Options: map[string]string{}, Digest: hex.EncodeToString(sum[:])}
	var description []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if text, ok := strings.CutPrefix(line, "#"); ok {
			description = append(description, decodeText(text))
			continue
		}
		m := configLine.FindStringSubmatch(line)
		switch {
		case m == nil || m[1] == "cipassword":
		case m[1] == "description":
			description = append(description, decodeText(m[2]))
		default:
			c.Options[m[1]] = m[2]
		}
	}
	c.Description = strings.Join(description, "\n")
	return c
}

// decodeText undoes PVE's percent encoding; what is not encoded properly
// stays as it is.
func decodeText(s string) string {
	if plain, err := url.PathUnescape(s); err == nil {
		return strings.ToValidUTF8(plain, "\uFFFD")
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// decodeAddresses reads what scripts/addresses.sh prints. Snapshots are passed
// over; pending changes count, and so does what a running guest was told and still
// has. PVE: an address that is changed while the VM runs is the current one at
// once, and the guest's own goes to a section of its own until the next start.
func decodeAddresses(data []byte) map[netip.Addr]int {
	addrs := map[netip.Addr]int{}
	file, section := "", ""
	for line := range strings.Lines(string(data)) {
		from, text, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		if from != file {
			file, section = from, ""
		}
		if strings.HasPrefix(text, "[") {
			section = strings.Trim(text, "[] ")
			continue
		}
		vmid, err := strconv.Atoi(strings.TrimSuffix(path.Base(file), ".conf"))
		if err != nil || !slices.Contains([]string{"", "PENDING", "special:cloudinit"}, section) {
			continue
		}
		_, value, _ := strings.Cut(text, ":")
		for _, key := range []string{"ip", "ip6"} {
			if p, err := netip.ParsePrefix(property(strings.TrimSpace(value), key)); err == nil {
				addrs[p.Addr()] = vmid
			}
		}
	}
	return addrs
}

// property reads one key of a PVE property string such as
// "uuid=...,serial=..."; the default key's value is under "".
func property(s, key string) string {
	for part := range strings.SplitSeq(s, ",") {
		k, v, found := strings.Cut(part, "=")
		if !found {
			k, v = "", part
		}
		if k == key {
			return v
		}
	}
	return ""
}

var sizePattern = regexp.MustCompile(`^(\d+(?:\.\d+)?)([KMGT]?)$`)

// parseSize reads a disk size of a conf file, such as 1088M, in bytes.
func parseSize(s string) (int64, bool) {
	m := sizePattern.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	shift := map[string]uint{"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[m[2]]
	if n, err := strconv.ParseInt(m[1], 10, 64); err == nil && n <= math.MaxInt64>>shift {
		return n << shift, true
	}
	x, err := strconv.ParseFloat(m[1], 64)
	x *= float64(int64(1) << shift)
	if err != nil || x >= math.MaxInt64 {
		return 0, false
	}
	return int64(x), true
}
