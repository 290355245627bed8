package provision

import "fmt"

// Bound is what a number that comes from outside may be. Beyond it sums and
// products would not hold what they are of.
type Bound struct{ Min, Max int64 }

// The bounds of what VMs are made of.
var (
	CPUBound    = Bound{1, 512}              // PVE: sockets and cores go to 512 together
	MemoryBound = Bound{512, 4 << 20}        // MiB; PVE takes less, a modern guest does not boot with it
	DiskBound   = Bound{16 << 10, 128 << 20} // MiB; the cloud images unpack to less than 16G
	GrowthBound = Bound{1, 128 << 20}        // MiB
	VMIDBound   = Bound{100, 999_999_999}    // PVE: VMIDs below 100 are its own
)

// Holds reports whether n is within b.
func (b Bound) Holds(n int64) bool { return b.Min <= n && n <= b.Max }

// String says what b is: 1 to 512.
func (b Bound) String() string { return fmt.Sprintf("%d to %d", b.Min, b.Max) }
