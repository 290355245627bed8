package pvesim

// RootFD is where processes on a node find its root directory.
const RootFD = rootFD
