package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pvebot/provision/doctor"
)

// secretFile is a file with something in it that is not for everybody.
type secretFile struct {
	name string
	mode os.FileMode // at most
}

// secretFiles are those that the settings name.
func (c *config) secretFiles() []secretFile {
	files := []secretFile{{c.dotenv, 0o660}, {c.Web.TLSKey, 0o640}}
	for _, s := range c.offered() {
		if s.here != nil {
			files = append(files, secretFile{s.here.keyFile(), 0o600})
		}
	}
	if dir, ok := strings.CutPrefix(c.StoreURL, "sqlite:"); ok {
		names, _ := filepath.Glob(filepath.Join(dir, "*")) // the pattern is sound
		for _, name := range names {
			files = append(files, secretFile{name, 0o660})
		}
	}
	return slices.Compact(files)
}

// probeFiles looks whether files with secrets in them are open to more people
// than have to do with them.
func (c *config) probeFiles(context.Context) (string, error) {
	var loose, fix []string
	for _, f := range c.secretFiles() {
		info, err := os.Stat(f.name)
		if err != nil || !info.Mode().IsRegular() {
			continue // who reads it says so
		}
		if info.Mode().Perm()&^f.mode&0o077 != 0 {
			loose = append(loose, f.name)
			fix = append(fix, fmt.Sprintf("chmod %o %s", info.Mode().Perm()&f.mode, f.name))
		}
	}
	if len(loose) > 0 {
		return "", &doctor.Trouble{Status: doctor.Warning, Say: "there are secrets in it, and others may read or change it: " + strings.Join(loose, ", "), Fix: strings.Join(fix, " && ")}
	}
	return "those with secrets in them are closed to others", nil
}
