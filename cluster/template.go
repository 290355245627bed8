package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A template is a VM that is never started; its linked clones take no time and
// hardly any space.

func cmdTemplate(vmid int) Cmd { return changes(qm("template", vmid)) }

func cmdLinkedClone(c NewClone) Cmd {
	return changes(qm("clone", c.VMID, strconv.Itoa(c.NewID), "--name", c.Name, "--full", "0", "--description", inASCII(c.Description)))
}

// cmdConfigure makes of a clone what cmdCreate would have made: all options that
// the template can't have had. Run again, it changes nothing more. PVE: a network
// card that is set without its MAC address gets a new one.
func cmdConfigure(vm NewVM) Cmd {
	c := qm("set", vm.VMID,
		"--memory", strconv.Itoa(vm.MemoryMB),
		"--cores", strconv.Itoa(vm.Cores),
		"--cpu", vm.CPU,
		"--numa", flag(vm.NUMA),
		"--net0", vm.net0(),
		"--ipconfig0", vm.IPConfig,
		"--smbios1", "uuid="+vm.UUID,
		"--tags", strings.Join(vm.Tags, ";"),
		"--onboot", flag(vm.OnBoot),
	)
	vm.guestOptions(&c)
	return changes(c)
}

// net0 is the VM's network interface.
func (vm NewVM) net0() string {
	net := "virtio"
	if vm.MAC != "" {
		net += "=" + vm.MAC
	}
	net += ",bridge=" + vm.Bridge
	if vm.VLAN > 0 {
		net += ",tag=" + strconv.Itoa(vm.VLAN)
	}
	return net
}

// guestOptions are the options that may be left out. SSH keys are read by qm
// from a file, which is its standard input here. A hashed password is stored
// as it is.
func (vm NewVM) guestOptions(c *Cmd) {
	option := func(name, value string) {
		if value != "" {
			c.Argv = append(c.Argv, name, value)
		}
	}
	if vm.BalloonMB > 0 {
		option("--balloon", strconv.Itoa(vm.BalloonMB))
	}
	option("--nameserver", vm.Nameserver)
	option("--ciuser", vm.User)
	option("--cipassword", vm.PasswordHash)
	if vm.SSHKeys != "" {
		option("--sshkeys", "/dev/stdin")
		c.Stdin = []byte(vm.SSHKeys)
	}
}

// IsTemplate reports whether the VM is a template.
func (c VMConfig) IsTemplate() bool { return c.Options["template"] == "1" }

// MakeTemplate makes a template of a stopped VM, and judges by its config, since
// `qm template` ends with 0 when it failed. One that is a template is fine.
func (c *Cluster) MakeTemplate(ctx context.Context, node string, vmid int) error {
	conf, err := c.VMConfig(ctx, node, vmid)
	if err != nil || conf.IsTemplate() {
		return err
	}
	res, err := c.on(ctx, node, cmdTemplate(vmid))
	if errors.Is(err, ErrNotStarted) {
		return onVM(err, "make a template of VM", vmid)
	}
	conf, lookErr := c.VMConfig(ctx, node, vmid)
	switch {
	case lookErr != nil:
		return fmt.Errorf("%w: %w", lost(lookErr), err)
	case conf.IsTemplate():
		return nil
	case err == nil:
		err = &ExitError{Argv: cmdTemplate(vmid).Argv, Stderr: strings.TrimSpace(string(res.Stderr))}
	}
	return onVM(err, "make a template of VM", vmid)
}

// StartLinkedClone starts a linked clone of a template as task key, on the
// template's node. It fails with an *ExitError for which IsExists tells a taken
// VMID. Storage must be empty: the clone is where its template is.
func (c *Cluster) StartLinkedClone(ctx context.Context, node, key string, n NewClone) (Task, error) {
	errs := []error{checkVMID(n.VMID), checkVMID(n.NewID), checkName("DNS name", dnsName, n.Name)}
	if n.Storage != "" || n.Description == "" || strings.HasPrefix(n.Description, "-") {
		errs = append(errs, fmt.Errorf("%w: a linked clone needs a description, and has no storage of its own", ErrNotStarted))
	}
	if err := errors.Join(errs...); err != nil {
		return Task{}, err
	}
	return c.tasks.Start(ctx, node, key, cmdLinkedClone(n))
}

// Configure gives a VM that was cloned all options of vm but its name, its
// description and its disks. Doing it again is harmless.
func (c *Cluster) Configure(ctx context.Context, node string, vm NewVM) error {
	if err := vm.check(); err != nil {
		return err
	}
	if vm.UUID == "" || len(vm.Tags) == 0 {
		return fmt.Errorf("%w: a clone is given a uuid and tags of its own", ErrNotStarted)
	}
	conf, err := c.VMConfig(ctx, node, vm.VMID)
	if err != nil {
		return err
	}
	vm.MAC = conf.MAC()
	_, err = c.on(ctx, node, cmdConfigure(vm))
	return onVM(err, "configure VM", vm.VMID)
}
