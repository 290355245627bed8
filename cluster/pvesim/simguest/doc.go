// Package simguest is a simulated guest: a machine with a power switch, a disk
// that survives reboots, cloud-init, and an SSH server behind which a real
// shell language runs the real scripts.
//
// The shell is an interpreter in this process. Its files are a tree in memory
// and its programs are functions of this package; there is no way from a
// guest to the files or programs of the host. Time passes on the Clock that
// the guest is given.
//
//	g := simguest.New(simguest.Config{User: "ubuntu", AuthorizedKeys: keys})
//	defer g.Close()
//	g.Boot()
//	go g.Serve(conn)
//
// The interpreter differs from bash in what no init script should need: it
// keeps a backslash that stands outside of quotes in an assignment, and file
// descriptors beyond 2 are not there.
//
// What is simulated is what initialising a guest takes. A program that the
// guest does not have is not found, as on a machine where it is not installed.
package simguest
