// Package pvesim is a simulated Proxmox VE cluster, real enough to argue with.
//
// Each node is an SSH server on loopback whose sessions run a real /bin/sh,
// with a PATH of real tools and of shims: this very program under the names
// of [shim.Tools] (see [Main]). A shim asks the
// simulator over a Unix socket what to print and how to end, so that quoting,
// streams, exit statuses, broken connections and detached processes are real,
// while VMs, storages, locks, tasks and guests are not.
//
// What the tools print and how they end follows Proxmox VE 9.2, the traps
// included: a task dies with its reader, `qm disk resize` ends with 0 when it
// failed, statistics of a fresh VM are missing, qm knows only the VMs of its
// own node. Faults come on demand ([Sim.FailOnce], [Sim.Lose], [Sim.Reboot]
// and their kin).
//
// A test begins with
//
//	func TestMain(m *testing.M) { pvesim.Main(); os.Exit(simtest.Main{M: m}.Run()) }
//
// and starts a cluster with [Start].
package pvesim
