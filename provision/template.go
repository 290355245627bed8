package provision

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"

	"pvebot/cluster"
	"pvebot/provision/image"
)

// A template is a VM of the image's disk that is never started. A new VM on the
// same node and storage is a linked clone of it, which takes no time, instead of
// an import of the whole image. `bot images fetch --template` makes them.

// canLink reports whether linked clones on a storage of a node are as good as
// imported disks. On local ZFS and in local folders they are not: PVE migrates
// no clone away from its base.
func canLink(r cluster.Resources, node, storage string) bool {
	return slices.ContainsFunc(r.Storages, func(s cluster.Storage) bool {
		if s.Node != node || s.Name != storage {
			return false
		}
		switch s.Type {
		case "lvmthin", "btrfs":
			return true
		case "rbd", "nfs", "cifs", "dir":
			return s.Shared
		}
		return false
	})
}

// templateStamp is the line in a template's description that says what it is.
func templateStamp(img image.Image, sum, storage string) string {
	return fmt.Sprintf("pvebot: template=%s sum=%s storage=%s", img.Key(), sum, storage)
}

// findTemplate finds the template of an image in the version of a checksum on
// node and storage; 0 when there is none.
func (k *kit) findTemplate(ctx context.Context, node, storage string, img image.Image, sum string) (int, error) {
	templates, err := k.templates(ctx, node)
	for _, t := range templates {
		if t.c.IsTemplate() && t.c.Lock() == "" && t.stamp == templateStamp(img, sum, storage) {
			return t.c.VMID, nil
		}
	}
	return 0, err
}

// template is a VM of the range of templates that has the stamp of one.
type template struct {
	c     cluster.VMConfig
	stamp string
}

// templates are those of a node, by VMID.
func (k *kit) templates(ctx context.Context, node string) ([]template, error) {
	guests, err := k.cluster.Guests(ctx)
	if err != nil {
		return nil, unreachable("the cluster", err)
	}
	var list []template
	for id := k.settings.TemplateStart; id <= k.settings.TemplateEnd; id++ {
		if g, ok := guests[id]; !ok || g.Node != node || g.Type != "qemu" {
			continue
		}
		c, err := k.cluster.VMConfig(ctx, node, id)
		if errors.Is(err, cluster.ErrNoVM) {
			continue // gone meanwhile
		}
		if err != nil {
			return nil, unreachable("node "+node, err)
		}
		first, _, _ := strings.Cut(c.Description, "\n")
		if strings.HasPrefix(first, "pvebot: template=") {
			list = append(list, template{c, first})
		}
	}
	return list, nil
}

// templateFor is the template that the job's VM is cloned from, -1 for none.
func (k *kit) templateFor(ctx context.Context, w *Work) (int, error) {
	img, err := k.imageOf(w)
	if err != nil {
		return 0, err
	}
	f := w.Facts()
	r, err := k.view.resources(ctx)
	if err != nil {
		return 0, err
	}
	if !canLink(r, f.Node, f.Storage) {
		return -1, nil
	}
	id, err := k.findTemplate(ctx, f.Node, f.Storage, img, f.Checksum)
	if id == 0 {
		id = -1
	}
	return id, err
}

// startCreate starts the node task that makes the VM: a clone where there is a
// template, else an import.
func (k *kit) startCreate(ctx context.Context, w *Work, f Facts) (cluster.Task, error) {
	vm := k.newVM(w, f)
	if f.Template <= 0 {
		r, err := k.view.resources(ctx)
		if err != nil {
			return cluster.Task{}, err
		}
		vm.Format = diskFormat(r, f.Node, f.Storage)
		return k.cluster.StartCreate(ctx, f.Node, createKey(f), vm)
	}
	return k.cluster.StartLinkedClone(ctx, f.Node, createKey(f), cluster.NewClone{
		VMID: f.Template, NewID: f.VMID, Name: vm.Name, Description: vm.Description,
	})
}

// configure makes of the clone what was ordered. It has the job's stamp.
func (k *kit) configure(ctx context.Context, w *Work, f Facts) error {
	c, err := k.config(ctx, f.Node, f.VMID)
	if err != nil {
		return err
	}
	if !stamped(c, w.Job()) {
		return Errorf(Conflict, "VM %d on %s is not the clone that this job made", f.VMID, f.Node)
	}
	return failed("configuring the VM", f.Node, k.cluster.Configure(ctx, f.Node, k.newVM(w, f)))
}

