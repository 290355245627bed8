package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"pvebot/alloc"
	"pvebot/cluster"
	"pvebot/provision/image"
)

// kit is what the steps of plans work with. It may be used by many goroutines.
type kit struct {
	store    Store
	cluster  *cluster.Cluster
	images   *image.Catalogue
	guests   GuestAccess
	settings Settings
	clock    cluster.Clock

	view    view
	bridges *bridges
	placing turn // jobs are placed one after the other
}

func newKit(c Config) *kit {
	s := c.Settings
	s.Bridge = cmp.Or(s.Bridge, "vmbr0")
	s.ImageDir = cmp.Or(s.ImageDir, "/var/lib/pvebot/images")
	s.TemplateStart, s.TemplateEnd = cmp.Or(s.TemplateStart, 9000), cmp.Or(s.TemplateEnd, 9099)
	s.ImageRefresh = cmp.Or(s.ImageRefresh, 24*time.Hour)
	s.ParallelImports = cmp.Or(s.ParallelImports, 2)
	return &kit{
		store: c.Store, cluster: c.Cluster, images: c.Images, guests: c.Guests, settings: s, clock: c.Clock,
		view: view{cluster: c.Cluster, clock: c.Clock}, bridges: newBridges(c.Cluster, c.Clock), placing: newTurn(),
	}
}

// Resources implements Inventory.
func (e *Engine) Resources(ctx context.Context) (cluster.Resources, error) {
	return e.kit.view.resources(ctx)
}

// Images implements Inventory.
func (e *Engine) Images(context.Context) ([]Image, error) {
	var images []Image
	for _, i := range e.kit.images.All() {
		_, script := i.InitScript()
		images = append(images, Image{
			OS: i.OS, Version: i.Version, Title: i.Title, User: i.User, Default: i.Default,
			CPU: i.CPU, End: i.End, Ended: i.Ended(e.kit.clock.Now()), Script: script,
		})
	}
	return images, nil
}

// Baselines implements Inventory.
func (e *Engine) Baselines(ctx context.Context) ([]cluster.Baseline, error) {
	groups, err := e.kit.cluster.Baselines(ctx)
	if err != nil {
		return nil, unreachable("the cluster", err)
	}
	return groups, nil
}

// prepare implements Engine.Prepare. What is not filled in is checked before it
// is reckoned with.
func (k *kit) prepare(ctx context.Context, spec Spec) (Spec, error) {
	if s, ok := spec.(Install); ok {
		return k.prepareInstall(ctx, s)
	}
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	switch s := spec.(type) {
	case Power:
		return k.preparePower(ctx, s)
	case Set:
		return k.prepareSet(ctx, s)
	case Destroy:
		return k.prepareDestroy(ctx, s)
	case Migrate:
		return k.prepareMigrate(ctx, s)
	case Drain:
		return k.prepareDrain(ctx, s)
	case Snapshot:
		return k.prepareSnapshot(ctx, s)
	case Rollback:
		return k.prepareRollback(ctx, s)
	case Clone:
		return k.prepareClone(ctx, s)
	case Extend:
		return k.prepareExtend(ctx, s)
	case Adopt:
		return k.prepareAdopt(ctx, s)
	case Trust:
		return k.prepareTrust(ctx, s)
	}
	return nil, Errorf(Internal, "nobody can order %q", spec.Kind())
}

func guestWord(g cluster.Guest) string {
	if g.Type == "lxc" {
		return "container"
	}
	return "VM"
}

