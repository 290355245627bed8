// Package image knows the operating systems that can be installed: which
// cloud image each is, how it is verified, and what it asks of a CPU.
//
// The images are data: catalogue.yaml, and the operator's own file in the same
// form. This package reads them and answers questions about them; it fetches
// nothing.
package image

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"pvebot/sh"
)

// Image is a cloud image of an operating system.
type Image struct {
	OS, Version string    // ubuntu, 24.04
	Also        []string  // other words for the OS: rockylinux
	Names       []string  // other words for the version: noble
	Title       string    // Ubuntu 24.04 LTS
	User        string    // the image's own login
	Default     bool      // what OS alone means
	URL         string    // of the image
	Sums        string    // URL of the checksum file; "" when Sum is set
	Sum         string    // the checksum itself, in lower-case hex; "" when Sums is set
	Algorithm   string    // sha256 or sha512
	DiskMB      int64     // its virtual size in MiB: the least a disk can have
	CPU         string    // the least of PVE's CPU types that it runs on; kvm64 means any
	End         time.Time // last day of its free security updates; zero: not known
	Agent       bool      // it has the QEMU guest agent from the start
	Script      string    // name of its init script in package sh; "" for none
}

// File is the image's name on a node, in its version of the given checksum: what
// is downloaded again after a release gets a file of its own. PVE: an image to
// import is called .qcow2 or .raw, what Ubuntu calls .img is a qcow2.
func (i Image) File(sum string) string {
	ext := path.Ext(i.URL)
	if ext != ".raw" {
		ext = ".qcow2"
	}
	return fmt.Sprintf("%s-%s%s", i.Key(), sum[:min(len(sum), 12)], ext)
}

// Key tells images apart: ubuntu-24.04.
func (i Image) Key() string { return i.OS + "-" + i.Version }

// InitScript is the image's init script. Without one (false) a guest is only
// what cloud-init makes of it.
func (i Image) InitScript() (script []byte, ok bool) {
	os, version, _ := strings.Cut(i.Script, "_")
	script, err := sh.Script(os, version)
	return script, err == nil
}

// Ended reports whether the image's free security updates have ended by now.
func (i Image) Ended(now time.Time) bool { return !i.End.IsZero() && now.After(i.End.AddDate(0, 0, 1)) }

// Catalogue is a list of images. It is read only and may be used by many
// goroutines at once.
type Catalogue struct{ images []Image }

// All lists the images, by OS and version.
func (c *Catalogue) All() []Image {
	return slices.SortedFunc(slices.Values(c.images), func(a, b Image) int {
		return cmp.Or(cmp.Compare(a.OS, b.OS), compareVersions(a.Version, b.Version))
	})
}

// compareVersions puts 9 before 10, and 9.4 before 9.10.
func compareVersions(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		if c := cmp.Or(cmp.Compare(len(as[i]), len(bs[i])), strings.Compare(as[i], bs[i])); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(as), len(bs))
}

// UnknownError says that the catalogue has no such image, and what it has.
type UnknownError struct {
	OS, Version string
	Have        []string // versions of the OS, or the OSes when the OS itself is unknown
}

func (e *UnknownError) Error() string {
	if e.Version == "" {
		return fmt.Sprintf("there is no image of %s; I have %s", e.OS, strings.Join(e.Have, ", "))
	}
	return fmt.Sprintf("there is no image of %s %s; I have %s", e.OS, e.Version, strings.Join(e.Have, ", "))
}

// Find returns the image of an OS; an empty version means its default one.
// The error is an *UnknownError.
func (c *Catalogue) Find(os, version string) (Image, error) {
	all := c.All()
	own := func(i Image) bool { return i.OS == os }
	if !slices.ContainsFunc(all, own) { // an OS's own name goes before another's alias
		own = func(i Image) bool { return slices.Contains(i.Also, os) }
	}
	var oses, versions []string
	for _, i := range all {
		if !slices.Contains(oses, i.OS) {
			oses = append(oses, i.OS)
		}
		if !own(i) {
			continue
		}
		if i.Version == version || slices.Contains(i.Names, version) || version == "" && i.Default {
			return i, nil
		}
		versions = append(versions, i.Version)
	}
	if len(versions) == 0 {
		return Image{}, &UnknownError{OS: os, Have: oses}
	}
	return Image{}, &UnknownError{OS: os, Version: version, Have: versions}
}
