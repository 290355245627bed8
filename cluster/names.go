package cluster

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// What PVE takes for a name. Values that match can neither pass for an option
// nor leave their place in a path or a property string.
var (
	nodeName    = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$`)
	dnsName     = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*$`)
	storageName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_.-]*[a-zA-Z0-9]$`)
	volumeName  = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_.-]*[a-zA-Z0-9]:[^\s,]+$`)
	diskName    = regexp.MustCompile(`^(scsi|virtio|sata|ide|efidisk|tpmstate)[0-9]{1,2}$`)
	diskFormat  = regexp.MustCompile(`^(raw|qcow2)$`)
	macAddress  = regexp.MustCompile(`^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$`)
	bridgeName  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.-]*$`)
	cpuName     = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)
	userName    = regexp.MustCompile(`^[a-z_][a-z0-9_.-]*$`)
	tagName     = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_+.-]*$`)
	uuidPattern = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	cryptHash   = regexp.MustCompile(`^\$[56](\$[^$\s]+){2,}$`)
	ipConfig    = regexp.MustCompile(`^[a-z0-9]+=[^\s,]+(,[a-z0-9]+=[^\s,]+)*$`)
	nameservers = regexp.MustCompile(`^[0-9a-fA-F:.]+([ ,;][0-9a-fA-F:.]+)*$`)
	absolute    = regexp.MustCompile(`^/[^\x00\n,]*$`)
)

func checkVMID(vmid int) error {
	if vmid < 100 || vmid > 999999999 {
		return fmt.Errorf("%w: %d is no VMID", ErrNotStarted, vmid)
	}
	return nil
}

func checkName(what string, pattern *regexp.Regexp, value string) error {
	if !pattern.MatchString(value) {
		return fmt.Errorf("%w: %.80q is no %s", ErrNotStarted, value, what)
	}
	return nil
}

// check refuses values that PVE would refuse, or take for something else.
func (vm NewVM) check() error {
	errs := []error{
		checkVMID(vm.VMID),
		checkName("DNS name", dnsName, vm.Name),
		checkName("CPU type", cpuName, vm.CPU),
		checkName("storage", storageName, vm.Storage),
		checkName("bridge", bridgeName, vm.Bridge),
		checkName("IP configuration", ipConfig, vm.IPConfig),
	}
	optional := func(what string, pattern *regexp.Regexp, value string) {
		if value != "" {
			errs = append(errs, checkName(what, pattern, value))
		}
	}
	if strings.HasPrefix(vm.ImportFrom, "/") {
		optional("path", absolute, vm.ImportFrom)
	} else {
		errs = append(errs, checkName("volume", volumeName, vm.ImportFrom))
	}
	optional("nameserver", nameservers, vm.Nameserver)
	optional("user name", userName, vm.User)
	optional("UUID", uuidPattern, vm.UUID)
	optional("format of a disk", diskFormat, vm.Format)
	optional("MAC address", macAddress, vm.MAC)
	for _, tag := range vm.Tags {
		errs = append(errs, checkName("tag", tagName, tag))
	}
	refuse := func(when bool, why string) {
		if when {
			errs = append(errs, fmt.Errorf("%w: %s", ErrNotStarted, why))
		}
	}
	// The value is not quoted: it may be a password in clear text.
	refuse(vm.PasswordHash != "" && !cryptHash.MatchString(vm.PasswordHash), "the password is not hashed ($5$ or $6$)")
	refuse(inASCII(vm.ImportFrom) != vm.ImportFrom, "PVE finds no file whose path has other letters than those of ASCII")
	refuse(vm.Cores < 1, "a VM needs a core")
	refuse(vm.MemoryMB < 16, "a VM needs 16 MiB of memory")
	refuse(vm.BalloonMB < 0 || vm.BalloonMB > vm.MemoryMB, "the balloon can't be larger than the memory")
	refuse(vm.VLAN < 0 || vm.VLAN > 4094, "a VLAN is between 1 and 4094")
	refuse(strings.HasPrefix(vm.Description, "-"), "the description begins like an option")
	refuse(len(vm.Description) > 8192, "the description is longer than 8192 bytes")
	return errors.Join(errs...)
}