// allow holds s to the operator's limits. Chat refuses what is above them.
func (c Settings) allow(s Install) error {
	switch {
	case c.MaxCores > 0 && s.Cores > c.MaxCores:
		return &Error{Kind: Invalid, Say: fmt.Sprintf("%d CPUs are more than the %d that one VM may have here", s.Cores, c.MaxCores), Try: fmt.Sprintf("--cpu %d", c.MaxCores)}
	case c.MaxMemoryMB > 0 && s.MemoryMB > c.MaxMemoryMB:
		return &Error{Kind: Invalid, Say: fmt.Sprintf("%s of memory are more than the %s that one VM may have here", size(int64(s.MemoryMB)), size(int64(c.MaxMemoryMB))), Try: "--ram " + size(int64(c.MaxMemoryMB))}
	case c.MaxDiskMB > 0 && s.DiskMB > c.MaxDiskMB:
		return &Error{Kind: Invalid, Say: fmt.Sprintf("a disk of %s is more than the %s that one VM may have here", size(s.DiskMB), size(c.MaxDiskMB)), Try: "--disk " + size(c.MaxDiskMB)}
	}
	return nil
}

// Validate implements Spec.
func (s Install) Validate() error {
	switch {
	case s.OS == "":
		return &Error{Kind: Invalid, Say: "which operating system?", Try: "vm install ubuntu"}
	case !CPUBound.Holds(int64(s.Cores)):
		return Errorf(Invalid, "%d CPUs: a VM has %s", s.Cores, CPUBound)
	case !MemoryBound.Holds(int64(s.MemoryMB)):
		return wrongMemory(s.MemoryMB)
	case s.DiskMB < DiskBound.Min:
		return Errorf(Invalid, "a disk of %s is too small: at least %s", size(s.DiskMB), size(DiskBound.Min))
	case s.DiskMB > DiskBound.Max:
		return Errorf(Invalid, "a disk of %s is too large: at most %s", size(s.DiskMB), size(DiskBound.Max))
	case s.Name != "" && !isDNSName(s.Name):
		return Errorf(Invalid, "%q is no name for a VM: letters, digits and hyphens, parts joined by dots", s.Name)
	case s.Name != "" && s.NumberName && !isDNSName(s.Name+"-999"):
		return Errorf(Invalid, "%q is too long a name for a VM: with -VMID its last part has more than 63 characters", s.Name)
	case s.PasswordHash != "" && !cryptHash.MatchString(string(s.PasswordHash)):
		return Errorf(Invalid, "the password is not hashed: crypt(3) with SHA-256 or SHA-512 ($5$, $6$)")
	case s.User != "" && !isUserName(s.User):
		return Errorf(Invalid, "%q is no login name: lower-case letters, digits, - and _", s.User)
	case s.VMID != 0 && !VMIDBound.Holds(int64(s.VMID)):
		return Errorf(Invalid, "%d is no VMID: %s", s.VMID, VMIDBound)
	case s.TTL < 0 || s.TTL > maxLife:
		return &Error{Kind: Invalid, Say: fmt.Sprintf("a life of %v can't be: up to five years", s.TTL), Try: "leave it out, and the VM lives until somebody destroys it"}
	}
	if s.Key != "" {
		if _, err := ParsePublicKey(s.Key); err != nil {
			return &Error{Kind: Invalid, Say: "key " + err.Error(), Try: "paste one line of a .pub file: ssh-ed25519 AAAA... you@host"}
		}
	}
	return nil
}

// wrongMemory says how much memory a VM can have.
func wrongMemory(mb int) error {
	if int64(mb) < MemoryBound.Min {
		return Errorf(Invalid, "%d MB of memory are too little: a VM has at least %d", mb, MemoryBound.Min)
	}
	return Errorf(Invalid, "%d MB of memory are too much: a VM has at most %d", mb, MemoryBound.Max)
}

// cryptHash is a hash of crypt(3) with SHA-256 or SHA-512.
var cryptHash = regexp.MustCompile(`^\$[56]\$(rounds=[0-9]{4,9}\$)?[./0-9A-Za-z]{1,16}\$[./0-9A-Za-z]{43,86}$`)

// isDNSName follows PVE's dns-name format: labels of letters, digits and inner
// hyphens, joined by dots.
func isDNSName(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return false
		}
		if strings.Trim(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return len(s) <= 253
}

