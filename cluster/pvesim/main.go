package pvesim

import (
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
)

// What a command on a simulated node finds in its environment. The first two
// lead a shim back to its simulator and mark a process as ours, so that a reboot
// and Close can find it; the third tells those of before a reboot.
const (
	envSocket = "PVESIM_SOCKET"
	envNode   = "PVESIM_NODE"
	envBoot   = "PVESIM_BOOT"
)

// envProgram may name another program that calls Main, to stand in for the
// tools of all nodes: each call starts it, and one without the race detector
// starts faster.
const envProgram = "PVESIM_PROGRAM"

// statusNoSim is how a shim ends that was called outside a simulated node.
const statusNoSim = 70 // EX_SOFTWARE

// shims are the tools that a simulated node gets from this program itself.
var shims = []string{"qm", "pvesh", "pvesm", "ping", "wget", "ip", "hostname"}

var mainCalled atomic.Bool

// Main makes this program able to stand in for the tools of a node. It is the
// first statement of main and of TestMain wherever a Sim is used: under the
// name of a shim (qm, pvesh, pvesm, ping, wget, ip, hostname) it acts as that tool and
// exits; else it returns at once.
func Main() {
	mainCalled.Store(true)
	tool := filepath.Base(os.Args[0])
	if !slices.Contains(shims, tool) {
		return
	}
	os.Exit(shim(tool, os.Args[1:]))
}
