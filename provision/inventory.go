package provision

import (
	"context"
	"time"

	"pvebot/cluster"
)

// Inventory is what front ends show and complete of the cluster. Answers may
// be some seconds old; whoever changes something looks again.
// All methods may be called concurrently.
type Inventory interface {
	// Resources are all VMs, nodes and storages.
	Resources(ctx context.Context) (cluster.Resources, error)
	// Images are the operating systems that can be installed.
	Images(ctx context.Context) ([]Image, error)
	// Baselines are what the CPUs of each migration group can run.
	Baselines(ctx context.Context) ([]cluster.Baseline, error)
}

// Image is an operating system that can be installed.
type Image struct {
	OS, Version string    // ubuntu, 24.04
	Title       string    // Ubuntu 24.04 LTS
	User        string    // the guest's own user
	Default     bool      // what OS alone means
	CPU         string    // the least CPU type that it runs on; kvm64 means any
	End         time.Time // last day of its free security updates; zero: not known
	Ended       bool      // that day is over
	Script      bool      // there is an init script for it
}
