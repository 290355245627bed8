package pvesim

import (
	"sync/atomic"

	"pvebot/cluster/pvesim/shim"
)

// envProgram may name another program that calls shim.Main, to stand in for the
// tools of all nodes. Each call starts it, and a small one starts fast: see
// simtest.Main.
const envProgram = "PVESIM_PROGRAM"

var mainCalled atomic.Bool

// Main makes this program able to stand in for the tools of a node. It is the
// first statement of main and of TestMain wherever a Sim is used: under the
// name of one of shim.Tools it acts as that tool and exits; else it returns at
// once.
func Main() {
	mainCalled.Store(true)
	shim.Main()
}
