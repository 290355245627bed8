package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// RootsWay makes sure, as root, that no link on the way to a folder was made by
// somebody else: who owns a folder that root writes to could have it write
// anywhere. What is not there yet is fine.
func RootsWay(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	way := ""
	for part := range strings.SplitSeq(dir, "/") {
		way += part
		info, err := os.Lstat(cmp.Or(way, "/"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		of, ok := info.Sys().(*syscall.Stat_t)
		if ok && info.Mode()&fs.ModeSymlink != 0 && of.Uid != 0 {
			return fmt.Errorf("root does not follow %s, a link that the user with id %d made", way, of.Uid)
		}
		way += "/"
	}
	return nil
}
