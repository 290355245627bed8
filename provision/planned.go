package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pvebot/cluster"
	"pvebot/provision/image"
)

// Several makes a plan of an install one for several VMs, which must fit all
// together. It is for Prepare and Preview: an order is for one VM.
type Several struct {
	Count int      `json:"count"`
	Names []string `json:"names,omitempty"` // of the VMs, as Prepare chose them
}

// Many is how many VMs s is a plan for.
func (s Install) Many() int {
	if s.Several == nil {
		return 1
	}
	return max(1, s.Several.Count)
}

// mostTogether is more VMs than anybody orders at once.
const mostTogether = 1000

// planned is an install as it would be done now.
type planned struct {
	spec   Install
	img    image.Image
	places []place // one for each VM
	around *site
}

func (k *kit) prepareInstall(ctx context.Context, s Install) (Spec, error) {
	p, err := k.planInstall(ctx, s)
	if err != nil {
		return nil, err
	}
	return p.spec, nil
}

// complete fills in the defaults of an install, and holds it to the settings.
func (k *kit) complete(s Install) (Install, Network, image.Image, error) {
	var net Network
	img, err := k.images.Find(s.OS, s.Version)
	if err != nil {
		return s, net, img, &Error{Kind: NotFound, Say: err.Error(), Try: "vm images", Err: err}
	}
	s.OS, s.Version = img.OS, img.Version
	s.Cores = cmp.Or(s.Cores, defaultCores)
	s.MemoryMB = cmp.Or(s.MemoryMB, defaultMemoryMB)
	s.DiskMB = cmp.Or(s.DiskMB, DiskBound.Min)
	s.User = cmp.Or(s.User, img.User)
	s.Storage = cmp.Or(s.Storage, k.settings.Storage)
	if err := s.Validate(); err != nil {
		return s, net, img, err
	}
	if n := s.Many(); n > mostTogether || n > 1 && s.VMID != 0 {
		return s, net, img, Errorf(Invalid, "%d VMs can't be ordered together like this", n)
	}
	if err := k.settings.allow(s); err != nil {
		return s, net, img, err
	}
	if net, err = k.settings.network(s.Network); err != nil {
		return s, net, img, err
	}
	return s, net, img, net.suits(img)
}

// planInstall finds a place, a name and an address for each VM of an install, or
// says why there is none. What jobs that wait for their turn will take counts.
func (k *kit) planInstall(ctx context.Context, s Install) (planned, error) {
	s, net, img, err := k.complete(s)
	if err != nil {
		return planned{}, err
	}
	p := planned{spec: s, img: img}
	if p.around, err = k.lookAround(ctx, 0, net.Bridge); err != nil {
		return planned{}, err
	}
	k.placeQueued(p.around)
	if p.places, err = p.around.chooseAll(s, img); err != nil {
		return planned{}, err
	}
	if err := k.idIsFree(ctx, s, net); err != nil {
		return planned{}, err
	}
	if p.spec, err = p.around.nameAll(s); err != nil {
		return planned{}, err
	}
	return p, k.addressesLeft(ctx, p.around.flight, s, net)
}

// idIsFree says what has the VMID that was asked for.
func (k *kit) idIsFree(ctx context.Context, s Install, net Network) error {
	if s.VMID == 0 {
		return nil
	}
	if _, err := net.Pool.Slot(s.VMID); err != nil {
		return &Error{Kind: Invalid, Say: err.Error(), Try: "leave --id out, then I choose one", Err: err}
	}
	g, err := k.cluster.Locate(ctx, s.VMID)
	switch {
	case errors.Is(err, cluster.ErrNoVM):
		return nil
	case err != nil:
		return unreachable("the cluster", err)
	}
	return &Error{
		Kind: Conflict, Say: fmt.Sprintf("VMID %d is taken: %s %d lives on %s", s.VMID, guestWord(g), g.VMID, g.Node),
		Try: "leave --id out, then I choose a free one",
	}
}

// placeQueued gives the installs that wait for their turn the places that they
// would have now, the oldest first. One that has none takes nothing.
func (k *kit) placeQueued(s *site) {
	slices.SortFunc(s.flight, func(a, b Job) int { return cmp.Compare(a.ID, b.ID) })
	for i, j := range s.flight {
		spec, ok := j.Order.Spec.(Install)
		if !ok || j.Facts.Node != "" {
			continue
		}
		img, err := k.images.Find(spec.OS, spec.Version)
		if err != nil {
			continue
		}
		if at, err := s.choose(spec, img); err == nil {
			s.flight[i].Facts.Node, s.flight[i].Facts.Storage = at.node, spec.Storage
		}
	}
}

