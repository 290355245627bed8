package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Changes of a VM that take their time run as tasks, on the node where the VM
// is. Of one that is not there any more the task says so: IsNoVM.

// StartShutdown asks the guest to power off (ACPI, or its agent) and waits for
// it; a stopped VM is fine. PVE holds the VM's lock for the whole wait.
func (c *Cluster) StartShutdown(ctx context.Context, node, key string, vmid int, wait time.Duration) (Task, error) {
	return c.startOn(ctx, node, key, vmid, cmdShutdown(vmid, wait))
}

// StartReboot asks the guest to shut down, waits for it and starts it again,
// which applies pending changes of its configuration.
func (c *Cluster) StartReboot(ctx context.Context, node, key string, vmid int, wait time.Duration) (Task, error) {
	return c.startOn(ctx, node, key, vmid, cmdReboot(vmid, wait))
}

// StartDestroy is Destroy as a task.
func (c *Cluster) StartDestroy(ctx context.Context, node, key string, vmid int, o DestroyOptions) (Task, error) {
	return c.startOn(ctx, node, key, vmid, cmdDestroy(vmid, o))
}

func (c *Cluster) startOn(ctx context.Context, node, key string, vmid int, cmd Cmd) (Task, error) {
	if err := checkVMID(vmid); err != nil {
		return Task{}, err
	}
	return c.tasks.Start(ctx, node, key, cmd)
}

// IsNoVM reports whether err says that the node does not have the VM: it never
// was there, or moved away.
func IsNoVM(err error) bool {
	refused := new(ExitError)
	return errors.Is(err, ErrNoVM) || errors.As(err, &refused) && noConfig.MatchString(refused.Stderr)
}

// Options are what SetOptions changes; zero fields stay as they are.
type Options struct {
	Cores       int
	MemoryMB    int
	BalloonMB   int    // the least memory
	Name        string // DNS name
	IPConfig    string // of net0
	Description string
	Delete      string // names of options that shall go, with commas between them
}

func (o Options) check() error {
	var errs []error
	if o == (Options{}) {
		errs = append(errs, fmt.Errorf("%w: there is no option to set", ErrNotStarted))
	}
	if o.Cores < 0 || o.MemoryMB < 0 || o.BalloonMB < 0 {
		errs = append(errs, fmt.Errorf("%w: a VM can't have less than nothing", ErrNotStarted))
	}
	if o.Name != "" {
		errs = append(errs, checkName("DNS name", dnsName, o.Name))
	}
	if o.IPConfig != "" {
		errs = append(errs, checkName("IP configuration", ipConfig, o.IPConfig))
	}
	if strings.HasPrefix(o.Description, "-") {
		errs = append(errs, fmt.Errorf("%w: the description begins like an option", ErrNotStarted))
	}
	if o.Delete != "" {
		errs = append(errs, checkName("list of options", optionNames, o.Delete))
	}
	return errors.Join(errs...)
}

var optionNames = regexp.MustCompile(`^[a-z0-9]+(,[a-z0-9]+)*$`)

// SetOptions changes a VM's configuration. PVE: of a running VM, what can't be
// changed on the fly waits for its next start.
func (c *Cluster) SetOptions(ctx context.Context, node string, vmid int, o Options) error {
	if err := errors.Join(checkVMID(vmid), o.check()); err != nil {
		return err
	}
	_, err := c.on(ctx, node, cmdSet(vmid, o))
	return onVM(err, "change VM", vmid)
}

// VMSnapshot is a snapshot of a VM.
type VMSnapshot struct {
	Name        string
	Parent      string // "" for the first one
	Description string
	At          time.Time
	WithMemory  bool
}

