package cluster

import (
	"fmt"
	"strconv"
)

// VMCPUs is how many CPUs a VM has, and what they are made of. Nothing else
// reads them out of a configuration.
type VMCPUs struct {
	Sockets int
	Cores   int // of each socket
	Plugged int // vcpus: so many of them are there from the start; 0: all
}

// mostCPUs is more than PVE starts a VM with; it keeps products from
// overflowing. PVE: any number is taken when it is set.
const mostCPUs = 1 << 20

// CPUs are the CPUs of the VM from its next start on, less what is pending.
func (c VMConfig) CPUs() VMCPUs {
	number := func(key string, fallback int) int {
		n, err := strconv.Atoi(c.Options[key])
		if err != nil || n < 1 {
			return fallback
		}
		return min(n, mostCPUs)
	}
	// PVE: smp is what very old configurations call the sockets.
	return VMCPUs{Sockets: number("sockets", number("smp", 1)), Cores: number("cores", 1), Plugged: number("vcpus", 0)}
}

// Most is how many CPUs the VM can have while it runs. PVE starts no VM on a
// node that has fewer.
func (n VMCPUs) Most() int { return n.Sockets * n.Cores }

// Count is how many CPUs the VM has.
func (n VMCPUs) Count() int {
	if n.Plugged > 0 {
		return min(n.Plugged, n.Most())
	}
	return n.Most()
}

// CoresFor is what the option cores has to be for a VM that shall have so many
// CPUs.
func (n VMCPUs) CoresFor(cpus int) (cores int, ok bool) {
	return cpus / n.Sockets, cpus%n.Sockets == 0
}

// String says how many CPUs there are, and what they are made of where that is
// not the same.
func (n VMCPUs) String() string {
	switch {
	case n.Plugged > 0:
		return fmt.Sprintf("%d of %d CPUs", n.Count(), n.Most())
	case n.Sockets > 1:
		return fmt.Sprintf("%d CPUs (%d sockets of %d)", n.Count(), n.Sockets, n.Cores)
	}
	return fmt.Sprintf("%d CPUs", n.Count())
}