// chooseAll finds a place for each VM of an install: each counts what those
// before it take.
func (s *site) chooseAll(spec Install, img image.Image) ([]place, error) {
	var all []place
	flight := s.flight
	defer func() { s.flight = flight }()
	for i := range spec.Many() {
		at, err := s.choose(spec, img)
		if err != nil && i > 0 {
			say, try := Explain(err)
			return nil, &Error{Kind: KindOf(err), Say: fmt.Sprintf("there is room for %d of the %s: %s", i, count(spec.Many(), "VM"), say), Try: try}
		}
		if err != nil {
			return nil, err
		}
		all = append(all, at)
		s.flight = append(slices.Clip(s.flight), Job{Order: Order{Spec: spec}, Facts: Facts{Node: at.node, Storage: spec.Storage}})
	}
	return all, nil
}

// nameAll makes sure that no two VMs have one name: people call VMs by it. The
// VMs of a count are numbered, past the names that are taken.
func (s *site) nameAll(spec Install) (Install, error) {
	if spec.Name == "" || spec.NumberName {
		return spec, nil
	}
	taken := s.names()
	if spec.Many() == 1 {
		return spec, nameTaken(taken, spec.Name)
	}
	several := Several{Count: spec.Several.Count}
	for n := 1; len(several.Names) < several.Count; n++ {
		name := fmt.Sprintf("%s-%d", spec.Name, n)
		if !isDNSName(name) {
			return spec, Errorf(Invalid, "%q is too long a name for several VMs: with -%d its last part has more than 63 characters", spec.Name, n)
		}
		if taken[strings.ToLower(name)] == "" {
			several.Names = append(several.Names, name)
		}
	}
	spec.Several = &several
	return spec, nil
}

// names are the names of all guests and of those that jobs make, in lower case,
// with what has each.
func (s *site) names() map[string]string {
	taken := map[string]string{}
	for _, j := range s.flight {
		name := j.Facts.Name
		switch spec := j.Order.Spec.(type) {
		case Install:
			if !spec.NumberName {
				name = cmp.Or(name, spec.Name)
			}
		case Clone:
			name = cmp.Or(name, spec.Name)
		}
		taken[strings.ToLower(name)] = fmt.Sprintf("what job %d makes", j.ID)
	}
	for _, v := range s.vms {
		taken[strings.ToLower(v.Name)] = fmt.Sprintf("%s %d on %s", guestWord(cluster.Guest{Type: v.Type}), v.VMID, v.Node)
	}
	delete(taken, "")
	return taken
}

func nameTaken(taken map[string]string, name string) error {
	by := taken[strings.ToLower(name)]
	if by == "" {
		return nil
	}
	return &Error{Kind: Conflict, Say: fmt.Sprintf("%s is the name of %s already", name, by), Try: fmt.Sprintf("another --name, such as %s-2", name)}
}

// addressesLeft says why a network has no address for each VM of an install, as
// far as that is known before any is probed.
func (k *kit) addressesLeft(ctx context.Context, flight []Job, s Install, net Network) error {
	taken, err := k.taken(ctx, "", "")
	if err != nil {
		return err
	}
	if s.VMID != 0 {
		slot, err := net.Pool.Slot(s.VMID)
		if err == nil {
			err = net.Pool.Free(slot, taken)
		}
		return noSlot(err)
	}
	left, full := net.Pool.Left(taken)
	for _, j := range flight {
		if i, ok := j.Order.Spec.(Install); ok && i.Network == s.Network && j.Facts.VMID == 0 {
			left, full.Held = left-1, full.Held+1
		}
	}
	switch {
	case left <= 0:
		return noSlot(full)
	case left < s.Many():
		say, _ := Explain(noSlot(full))
		_, why, _ := strings.Cut(say, ": ")
		return &Error{Kind: Full, Say: fmt.Sprintf("%v has %d free addresses, too few for %d VMs: %s", net.Pool, left, s.Many(), why), Try: "a smaller --count, or another --network"}
	}
	return nil
}
