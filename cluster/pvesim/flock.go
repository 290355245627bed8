package pvesim

import (
	"context"
	"sync"
	"time"

	"pvebot/cluster/pvesim/shim"
)

// fileLock is a lock file of a node. Guarded by Sim.mu.
type fileLock struct {
	readers int
	writer  bool
	freed   chan struct{} // closed when somebody lets go
}

// flock takes a lock file on the node, for which it waits no longer than wait,
// and says so when it has to wait. Releasing it twice is fine.
func (c *call) flock(ctx context.Context, path string, shared bool, wait time.Duration) (release func(), err error) {
	s, key := c.sim, c.node.name+path
	try := func() (release func(), freed <-chan struct{}) {
		s.mu.Lock()
		defer s.mu.Unlock()
		l := s.flocks[key]
		if l == nil {
			l = &fileLock{freed: make(chan struct{})}
			s.flocks[key] = l
		}
		if l.writer || l.readers > 0 && !shared {
			return nil, l.freed
		}
		if shared {
			l.readers++
		} else {
			l.writer = true
		}
		return sync.OnceFunc(func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if shared {
				l.readers--
			} else {
				l.writer = false
			}
			close(l.freed)
			l.freed = make(chan struct{})
		}), nil
	}
	release, freed := try()
	if release != nil {
		return release, nil
	}
	c.errRaw("trying to acquire lock...")
	timeout, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		if s.sleep(timeout, wait) == nil {
			stop()
		}
	}()
	for {
		select {
		case <-freed:
			if release, freed = try(); release != nil {
				c.err(" OK")
				return release, nil
			}
		case <-timeout.Done():
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return nil, failStatus(4, "\ncan't lock file '%s' - got timeout", path)
		}
	}
}

func (c *call) errRaw(text string) { _ = c.raw(shim.Err, text) }

// lockVM takes the VM's lock file.
func (c *call) lockVM(ctx context.Context, vmid string, wait time.Duration) (func(), error) {
	return c.flock(ctx, vmLock(vmid), false, wait)
}

func vmLock(vmid string) string { return "/var/lock/qemu-server/lock-" + vmid + ".conf" }

// lockMigration takes the lock file that keeps migrations, rollbacks and the
// removal of snapshots apart.
func (c *call) lockMigration(ctx context.Context, vmid string) (func(), error) {
	return c.flock(ctx, "/var/lock/pve-manager/pve-migrate-"+vmid, false, lockWait)
}
