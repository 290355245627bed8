package pvesim

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"pvebot/cluster/pvesim/simguest"
)

// vm is a VM or a container. Guarded by Sim.mu.
type vm struct {
	id          int
	typ         string // qemu or lxc
	node        *node
	description string
	opts        map[string]string // its conf file; a created VM has only lock until the end
	pending     map[string]string // what a running VM takes up at its next start
	cloudinit   map[string]string // what the running guest was told and is changed since; added: what it was not told
	snapshots   map[string]*snapshot
	running     bool
	paused      bool // it has a process, which stands still
	pid         int
	started     time.Time      // when its process began
	booted      time.Time      // when its guest was last switched on or rebooted
	version     int            // of .vmlist when its conf file last changed
	born        time.Time      // when it came into being, for the statistics
	guest       Machine        // nil until its first start
	seed        string         // cloud-init's instance id as of its last start
	disk        *simguest.Disk // what a clone's guest begins with; nil: a fresh image
	ip          netip.Addr
}

// digest is the SHA-1 that `qm set --digest` compares.
func (v *vm) digest() string { return digestOf(v.conf()) }

func digestOf(text string) string {
	sum := sha1.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

// conf is the conf file's text.
func (v *vm) conf() string {
	var b strings.Builder
	b.WriteString(commented(v.description) + sortedLines(v.opts))
	if len(v.pending) > 0 {
		b.WriteString("\n[PENDING]\n" + sortedLines(v.pending))
	}
	if v.cloudinit != nil && v.hasCloudinit() {
		b.WriteString("\n[special:cloudinit]\n" + sortedLines(v.cloudinit))
	}
	for _, name := range slices.Sorted(maps.Keys(v.snapshots)) {
		b.WriteString("\n[" + name + "]\n" + v.snapshots[name].conf())
	}
	return b.String()
}

// commented is a description as a conf file has it, ahead of the options.
func commented(description string) string {
	var b strings.Builder
	if description != "" {
		for line := range strings.SplitSeq(strings.TrimSuffix(description, "\n"), "\n") {
			fmt.Fprintf(&b, "#%s\n", encodeText(line))
		}
	}
	return b.String()
}

// encodeText is PVE's encoding of a description line: everything but the
// printable ASCII characters, and of these ':' and '%', becomes %XX.
func encodeText(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c < 0x20 || c > 0x7e || c == ':' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// uriEscape encodes as RFC 3986 has it: all but the unreserved characters.
func uriEscape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-_.~", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// name is what PVE calls it.
func (v *vm) name() string {
	if v.typ == "lxc" {
		return v.opts["hostname"]
	}
	if n := v.opts["name"]; n != "" {
		return n
	}
	return "VM " + strconv.Itoa(v.id)
}

func (v *vm) template() bool { return v.opts["template"] == "1" }

func (v *vm) int(key string, otherwise int) int {
	s, _, _ := strings.Cut(v.opts[key], ",")
	n, err := strconv.Atoi(strings.TrimPrefix(s, "current="))
	if err != nil {
		return otherwise
	}
	return n
}

func (v *vm) cpus() int     { return v.int("cores", 1) * v.int("sockets", 1) }
func (v *vm) memory() int64 { return int64(v.int("memory", 512)) * mib }

// bootDisk is the size of the first disk that it boots from, in bytes.
func (v *vm) bootDisk() int64 {
	first := ""
	if order, ok := strings.CutPrefix(v.opts["boot"], "order="); ok {
		for dev := range strings.SplitSeq(order, ";") {
			if isDisk(dev) && !isCDROM(v.opts[dev]) && v.opts[dev] != "" {
				first = dev
				break
			}
		}
	}
	if v.typ == "lxc" {
		first = "rootfs"
	}
	size, _ := parseSize(prop(v.opts[first], "size"))
	return size
}

// disks are the names of its disks and drives, sorted.
func (v *vm) disks() []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(v.opts)) {
		if isDisk(k) || isUnused(k) {
			out = append(out, k)
		}
	}
	return out
}

// volume is the volume id of a drive value, "" for none and for a plain path.
func volumeOf(value string) string {
	id, _, _ := strings.Cut(value, ",")
	id = strings.TrimPrefix(id, "file=")
	if id == "none" || id == "cdrom" || strings.HasPrefix(id, "/") || !strings.Contains(id, ":") {
		return ""
	}
	return id
}

func isCDROM(value string) bool { return prop(value, "media") == "cdrom" }

// prop is a key's value in a property string, "" when absent.
func prop(s, key string) string {
	for part := range strings.SplitSeq(s, ",") {
		if k, v, ok := strings.Cut(part, "="); ok && k == key {
			return v
		}
	}
	return ""
}

// indexed says whether key is name followed by a number up to last.
func indexed(key, name string, last int) bool {
	digits, ok := strings.CutPrefix(key, name)
	if !ok || digits == "" || (len(digits) > 1 && digits[0] == '0') {
		return false
	}
	n, err := strconv.Atoi(digits)
	return err == nil && n >= 0 && n <= last
}

func isDisk(key string) bool {
	return indexed(key, "scsi", 30) || indexed(key, "virtio", 15) || indexed(key, "sata", 5) ||
		indexed(key, "ide", 3) || key == "efidisk0" || key == "tpmstate0"
}

func isUnused(key string) bool { return indexed(key, "unused", 255) }

// uptime in seconds.
func (v *vm) uptime(now time.Time) int64 {
	if !v.running {
		return 0
	}
	return int64(now.Sub(v.started) / time.Second)
}

// halt is the power cord.
func (v *vm) halt() {
	if v.guest != nil {
		v.guest.Stop()
	}
	v.running, v.paused, v.pid = false, false, 0
}

// address is the static address of ipconfig0, invalid when there is none.
func (v *vm) address() netip.Addr {
	p, err := netip.ParsePrefix(prop(v.opts["ipconfig0"], "ip"))
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr()
}
