// Command pvetool is the tools of simulated nodes and nothing else. The bot can
// be them too (pvesim.Main); this one starts in a fifth of its time, so tests
// take it.
package main

import (
	"fmt"
	"os"

	"pvebot/cluster/pvesim/shim"
)

func main() {
	shim.Main()
	fmt.Fprintf(os.Stderr, "call me by the name of a tool: %v\n", shim.Tools)
	os.Exit(2)
}
