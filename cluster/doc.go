// Package cluster talks to a Proxmox VE cluster: it runs short commands on
// nodes ([Runner]), long ones as tasks that survive the bot ([Tasks]), and
// offers the few qm, pvesh and pvesm calls that plans need as typed methods
// of [Cluster]. It knows nothing of chat or jobs.
//
// Three outcomes of a remote command are kept apart everywhere: it ran and
// refused ([*ExitError]), nothing happened ([ErrNotStarted]), and it may have
// happened ([ErrLost]); after the last one a caller looks before it acts.
//
// To test against it, start a simulated cluster with package
// pvebot/cluster/pvesim; a new Runner proves itself with
// pvebot/cluster/runnertest, new Tasks with pvebot/cluster/taskstest.
//
// Everything that is run on a node is listed in commands.go and its
// neighbours; the scripts among it are in scripts/, and what they need of a
// node is a POSIX sh and coreutils, util-linux's setsid and flock, grep and wget.
package cluster
