package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// ErrNoVM: no VM (or container) of that id is on the node, or in the cluster.
var ErrNoVM = errors.New("no such VM")

// ErrExists: the VMID is taken (`already exists`); the next one may be free.
var ErrExists = errors.New("VMID already exists")

// New returns the cluster behind nodes.
func New(nodes Nodes, tasks Tasks, cfg Config) *Cluster {
	return &Cluster{nodes: nodes, tasks: tasks, cfg: cfg.withDefaults()}
}

// Name is the cluster's name, as Config has it.
func (c *Cluster) Name() string { return c.cfg.Name }

// Nodes are the cluster's nodes.
func (c *Cluster) Nodes() Nodes { return c.nodes }

// Tasks are the cluster's node tasks.
func (c *Cluster) Tasks() Tasks { return c.tasks }

// on runs a command on one node, for as long as commands of its kind may take.
func (c *Cluster) on(ctx context.Context, node string, cmd Cmd) (Result, error) {
	r, err := c.nodes.Node(node)
	if err != nil {
		return Result{}, notStarted(err)
	}
	limit := c.cfg.Timeout
	if cmd.Changes {
		limit = c.cfg.WorkTimeout
	}
	run := func(ctx context.Context) (Result, error) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		return runAgain(ctx, r, cmd)
	}
	TellAsked(ctx, node)
	var res Result
	if isReader(ctx, cmd) {
		res, err = c.reads.share(ctx, node, cmd, run)
	} else {
		res, err = run(ctx)
	}
	if err == nil {
		TellAsked(ctx, "")
	}
	if cmd.Changes && !errors.Is(err, ErrNotStarted) {
		Tell(ctx, Ran{Where: node, Line: Shown(cmd.Argv), Err: err})
	}
	if err != nil {
		return res, fmt.Errorf("%s: %w", node, err)
	}
	return res, nil
}

// Membership reads .members: milliseconds. A node that has lost the others tells
// so only when no other one knows better.
func (c *Cluster) Membership(ctx context.Context) (Membership, error) {
	res, err := c.askUntil(ctx, cmdMembers(c.cfg.PVEEtc), func(res Result, err error) bool {
		m, decodeErr := decodeMembers(res.Stdout)
		return err == nil && decodeErr == nil && m.Quorate
	})
	if err != nil {
		return Membership{}, fmt.Errorf("members of the cluster: %w", err)
	}
	return decodeMembers(res.Stdout)
}

// Guests reads .vmlist: milliseconds. VMs and containers by VMID.
func (c *Cluster) Guests(ctx context.Context) (map[int]Guest, error) {
	res, err := c.ask(ctx, cmdVMList(c.cfg.PVEEtc))
	if err != nil {
		return nil, fmt.Errorf("list of VMs: %w", err)
	}
	return decodeVMList(res.Stdout)
}

// Locate says where a guest lives now; ErrNoVM when there is none.
func (c *Cluster) Locate(ctx context.Context, vmid int) (Guest, error) {
	guests, err := c.Guests(ctx)
	if err != nil {
		return Guest{}, err
	}
	g, ok := guests[vmid]
	if !ok {
		return Guest{}, fmt.Errorf("%d: %w", vmid, ErrNoVM)
	}
	return g, nil
}

// Addresses are the static addresses in the conf files of every VM and
// container of the cluster, with their VMID. One command.
func (c *Cluster) Addresses(ctx context.Context) (map[netip.Addr]int, error) {
	res, err := c.ask(ctx, cmdAddresses(c.cfg.PVEEtc))
	if err != nil {
		return nil, fmt.Errorf("addresses of all VMs: %w", err)
	}
	if len(res.Stdout) >= maxStream {
		return nil, errors.New("addresses of all VMs: more than 4 MiB of them")
	}
	return decodeAddresses(res.Stdout), nil
}

// Resources is the statistics view of the whole cluster. Dear: 0.85 s.
func (c *Cluster) Resources(ctx context.Context) (Resources, error) {
	res, err := c.ask(ctx, cmdResources())
	if err != nil {
		return Resources{}, fmt.Errorf("resources of the cluster: %w", err)
	}
	r, err := decodeResources(res.Stdout)
	for i, n := range r.Nodes {
		if run, err := c.nodes.Node(n.Name); err == nil {
			if s, ok := run.(*SSH); ok {
				r.Nodes[i].Failing = s.whyFailing()
			}
		}
	}
	return r, err
}

// Storages lists the storages as node sees them. Dear.
func (c *Cluster) Storages(ctx context.Context, node string) ([]Storage, error) {
	if err := checkName("node", nodeName, node); err != nil {
		return nil, err
	}
	res, err := c.on(ctx, node, cmdStorages(node))
	if err != nil {
		return nil, fmt.Errorf("storages: %w", err)
	}
	return decodeStorages(res.Stdout, node)
}

