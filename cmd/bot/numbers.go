package main

import (
	"fmt"
	"math"
	"time"

	"pvebot/provision"
)

// maxDays is a hundred years.
const maxDays = 36500

// checkNumbers holds the settings that are numbers to what they can mean. None
// of them may be so large that what is reckoned with it has no number.
func (c *config) checkNumbers() []string {
	unlimited := func(b provision.Bound) provision.Bound { b.Min = 0; return b }
	var wrong []string
	for _, s := range []struct {
		name string
		is   int64
		may  provision.Bound
		unit string
	}{
		{"VM_MAX_CPU", int64(c.MaxCPU), unlimited(provision.CPUBound), " CPUs, 0 for no limit"},
		{"VM_MAX_RAM", int64(c.MaxRAM), unlimited(provision.MemoryBound), " MB, 0 for no limit"},
		{"VM_MAX_DISK", c.MaxDisk, provision.Bound{Max: provision.DiskBound.Max >> 10}, " GB, 0 for no limit"},
		{"VM_BALLOON_MIN", int64(c.BalloonMin), unlimited(provision.MemoryBound), " MB, 0 for none"},
		{"VM_SWAP_MB", int64(c.SwapMB), unlimited(provision.DiskBound), " MiB, 0 for none"},
		{"PORT", int64(c.Port), provision.Bound{Max: math.MaxUint16}, ", 0 for any that is free"},
		{"WORKERS", int64(c.Workers), provision.Bound{Max: 10_000}, " jobs at once"},
		{"IMAGE_REFRESH", int64(c.ImageRefresh / time.Hour), provision.Bound{Max: 10 * 365 * 24}, " hours"},
		{"GUEST_STALL", int64(c.Stall / time.Hour), provision.Bound{Max: 365 * 24}, " hours"},
	} {
		if !s.may.Holds(s.is) {
			wrong = append(wrong, fmt.Sprintf("%s is %d: it can be %s%s", s.name, s.is, s.may, s.unit))
		}
	}
	if c.ImageRefresh < 0 || c.Stall < 0 {
		wrong = append(wrong, "IMAGE_REFRESH and GUEST_STALL can't be below nothing")
	}
	if id := int64(c.BotVMID); id != 0 && !provision.VMIDBound.Holds(id) {
		wrong = append(wrong, fmt.Sprintf("BOT_VMID is %d: a VMID is %s", id, provision.VMIDBound))
	}
	return wrong
}
