package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"pvebot/cluster"
	"pvebot/cluster/textfile"
	"pvebot/provision/image"
)

// catalogue is the built-in list of images with the operator's own file, behind
// the mirrors of the site.
func (c *config) catalogue() (*image.Catalogue, error) {
	all := image.Default()
	if c.ImagesFile != "" {
		file, err := textfile.ReadUTF8(c.ImagesFile)
		if err != nil {
			return nil, fmt.Errorf("IMAGES_FILE: %w", err)
		}
		if all, err = all.Extend(file); err != nil {
			return nil, fmt.Errorf("IMAGES_FILE: %w", textfile.In(c.ImagesFile, err))
		}
	}
	for pair := range strings.SplitSeq(c.Mirrors, ",") {
		from, to, ok := strings.Cut(strings.TrimSpace(pair), "=")
		switch {
		case from == "" && !ok:
		case !isURL(from) || !isURL(to):
			return nil, fmt.Errorf("IMAGE_MIRRORS has %q: it is FROM=TO with the beginnings of two URLs, e.g. https://cloud.debian.org/=http://mirror.lan/debian/", pair)
		default:
			all = all.Mirror(from, to)
		}
	}
	return all, nil
}

func isURL(s string) bool { return strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://") }

// groups are the migration groups: names of nodes, with commas between nodes
// and semicolons between groups.
func (c *config) groups() ([][]string, error) {
	var groups [][]string
	for list := range strings.SplitSeq(c.Groups, ";") {
		var group []string
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.TrimSpace(name); name != "" {
				group = append(group, name)
			}
		}
		if len(group) > 0 {
			groups = append(groups, group)
		}
	}
	if err := cluster.CheckGroups(groups, slices.Sorted(maps.Keys(c.Nodes))); err != nil {
		return nil, fmt.Errorf("MIGRATION_GROUPS: %w", err)
	}
	return groups, nil
}