// Volumes lists the volumes of a storage as node sees it. Dear.
func (c *Cluster) Volumes(ctx context.Context, node, storage string) ([]Volume, error) {
	if err := errors.Join(checkName("node", nodeName, node), checkName("storage", storageName, storage)); err != nil {
		return nil, err
	}
	res, err := c.on(ctx, node, cmdVolumes(node, storage))
	if err != nil {
		return nil, fmt.Errorf("volumes of %s: %w", storage, err)
	}
	return decodeVolumes(res.Stdout)
}

// NodeStatus asks one node about itself; one that is a member of the cluster
// but not configured here, or does not answer, is asked through the others.
// Dear.
func (c *Cluster) NodeStatus(ctx context.Context, node string) (NodeStatus, error) {
	if err := checkName("node", nodeName, node); err != nil {
		return NodeStatus{}, err
	}
	res, err := c.on(ctx, node, cmdNodeStatus(node))
	if errors.Is(err, ErrNotStarted) && ctx.Err() == nil {
		return c.statusByOthers(ctx, node)
	}
	if err != nil {
		return NodeStatus{}, fmt.Errorf("status of node %s: %w", node, err)
	}
	return decodeNodeStatus(res.Stdout)
}

// statusByOthers asks the other nodes about one that does not answer us.
func (c *Cluster) statusByOthers(ctx context.Context, node string) (NodeStatus, error) {
	res, err := c.byOthers(ctx, cmdNodeStatus(node))
	if err != nil {
		return NodeStatus{}, fmt.Errorf("status of node %s: %w", node, err)
	}
	return decodeNodeStatus(res.Stdout)
}

// byOthers puts a question about one node to the others. PVE: pvesh goes there by
// itself.
func (c *Cluster) byOthers(ctx context.Context, cmd Cmd) (Result, error) {
	return c.askUntil(ctx, cmd, func(_ Result, err error) bool {
		_, refused := errors.AsType[*ExitError](err)
		return err == nil || refused // others would say the same, and take as long
	})
}

// StartCreate starts `qm create` of vm on node as task key. The task fails
// with an *ExitError for which IsExists tells a taken VMID from the rest.
// Values that PVE would refuse or misread are refused with ErrNotStarted.
func (c *Cluster) StartCreate(ctx context.Context, node, key string, vm NewVM) (Task, error) {
	if err := vm.check(); err != nil {
		return Task{}, err
	}
	return c.tasks.Start(ctx, node, key, cmdCreate(vm))
}

var taken = regexp.MustCompile(`(VM|CT) \d+ already exists|VM \d+: config file already exists|unable to create VM \d+ - can't lock file '[^']*' - got timeout`)

// IsExists reports whether err is PVE's refusal of a VMID that is taken. PVE: as
// long as somebody creates or restores a VM, its lock file is held, and a second
// create waits for that in vain before it looks for the VM.
func IsExists(err error) bool {
	var refused *ExitError
	return errors.Is(err, ErrExists) || errors.As(err, &refused) && taken.MatchString(refused.Stderr)
}

var noConfig = regexp.MustCompile(`Configuration file '[^']*' does not exist|unable to find configuration file for VM`)

// onVM turns PVE's word for a VM that is not on this node into ErrNoVM.
func onVM(err error, doing string, vmid int) error {
	var refused *ExitError
	if errors.As(err, &refused) && noConfig.MatchString(refused.Stderr) {
		return fmt.Errorf("%s %d: %w: %w", doing, vmid, ErrNoVM, err)
	}
	if err != nil {
		return fmt.Errorf("%s %d: %w", doing, vmid, err)
	}
	return nil
}

// Resize grows a disk to size bytes, and judges by the VM's config, since
// `qm disk resize` ends with 0 when it failed. Already that large is fine.
func (c *Cluster) Resize(ctx context.Context, node string, vmid int, disk string, size int64) error {
	if err := checkName("disk", diskName, disk); err != nil {
		return err
	}
	large, err := c.diskHas(ctx, node, vmid, disk, size)
	if large || err != nil {
		return err
	}
	res, err := c.on(ctx, node, cmdResize(vmid, disk, size))
	if errors.Is(err, ErrNotStarted) {
		return onVM(err, "resize VM", vmid)
	}
	if err == nil {
		err = &ExitError{Argv: cmdResize(vmid, disk, size).Argv, Stderr: strings.TrimSpace(string(res.Stderr))}
	}
	large, lookErr := c.diskHas(ctx, node, vmid, disk, size)
	switch {
	case large:
		return nil
	case lookErr != nil:
		return fmt.Errorf("%w: %w", lost(lookErr), err)
	}
	return onVM(err, "resize VM", vmid)
}

// diskHas reports whether a disk is size bytes large, or larger.
func (c *Cluster) diskHas(ctx context.Context, node string, vmid int, disk string, size int64) (bool, error) {
	conf, err := c.VMConfig(ctx, node, vmid)
	if err != nil {
		return false, err
	}
	value, ok := conf.Options[disk]
	if !ok {
		return false, fmt.Errorf("VM %d has no disk %s", vmid, disk)
	}
	now, ok := parseSize(property(value, "size"))
	return ok && now >= size, nil
}

