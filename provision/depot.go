package provision

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"pvebot/cluster"
)

// depot is where a node will keep an image.
type depot struct {
	place  string // a storage with the content `import`, or the bot's own folder
	reason string // for the card; "" when there was no choice
}

// unknownImage is what an image is taken for whose server does not tell its
// size, in bytes.
const unknownImage = 1 << 30

// depot chooses a storage that PVE itself downloads to and that has room, one
// that all nodes share if there is one. Without any, or before PVE 8.4, the node
// downloads to the bot's own folder, from where every storage can import as
// well.
func (k *kit) depot(ctx context.Context, node, file string, bytes int64) (depot, error) {
	folder := depot{place: k.settings.ImageDir}
	want := k.settings.ImageStorage
	if want == "none" {
		return folder, nil
	}
	can, err := k.cluster.CanImportDownload(ctx, node)
	if err != nil {
		return depot{}, unreachable("the cluster", err)
	}
	stores, err := k.importStores(ctx, node)
	if err != nil {
		return depot{}, err
	}
	if want != "" {
		stores = slices.DeleteFunc(stores, func(s cluster.Storage) bool { return s.Name != want })
	}
	if want != "" && len(stores) == 0 {
		return depot{}, &Error{
			Kind: Unavailable, Say: fmt.Sprintf("storage %s takes no images to import on %s", want, node),
			Try: fmt.Sprintf("pvesm set %s --content import,... (it replaces the list)", want),
		}
	}
	if !can || len(stores) == 0 {
		return folder, nil
	}
	bytes = cmp.Or(bytes, unknownImage)
	name, full, err := k.storeWithRoom(ctx, node, file, bytes, stores)
	switch {
	case err != nil:
		return depot{}, err
	case name != "":
		return depot{name, " for storage " + name + because(full)}, nil
	case want != "":
		return depot{}, tooFull("storage "+want, node, stores[0].Avail, bytes)
	}
	look, err := k.cluster.Look(ctx, node, folder.place, "wget")
	if err != nil {
		return depot{}, unreachable("node "+node, err)
	}
	if look.Space < bytes {
		return depot{}, tooFull("folder "+folder.place, node, look.Space, bytes, full...)
	}
	folder.reason = " for " + folder.place + because(full)
	return folder, nil
}

// storeWithRoom is the first storage with room for a file, "" for none, and why
// not those before it. A file that is there, by another node, takes no room.
func (k *kit) storeWithRoom(ctx context.Context, node, file string, bytes int64, stores []cluster.Storage) (name string, full []string, err error) {
	for _, s := range stores {
		fits := s.Total == 0 || s.Avail >= bytes
		if !fits {
			if _, _, fits, err = k.cluster.ImportVolume(ctx, node, s.Name, file); err != nil {
				return "", nil, unreachable("storage "+s.Name, err)
			}
		}
		if fits {
			return s.Name, full, nil
		}
		full = append(full, fmt.Sprintf("%s has %s free", s.Name, size(s.Avail>>20)))
	}
	return "", full, nil
}

// importStores are the storages of a node that take images to import, those
// first that all nodes share.
func (k *kit) importStores(ctx context.Context, node string) ([]cluster.Storage, error) {
	r, err := k.view.resources(ctx)
	if err != nil {
		return nil, err
	}
	var own, shared []cluster.Storage
	for _, s := range r.Storages {
		switch {
		case s.Node != node || !s.Active || !slices.Contains(s.Content, "import") || s.Type == "esxi": // PVE: that one takes no files
		case s.Shared:
			shared = append(shared, s)
		default:
			own = append(own, s)
		}
	}
	return append(shared, own...), nil
}

func because(full []string) string {
	if len(full) == 0 {
		return ""
	}
	return ": " + strings.Join(full, ", ")
}

// tooFull says that there is no room for an image in a place, nor in others.
func tooFull(place, node string, free, bytes int64, others ...string) error {
	return &Error{
		Kind: Full, Say: fmt.Sprintf("%s on %s has %s free, too little for an image of %s%s", place, node, size(free>>20), size(max(1, bytes>>20)), because(others)),
		Try: "bot images prune, or make room",
	}
}
