package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"pvebot/provision/image"
)

// pingsAtOnce spares a node a process for each address at the same moment.
const pingsAtOnce = 40

// manyNamed is how many addresses a finding names.
const manyNamed = 5

// addresses pings the whole range once, from one node. A DHCP server can't be
// seen from there; what it handed out can.
func (e *exam) addresses(ctx context.Context) {
	node := e.answering()[0]
	if slices.Contains(e.answering(), e.MainNode) {
		node = e.MainNode
	}
	known, err := e.Cluster.Addresses(ctx)
	if err != nil {
		e.problem("", e.on(node, "ls /etc/pve/nodes"), "the VMs' addresses can't be read: %v", err)
		return
	}
	guests, err := e.Cluster.Guests(ctx)
	if err != nil {
		e.problem("", e.on(node, "cat /etc/pve/.vmlist"), "the list of VMs can't be read: %v", err)
		return
	}
	var all []netip.Addr
	free := 0
	for vmid := e.Pool.Start; vmid <= e.Pool.End; vmid++ {
		slot, err := e.Pool.Slot(vmid)
		if err != nil {
			continue // the gateway
		}
		all = append(all, slot.IP)
		_, taken := guests[vmid]
		if _, used := known[slot.IP]; !taken && !used {
			free++
		}
	}
	var alive []netip.Addr
	for some := range slices.Chunk(append([]netip.Addr{e.Pool.Gateway}, all...), pingsAtOnce) {
		up, err := e.Cluster.Alive(ctx, node, some)
		if err != nil {
			e.problem(node, e.on(node, "ping -c1 "+e.Pool.Gateway.String()), "it can't ping: %v", err)
			return
		}
		alive = append(alive, up...)
	}
	if slices.Contains(alive, e.Pool.Gateway) {
		e.fine("", "the gateway %s answers", e.Pool.Gateway)
	} else {
		e.warn("", "see whether GATEWAY is right: "+e.on(node, "ip route"), "the gateway %s does not answer a ping from %s", e.Pool.Gateway, node)
	}
	var strangers []string
	for _, a := range alive {
		if _, ours := known[a]; !ours && a != e.Pool.Gateway {
			strangers = append(strangers, a.String())
		}
	}
	free -= len(strangers)
	if n := len(strangers); n > 0 {
		if n > manyNamed {
			strangers = append(strangers[:manyNamed], fmt.Sprintf("%d more", n-manyNamed))
		}
		e.warn("", "if a DHCP server hands out addresses of "+e.Pool.String()+", narrow its range, or set ASSIGN_IP_START and ASSIGN_IP_END",
			"addresses of the range are in use that no VM's configuration names: %s", strings.Join(strangers, ", "))
	}
	if free <= 0 {
		e.problem("", "widen ASSIGN_IP_START and ASSIGN_IP_END, or destroy what nobody needs", "no address of %s is free", e.Pool)
		return
	}
	e.fine("", "%d of %d addresses of %s are free", free, len(all), e.Pool)
}

// parallelFetches is how many checksum files a node fetches at once.
const parallelFetches = 4

// images asks for the checksums of every image, as an install would.
func (e *exam) images(ctx context.Context) {
	node := e.answering()[0]
	all := e.Images.All()
	errs := make([]error, len(all))
	var g errgroup.Group
	g.SetLimit(parallelFetches)
	var mu sync.Mutex
	files := map[string][]byte{} // some images share one
	for i, img := range all {
		g.Go(func() error {
			errs[i] = e.oneImage(ctx, node, img, &mu, files)
			return nil
		})
	}
	_ = g.Wait() // errors are in errs
	bad := 0
	for _, err := range errs {
		if err != nil {
			bad++
		}
	}
	if bad == len(all) && bad > 0 {
		e.problem("", e.on(node, "wget -qO- "+all[0].Sums)+", or set IMAGE_MIRRORS", "%s can't fetch any image's checksums: %v", node, errs[0])
		return
	}
	for i, img := range all {
		if errs[i] != nil {
			e.warn(img.Title, e.on(node, "wget -qO- "+img.Sums)+", or set IMAGE_MIRRORS", "it can't be downloaded: %v", errs[i])
		}
	}
	e.fine("", "%d of %d images can be fetched", len(all)-bad, len(all))
}

func (e *exam) oneImage(ctx context.Context, node string, img image.Image, mu *sync.Mutex, files map[string][]byte) error {
	if img.Sum != "" {
		return nil // its file is looked at when it is downloaded
	}
	mu.Lock()
	sums, have := files[img.Sums]
	mu.Unlock()
	if !have {
		var err error
		if sums, err = e.Cluster.ReadURL(ctx, node, img.Sums); err != nil {
			return err
		}
		mu.Lock()
		files[img.Sums] = sums
		mu.Unlock()
	}
	_, err := image.Checksum(sums, path.Base(img.URL), img.Algorithm)
	return err
}