// Start starts a VM; one that runs already is fine.
func (c *Cluster) Start(ctx context.Context, node string, vmid int) error {
	if err := checkVMID(vmid); err != nil {
		return err
	}
	_, err := c.on(ctx, node, cmdStart(vmid))
	var refused *ExitError
	if errors.As(err, &refused) && strings.Contains(refused.Stderr, "already running") {
		return nil
	}
	return onVM(err, "start VM", vmid)
}

// Stop stops a VM hard; a stopped one is fine.
func (c *Cluster) Stop(ctx context.Context, node string, vmid int) error {
	if err := checkVMID(vmid); err != nil {
		return err
	}
	_, err := c.on(ctx, node, cmdStop(vmid))
	return onVM(err, "stop VM", vmid)
}

// Status is running, stopped, paused, ... ErrNoVM when the node has none.
func (c *Cluster) Status(ctx context.Context, node string, vmid int) (string, error) {
	if err := checkVMID(vmid); err != nil {
		return "", err
	}
	res, err := c.on(ctx, node, cmdStatus(vmid))
	if err != nil {
		return "", onVM(err, "status of VM", vmid)
	}
	for line := range strings.Lines(string(res.Stdout)) {
		if status, ok := strings.CutPrefix(line, "status:"); ok {
			return strings.TrimSpace(status), nil
		}
	}
	return "", fmt.Errorf("status of VM %d: %s answered %.80q", vmid, node, res.Stdout)
}

// DestroyOptions are what `qm destroy` can do beyond the VM itself.
type DestroyOptions struct {
	SkipLock     bool // also a VM that is locked
	Unreferenced bool // also volumes of the VMID that no config names
}

// Destroy removes a stopped VM, the disks its config names and its entries in
// backup and replication jobs. ErrNoVM when there is none.
func (c *Cluster) Destroy(ctx context.Context, node string, vmid int, o DestroyOptions) error {
	if err := checkVMID(vmid); err != nil {
		return err
	}
	_, err := c.on(ctx, node, cmdDestroy(vmid, o))
	return onVM(err, "destroy VM", vmid)
}

// FreeVolume removes a volume (`pvesm free`); one that is gone is fine, which
// is judged by the storage's list, since each storage type has words of its
// own for it.
func (c *Cluster) FreeVolume(ctx context.Context, node, volume string) error {
	if err := checkName("volume", volumeName, volume); err != nil {
		return err
	}
	_, err := c.on(ctx, node, cmdFreeVolume(volume))
	var refused *ExitError
	if errors.As(err, &refused) {
		storage, _, _ := strings.Cut(volume, ":")
		volumes, listErr := c.Volumes(ctx, node, storage)
		if listErr != nil {
			return fmt.Errorf("free %s: %w", volume, errors.Join(err, listErr))
		}
		for _, v := range volumes {
			if v.ID == volume {
				return fmt.Errorf("free %s: %w", volume, err)
			}
		}
		return nil
	}
	return err
}

// aliveTimeout is longer than a round of pings by what a busy node needs to
// start them.
const aliveTimeout = 30 * time.Second

// Alive reports which of addrs answer a ping, as seen from node: one batch for
// all, about a second. An address that could not be asked (no ping on the
// node, no route) is an error: nobody knows whether it is free.
func (c *Cluster) Alive(ctx context.Context, node string, addrs []netip.Addr) ([]netip.Addr, error) {
	if len(addrs) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, aliveTimeout)
	defer cancel()
	res, err := c.on(ctx, node, cmdAlive(addrs))
	if err != nil {
		return nil, fmt.Errorf("ping %d addresses: %w", len(addrs), err)
	}
	up := map[string]bool{}
	for line := range strings.Lines(string(res.Stdout)) {
		word, addr, _ := strings.Cut(strings.TrimSpace(line), " ")
		if word == "?" {
			return nil, fmt.Errorf("%s can't ping %s, so that nobody knows whether it is free", node, addr)
		}
		up[addr] = true
	}
	var alive []netip.Addr
	for _, a := range addrs {
		if up[a.String()] {
			alive = append(alive, a)
		}
	}
	return alive, nil
}

var transferred = regexp.MustCompile(`\btransferred \S+ \S+ of \S+ \S+(?: VM-state)?.*?\((\d{1,3}(?:\.\d+)?)%\)`)

// TransferProgress reads the fraction, 0 to 1, from a progress line of create,
// clone or import ("transferred 1.2 GiB of 2.0 GiB (60.00%)").
func TransferProgress(line string) (fraction float64, ok bool) {
	return percent(transferred.FindStringSubmatch(line))
}

// percent reads the first group of a match as a fraction.
func percent(match []string) (float64, bool) {
	if match == nil {
		return 0, false
	}
	n, err := strconv.ParseFloat(match[1], 64)
	if err != nil || n > 100 {
		return 0, false
	}
	return n / 100, true
}
