// Package sh holds the scripts that initialise a fresh guest, as data. A script
// is common.sh, which says what a script does, which options it takes from the
// environment, and what its output and exit status mean; then the functions of
// the system's family, apt.sh or dnf.sh; and at last the system's own name. A
// new system is one more line in a table.
package sh

import (
	_ "embed"
	"fmt"
	"io/fs"
	"slices"
)

//go:embed common.sh
var common []byte

//go:embed apt.sh
var apt []byte

//go:embed dnf.sh
var dnf []byte

// system is one that has a script, named as its /etc/os-release does.
type system struct {
	os, version string
	family      []byte
}

var systems = []system{
	{"almalinux", "9", dnf},
	{"almalinux", "10", dnf},
	{"debian", "11", apt},
	{"debian", "12", apt},
	{"debian", "13", apt},
	{"rocky", "8", dnf},
	{"rocky", "9", dnf},
	{"rocky", "10", dnf},
	{"ubuntu", "20.04", apt},
	{"ubuntu", "22.04", apt},
	{"ubuntu", "24.04", apt},
	{"ubuntu", "26.04", apt},
}

// The exit statuses of a script that failed. Any other one than 0 means what
// StatusFailed does.
const (
	StatusFailed   = 1 // a step failed
	StatusRefused  = 2 // an option is wrong, or the system is not the script's; nothing was done
	StatusSources  = 3 // the package sources can't be read
	StatusPackages = 4 // packages can't be installed
)

// Script is the init script for a version of an operating system, for bash. An
// error wraps fs.ErrNotExist when there is none.
func Script(os, version string) ([]byte, error) {
	i := slices.IndexFunc(systems, func(s system) bool { return s.os == os && s.version == version })
	if i < 0 {
		return nil, fmt.Errorf("no init script for %s %s: %w", os, version, fs.ErrNotExist)
	}
	own := fmt.Sprintf("os_id=%s\nos_version=%s\n\nmain\n", os, version)
	return slices.Concat(common, []byte("\n"), systems[i].family, []byte("\n"), []byte(own)), nil
}

// Names are the systems that have a script, as OS_VERSION.
func Names() []string {
	names := make([]string, len(systems))
	for i, s := range systems {
		names[i] = s.os + "_" + s.version
	}
	return names
}