// Template makes a template of the current image of an OS on a node, unless
// there is one, after fetching the image. An empty storage means the default
// one. It returns a sentence about the result.
func (s *Stock) Template(ctx context.Context, node, os, version, storage string, tell func(text string)) (string, error) {
	if _, err := s.Fetch(ctx, node, os, version, tell); err != nil {
		return "", err
	}
	if storage == "" {
		storage = s.kit.settings.Storage
	}
	img, err := s.kit.images.Find(os, version)
	if err != nil {
		return "", err
	}
	r, err := s.kit.view.resources(ctx)
	if err != nil {
		return "", err
	}
	if err := usableStorage(r, node, storage, img.DiskMB, 0); err != nil {
		return "", err
	}
	if !canLink(r, node, storage) {
		return "", &Error{
			Kind: Conflict, Say: fmt.Sprintf("storage %s of %s has no linked clones that could be migrated", storage, node),
			Try: "leave --template out: images are imported there",
		}
	}
	rec, err := s.kit.cluster.ImageRecord(ctx, node, s.kit.settings.ImageDir, img.Key())
	if err != nil {
		return "", unreachable("node "+node, err)
	}
	id, err := s.kit.findTemplate(ctx, node, storage, img, rec.Sum)
	if err != nil {
		return "", err
	}
	if id == 0 {
		if id, err = s.makeTemplate(ctx, node, storage, img, rec, tell); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%s: %s has the template %d on %s", node, img.Title, id, storage), nil
}

// makeTemplate imports the image as a VM and makes a template of it. When that
// fails, the VM is removed.
func (s *Stock) makeTemplate(ctx context.Context, node, storage string, img image.Image, rec cluster.ImageRecord, tell func(string)) (id int, err error) {
	k := s.kit
	taken, err := k.cluster.Guests(ctx)
	if err != nil {
		return 0, unreachable("the cluster", err)
	}
	volumes, err := k.cluster.Volumes(ctx, node, storage)
	if err != nil {
		return 0, unreachable("storage "+storage, err)
	}
	for id = k.settings.TemplateStart; id <= k.settings.TemplateEnd; id++ {
		_, used := taken[id]
		if !used && !slices.ContainsFunc(volumes, func(v cluster.Volume) bool { return v.VMID == id }) {
			break
		}
	}
	if id > k.settings.TemplateEnd {
		return 0, Errorf(Full, "no VMID from %d to %d is free for a template", k.settings.TemplateStart, k.settings.TemplateEnd)
	}
	r, err := k.view.resources(ctx)
	if err != nil {
		return 0, err
	}
	own := uuid.NewString()
	task, err := k.cluster.StartCreate(ctx, node, "template-"+own, cluster.NewVM{
		VMID: id, Name: "template-" + strings.ReplaceAll(img.Key(), ".", "-"), Cores: 1, MemoryMB: int(MemoryBound.Min), CPU: "kvm64", Storage: storage,
		Format: diskFormat(r, node, storage), ImportFrom: rec.Source, Bridge: k.settings.Bridge, IPConfig: "ip=dhcp", UUID: own, Tags: []string{"template"},
		Description: templateStamp(img, rec.Sum, storage) + "\nmade by bot images; " + url.QueryEscape(img.Title),
	})
	if err != nil {
		return 0, failed("making the template", node, err)
	}
	for line, err := range k.cluster.Tasks().Follow(ctx, task, 0) {
		if err != nil && ctx.Err() != nil {
			tell(fmt.Sprintf("given up; VM %d is removed when its import has ended", id))
			return 0, errors.Join(err, k.dropTemplate(context.WithoutCancel(ctx), task, id, own))
		}
		if err != nil {
			return 0, failed("making the template", node, err) // PVE has taken it back
		}
		if fraction, ok := cluster.TransferProgress(line.Text); ok {
			tell(fmt.Sprintf("importing %s: %.0f%%", img.Title, fraction*100))
		}
	}
	if err := k.cluster.MakeTemplate(ctx, node, id); err != nil {
		return 0, failed("making the template", node, errors.Join(err, k.destroyTemplate(ctx, node, id, own)))
	}
	return id, k.cluster.Tasks().Forget(ctx, task)
}

// dropTemplate removes a template that is given up while its image is imported,
// once that has ended.
func (k *kit) dropTemplate(ctx context.Context, task cluster.Task, id int, own string) error {
	for _, err := range k.cluster.Tasks().Follow(ctx, task, 0) {
		if err != nil {
			break // PVE has taken it back
		}
	}
	return errors.Join(k.destroyTemplate(ctx, task.Node, id, own), k.cluster.Tasks().Forget(ctx, task))
}

// destroyTemplate removes the VM of a template if it has that uuid; none is fine.
func (k *kit) destroyTemplate(ctx context.Context, node string, id int, own string) error {
	c, err := k.cluster.VMConfig(ctx, node, id)
	if errors.Is(err, cluster.ErrNoVM) || err == nil && !strings.EqualFold(c.UUID(), own) {
		return nil
	}
	if err != nil {
		return err
	}
	return k.cluster.Destroy(ctx, node, id, cluster.DestroyOptions{})
}
