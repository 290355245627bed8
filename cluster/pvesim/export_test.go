package pvesim

// RootFD is where processes on a node find its root directory.
const RootFD = rootFD

// Words are the words of a command line that only quotes.
var Words = words
