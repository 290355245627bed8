package provision

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"pvebot/cluster"
	"pvebot/provision/image"
)

// Stock is what the nodes have of images, and how that is looked after without
// any job: for the command line.
type Stock struct{ kit *kit }

// NewStock returns the stock of a cluster. Of c, Store and Guests may be nil.
func NewStock(c Config) *Stock {
	if c.Clock == nil {
		c.Clock = cluster.SystemClock{}
	}
	return &Stock{newKit(c)}
}

// Stocked is one image that a node has.
type Stocked struct {
	Node    string
	Title   string
	OS      string
	Version string
	Where   string        // volume id, or path on the node
	Sum     string        // its checksum
	Age     time.Duration // since its server was last looked at
}

// List is what the nodes have, by node and image. Nodes that do not answer are
// told in the error, beside what the others have.
func (s *Stock) List(ctx context.Context) ([]Stocked, error) {
	var list []Stocked
	var errs []error
	for _, node := range s.kit.cluster.Nodes().Names() {
		for _, img := range s.kit.images.All() {
			rec, err := s.kit.cluster.ImageRecord(ctx, node, s.kit.settings.ImageDir, img.Key())
			if err != nil {
				errs = append(errs, unreachable("node "+node, err))
				break
			}
			if rec.There {
				list = append(list, Stocked{
					Node: node, Title: img.Title, OS: img.OS, Version: img.Version, Where: rec.Source, Sum: rec.Sum, Age: rec.Age,
				})
			}
		}
	}
	return list, errors.Join(errs...)
}

// Fetch brings the current image of an OS onto a node; an empty version means
// the OS's default one. Tell hears how it goes. It returns a sentence about the
// result.
func (s *Stock) Fetch(ctx context.Context, node, os, version string, tell func(text string)) (string, error) {
	img, err := s.kit.images.Find(os, version)
	if err != nil {
		return "", &Error{Kind: NotFound, Say: err.Error(), Try: "bot images", Err: err}
	}
	w := &lone{facts: Facts{Cluster: s.kit.cluster.Name(), Node: node, UUID: uuid.NewString()}, tell: tell}
	if err := s.kit.checkImage(ctx, w, img); err != nil {
		return "", err
	}
	err = s.kit.downloadImage(ctx, w, img)
	if err != nil && ctx.Err() != nil { // nobody waits for it any more
		err = errors.Join(err, s.kit.stopDownload(context.WithoutCancel(ctx), w, img))
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s: %s is %s", node, img.Title, w.Facts().Image), nil
}

// lone is imageWork without a job: it keeps its facts to itself.
type lone struct {
	facts Facts
	tell  func(string)
}

func (l *lone) Facts() Facts                                     { return l.facts }
func (l *lone) Learn(_ context.Context, f Facts) error           { l.facts.merge(f); return nil }
func (l *lone) Result(format string, a ...any)                   { l.tell(fmt.Sprintf(format, a...)) }
func (l *lone) Log(context.Context, ...string)                   {}
func (l *lone) Queue(context.Context, string, int, string) error { return nil }
func (l *lone) Progress(_ context.Context, fraction float64, text string) {
	if fraction >= 0 {
		text = fmt.Sprintf("%s: %.0f%%", text, fraction*100)
	}
	l.tell(text)
}

// Remains is an image that no node needs: an older release, or what a broken
// download left.
type Remains struct {
	Node  string
	Where string // volume id, path on the node, or "template" with its VMID
	Size  int64  // bytes
	VMID  int    // of a template; 0 for a file
}

// restAge is how long a file must have rested to be taken for remains: a younger
// one may be a download under way.
const restAge = time.Hour

// Remains are the images that could go.
func (s *Stock) Remains(ctx context.Context) ([]Remains, error) {
	have, err := s.List(ctx)
	if err != nil {
		return nil, err // what a silent node needs is not known
	}
	needed := map[string]bool{}
	for _, h := range have {
		needed[h.Node+" "+h.Where] = true
		needed[h.Where] = true
	}
	r, err := s.kit.view.resources(ctx)
	if err != nil {
		return nil, err
	}
	var rest []Remains
	for _, node := range s.kit.cluster.Nodes().Names() {
		files, err := s.kit.cluster.ImageFiles(ctx, node, s.kit.settings.ImageDir)
		if err != nil {
			return nil, unreachable("node "+node, err)
		}
		for _, f := range files {
			where := path.Join(s.kit.settings.ImageDir, f.Name)
			if s.ours(f.Name) && f.Age > restAge && !needed[node+" "+where] {
				rest = append(rest, Remains{Node: node, Where: where, Size: f.Size})
			}
		}
		templates, err := s.kit.templates(ctx, node)
		if err != nil {
			return nil, err
		}
		for _, t := range templates {
			current := slices.ContainsFunc(have, func(h Stocked) bool { return h.Node == node && strings.Contains(t.stamp, " sum="+h.Sum+" ") })
			if t.c.IsTemplate() && !current {
				rest = append(rest, Remains{Node: node, Where: fmt.Sprintf("template %d", t.c.VMID), Size: t.c.DiskSize(newDisk), VMID: t.c.VMID})
			}
		}
		for _, st := range r.Storages {
			if st.Node != node || !st.Active || !slices.Contains(st.Content, "import") {
				continue
			}
			volumes, err := s.kit.cluster.Volumes(ctx, node, st.Name)
			if err != nil {
				return nil, unreachable("storage "+st.Name, err)
			}
			for _, v := range volumes {
				seen := slices.ContainsFunc(rest, func(r Remains) bool { return r.Where == v.ID && st.Shared })
				if v.Content == "import" && s.ours(path.Base(v.ID)) && !seen && !needed[node+" "+v.ID] && !(st.Shared && needed[v.ID]) {
					rest = append(rest, Remains{Node: node, Where: v.ID, Size: v.Size})
				}
			}
		}
	}
	return rest, nil
}

var imageFile = regexp.MustCompile(`^([a-z0-9.]+-[a-z0-9.]+?)(?:-[0-9a-f]{12})?\.(?:qcow2|raw|img)(?:\.part|\.lock)?$`)

// ours reports whether a file is called like an image of the catalogue.
func (s *Stock) ours(name string) bool {
	m := imageFile.FindStringSubmatch(name)
	return m != nil && slices.ContainsFunc(s.kit.images.All(), func(i image.Image) bool { return i.Key() == m[1] })
}

// Remove removes what Remains found.
func (s *Stock) Remove(ctx context.Context, r Remains) error {
	if r.VMID != 0 { // PVE refuses while clones stand on it
		return failed(fmt.Sprintf("removing template %d", r.VMID), r.Node, s.kit.cluster.Destroy(ctx, r.Node, r.VMID, cluster.DestroyOptions{}))
	}
	if strings.HasPrefix(r.Where, "/") {
		return s.kit.cluster.RemoveImage(ctx, r.Node, path.Dir(r.Where), path.Base(r.Where))
	}
	return s.kit.cluster.FreeVolume(ctx, r.Node, r.Where)
}