// isUserName follows useradd's default pattern.
func isUserName(s string) bool {
	const first = "abcdefghijklmnopqrstuvwxyz_"
	return len(s) <= 32 && strings.Contains(first, s[:1]) && strings.Trim(s, first+"0123456789-") == ""
}

// count writes a number of things: 1 disk, 2 disks.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// size writes MiB as people do: 512M, 16G, 1.5T.
func size(mb int64) string {
	units := []struct {
		name string
		mb   float64
	}{{"T", 1 << 20}, {"G", 1 << 10}}
	for _, u := range units {
		if n := float64(mb) / u.mb; n >= 1 {
			return strings.TrimSuffix(strconv.FormatFloat(n, 'f', 1, 64), ".0") + u.name
		}
	}
	return strconv.FormatInt(mb, 10) + "M"
}

// taken is what the allocator leaves out: guests and their addresses, other
// jobs' slots, VMIDs that own volumes on storage.
func (k *kit) taken(ctx context.Context, node, storage string) (alloc.Taken, error) {
	t := alloc.Taken{VMIDs: map[int]string{}, Addrs: map[netip.Addr]string{}, Held: map[int]string{}}
	// The dear one: the addresses are probed meanwhile.
	t.Later = func(ctx context.Context) (map[int]string, error) {
		volumes, err := k.cluster.Volumes(ctx, node, storage)
		if err != nil {
			return nil, unreachable("storage "+storage, err)
		}
		owned := map[int]string{}
		for _, v := range volumes {
			if v.VMID != 0 {
				owned[v.VMID] = fmt.Sprintf("volumes of a former VM on %s", storage)
			}
		}
		return owned, nil
	}
	guests, err := k.cluster.Guests(ctx)
	if err != nil {
		return t, unreachable("the cluster", err)
	}
	for id, g := range guests {
		t.VMIDs[id] = fmt.Sprintf("%s %d on %s", guestWord(g), id, g.Node)
	}
	addrs, err := k.cluster.Addresses(ctx)
	if err != nil {
		return t, unreachable("the cluster", err)
	}
	for addr, id := range addrs {
		t.Addrs[addr] = fmt.Sprintf("VM %d", id)
	}
	held, err := k.store.Held(ctx, k.slotPool())
	if err != nil {
		return t, err
	}
	for slot, job := range held {
		id, err := strconv.Atoi(slot)
		if err != nil {
			return t, fmt.Errorf("slot %q of %s is no VMID", slot, k.slotPool())
		}
		t.Held[id] = "a slot that cools down"
		if job != 0 {
			t.Held[id] = fmt.Sprintf("job %d", job)
		}
	}
	return t, nil
}

// slotPool is the pool of VMIDs in the store.
func (k *kit) slotPool() string { return "vmid/" + k.cluster.Name() }

// ledger takes slots for a job from the store.
type ledger struct {
	w    *Work
	pool string
}

// Take implements alloc.Ledger.
func (l ledger) Take(ctx context.Context, candidates []alloc.Slot) (alloc.Slot, error) {
	slots := make([]string, len(candidates))
	for i, c := range candidates {
		slots[i] = strconv.Itoa(c.VMID)
	}
	got, err := l.w.Reserve(ctx, l.pool, slots...)
	if _, held := errors.AsType[*HeldError](err); held {
		return alloc.Slot{}, alloc.ErrTaken
	}
	if err != nil {
		return alloc.Slot{}, err
	}
	i := slices.Index(slots, got)
	if i < 0 {
		return alloc.Slot{}, fmt.Errorf("slot %s of %s was not asked for", got, l.pool)
	}
	return candidates[i], nil
}

// prober asks a node which addresses answer.
type prober struct {
	cluster *cluster.Cluster
	node    string
}

// Alive implements alloc.Prober.
func (p prober) Alive(ctx context.Context, addrs []netip.Addr) ([]netip.Addr, error) {
	return p.cluster.Alive(ctx, p.node, addrs)
}
