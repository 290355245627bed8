// Package simtest makes tests that use a pvesim.Sim fast.
package simtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Program is the variable in the environment that names the program that is
// the tools of simulated nodes, to a Sim and to all whom its process starts.
const Program = "PVESIM_PROGRAM"

// Main runs a package's tests with pvetool as the tools of simulated nodes,
// instead of the test's own program, which takes at least five times as long to
// start:
//
//	func TestMain(m *testing.M) {
//		pvesim.Main()
//		os.Exit(simtest.Main{M: m}.Run())
//	}
//
// Program may name another. Where there is no go command the test's own
// program has to do.
type Main struct{ *testing.M }

// Run runs the tests. It returns the exit status.
func (m Main) Run() int {
	if os.Getenv(Program) != "" {
		return m.M.Run()
	}
	dir, err := os.MkdirTemp("", "pvetool-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "simtest:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "pvetool")
	build := exec.Command("go", "build", "-o", program, "pvebot/cluster/pvesim/shim/pvetool")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "simtest: going on without pvetool: %v\n%s", err, said)
		return m.M.Run()
	}
	if err := os.Setenv(Program, program); err != nil {
		fmt.Fprintln(os.Stderr, "simtest:", err)
		return 1
	}
	return m.M.Run()
}