var snapshotName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_-]+$`)

// Snapshots lists a VM's snapshots, oldest first. Dear.
func (c *Cluster) Snapshots(ctx context.Context, node string, vmid int) ([]VMSnapshot, error) {
	if err := checkVMID(vmid); err != nil {
		return nil, err
	}
	res, err := c.on(ctx, node, cmdSnapshots(node, vmid))
	if err != nil {
		return nil, onVM(err, "snapshots of VM", vmid)
	}
	snapshots, err := decodeSnapshots(res.Stdout)
	if err != nil {
		return nil, fmt.Errorf("snapshots of VM %d: %w", vmid, err)
	}
	return snapshots, nil
}

// decodeSnapshots reads /nodes/NODE/qemu/VMID/snapshot.
func decodeSnapshots(data []byte) ([]VMSnapshot, error) {
	list, err := decode[[]fields](data)
	if err != nil {
		return nil, err
	}
	var snapshots []VMSnapshot
	for _, s := range list {
		if s.text("name") == "current" { // PVE: "You are here!"
			continue
		}
		snapshots = append(snapshots, VMSnapshot{
			Name: s.text("name"), Parent: s.text("parent"), Description: decodeText(strings.TrimSpace(s.text("description"))),
			At: s.time("snaptime"), WithMemory: s.bool("vmstate"),
		})
	}
	sortSnapshots(snapshots)
	return snapshots, nil
}

// sortSnapshots puts the oldest first. PVE's times are whole seconds: of one
// second, what a snapshot stands on comes before it.
func sortSnapshots(list []VMSnapshot) {
	parent := map[string]string{}
	for _, s := range list {
		parent[s.Name] = s.Parent
	}
	depth := func(s VMSnapshot) (n int) {
		for name := s.Parent; name != "" && n < len(list); name = parent[name] {
			n++
		}
		return n
	}
	slices.SortFunc(list, func(a, b VMSnapshot) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(depth(a), depth(b)), strings.Compare(a.Name, b.Name))
	})
}

// StartSnapshot takes a snapshot of a VM's disks.
func (c *Cluster) StartSnapshot(ctx context.Context, node, key string, vmid int, name, description string) (Task, error) {
	return c.startSnapshot(ctx, node, key, vmid, name, cmdSnapshot(vmid, name, description))
}

// StartDeleteSnapshot removes a snapshot.
func (c *Cluster) StartDeleteSnapshot(ctx context.Context, node, key string, vmid int, name string) (Task, error) {
	return c.startSnapshot(ctx, node, key, vmid, name, cmdDeleteSnapshot(vmid, name))
}

// StartRollback takes a VM back to a snapshot; it is stopped by that, unless
// the snapshot has the memory too.
func (c *Cluster) StartRollback(ctx context.Context, node, key string, vmid int, name string) (Task, error) {
	return c.startSnapshot(ctx, node, key, vmid, name, cmdRollback(vmid, name))
}

func (c *Cluster) startSnapshot(ctx context.Context, node, key string, vmid int, name string, cmd Cmd) (Task, error) {
	if err := checkName("snapshot name", snapshotName, name); err != nil {
		return Task{}, err
	}
	return c.startOn(ctx, node, key, vmid, cmd)
}

// texts are the strings of a list, sorted.
func (f fields) texts(key string) []string {
	list, _ := f[key].([]any)
	var out []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return out
}

// objects are the objects of a list.
func (f fields) objects(key string) []fields {
	list, _ := f[key].([]any)
	var out []fields
	for _, v := range list {
		if m, ok := v.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// Migration moves a VM.
type Migration struct {
	VMID       int
	Target     string
	Online     bool   // the VM runs, and goes on running
	LocalDisks bool   // take disks on local storages along
	Storage    string // where they go; "" keeps the names
}

// StartMigrate starts the migration of a VM as task key, on the node where the
// VM is. The reason of a failure is among the task's output ("ERROR: ..."), not
// in its error (PVE).
func (c *Cluster) StartMigrate(ctx context.Context, node, key string, m Migration) (Task, error) {
	errs := []error{checkVMID(m.VMID), checkName("node", nodeName, m.Target)}
	if m.Storage != "" {
		errs = append(errs, checkName("storage", storageName, m.Storage))
	}
	if err := errors.Join(errs...); err != nil {
		return Task{}, err
	}
	return c.tasks.Start(ctx, node, key, cmdMigrate(m))
}

var (
	migrationProgress = regexp.MustCompile(`(?:transferred|active, transferred) ([0-9.]+) ([KMGT]?i?B) of ([0-9.]+) ([KMGT]?i?B)`)
	migrationError    = regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ERROR: (?:migration aborted \(duration [0-9:]+\): )?(.+)$`)
)

// MigrationProgress reads the fraction, 0 to 1, from a migration's line: a
// disk that is mirrored or copied, or the memory.
func MigrationProgress(line string) (fraction float64, ok bool) {
	m := migrationProgress.FindStringSubmatch(line)
	if m == nil {
		return 0, false
	}
	done, err1 := binarySize(m[1], m[2])
	all, err2 := binarySize(m[3], m[4])
	if err1 != nil || err2 != nil || all <= 0 {
		return 0, false
	}
	return min(done/all, 1), true
}

func binarySize(number, unit string) (float64, error) {
	n, err := strconv.ParseFloat(number, 64)
	for i := strings.IndexByte("KMGT", unit[0]); i >= 0; i-- {
		n *= 1024
	}
	return n, err
}

// MigrationError reads the reason from a migration's error line.
func MigrationError(line string) (reason string, ok bool) {
	m := migrationError.FindStringSubmatch(line)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// NewClone is a full copy of a VM.
type NewClone struct {
	VMID, NewID int
	Name        string // DNS name
	Description string
	Storage     string // "" keeps the source's
}

// StartClone starts a full clone as task key, on the node of the source. It
// fails with an *ExitError for which IsExists tells a taken VMID.
func (c *Cluster) StartClone(ctx context.Context, node, key string, n NewClone) (Task, error) {
	errs := []error{checkVMID(n.VMID), checkVMID(n.NewID), checkName("DNS name", dnsName, n.Name)}
	if n.Storage != "" {
		errs = append(errs, checkName("storage", storageName, n.Storage))
	}
	if strings.HasPrefix(n.Description, "-") {
		errs = append(errs, fmt.Errorf("%w: the description begins like an option", ErrNotStarted))
	}
	if err := errors.Join(errs...); err != nil {
		return Task{}, err
	}
	return c.tasks.Start(ctx, node, key, cmdClone(n))
}

// AgentAnswers reports whether the guest agent of a running VM answers.
func (c *Cluster) AgentAnswers(ctx context.Context, node string, vmid int) (bool, error) {
	if err := checkVMID(vmid); err != nil {
		return false, err
	}
	_, err := c.on(ctx, node, cmdAgentPing(vmid))
	if refused := new(ExitError); errors.As(err, &refused) {
		return false, nil
	}
	return err == nil, err
}

var haVM = regexp.MustCompile(`(?m)^vm: *(\d+) *$`)

// HAManaged are the VMIDs that PVE's high availability looks after: starting,
// stopping and moving them is only requested there.
func (c *Cluster) HAManaged(ctx context.Context) (map[int]bool, error) {
	res, err := c.ask(ctx, cmdHAResources(c.cfg.PVEEtc))
	if err != nil {
		return nil, fmt.Errorf("HA resources: %w", err)
	}
	return decodeHAManaged(res.Stdout), nil
}

// decodeHAManaged reads /etc/pve/ha/resources.cfg.
func decodeHAManaged(data []byte) map[int]bool {
	managed := map[int]bool{}
	for _, m := range haVM.FindAllStringSubmatch(string(data), -1) {
		if id, err := strconv.Atoi(m[1]); err == nil {
			managed[id] = true
		}
	}
	return managed
}
