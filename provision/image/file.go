package image

import (
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"pvebot/cluster"
	"pvebot/cluster/textfile"
	"pvebot/cluster/yamlfile"
)

//go:embed catalogue.yaml
var builtIn []byte

// maxFile is the longest file of images that is read, in bytes.
const maxFile = 256 << 10

// entry is an image in a file. The keys are explained in catalogue.yaml.
type entry struct {
	OS        yamlfile.Word   `yaml:"os"`
	Version   yamlfile.Word   `yaml:"version"`
	Also      []yamlfile.Word `yaml:"also"`
	Names     []yamlfile.Word `yaml:"names"`
	Title     string          `yaml:"title"`
	User      string          `yaml:"user"`
	Default   bool            `yaml:"default"`
	URL       string          `yaml:"url"`
	Sums      string          `yaml:"sums"`
	Sum       string          `yaml:"sum"`
	Algorithm string          `yaml:"algorithm"`
	Disk      string          `yaml:"disk"`
	CPU       string          `yaml:"cpu"`
	End       string          `yaml:"end"`
	Agent     bool            `yaml:"agent"`
	Script    string          `yaml:"script"`
}

// Default is the built-in catalogue.
func Default() *Catalogue {
	images, err := parse(builtIn)
	if err != nil {
		panic("catalogue.yaml: " + err.Error()) // found by any test
	}
	return &Catalogue{images: images}
}

// Extend returns the catalogue with the images of a file added: one of an OS
// and version that is there already replaces it, and one that is its OS's
// default takes that from the others. The error tells all that is wrong.
func (c *Catalogue) Extend(file []byte) (*Catalogue, error) {
	if len(file) > maxFile {
		return nil, fmt.Errorf("the file is longer than %d KiB", maxFile>>10)
	}
	added, err := parse(file)
	if err != nil {
		return nil, err
	}
	images := slices.Clone(c.images)
	for _, a := range added {
		images = slices.DeleteFunc(images, func(i Image) bool { return i.Key() == a.Key() })
		if a.Default {
			for n := range images {
				images[n].Default = images[n].Default && images[n].OS != a.OS
			}
		}
		if !slices.ContainsFunc(images, func(i Image) bool { return i.OS == a.OS && i.Default }) {
			a.Default = true // the first of its OS
		}
		images = append(images, a)
	}
	return &Catalogue{images: images}, nil
}

// Mirror returns the catalogue with every URL that begins with from beginning
// with to instead: for sites that reach the internet through a mirror, or not
// at all.
func (c *Catalogue) Mirror(from, to string) *Catalogue {
	images := slices.Clone(c.images)
	for n := range images {
		for _, u := range []*string{&images[n].URL, &images[n].Sums} {
			if rest, ok := strings.CutPrefix(*u, from); ok {
				*u = to + rest
			}
		}
	}
	return &Catalogue{images: images}
}

func parse(file []byte) ([]Image, error) {
	entries, err := yamlfile.List[entry](file, "images")
	if err != nil {
		return nil, err
	}
	var images []Image
	var errs []error
	for n, e := range entries {
		i, err := e.Value.image()
		if err != nil {
			errs = append(errs, &textfile.Error{Line: e.Line, Say: fmt.Sprintf("image %d (%s %s): %v", n+1, e.Value.OS, e.Value.Version, err), Err: err})
			continue
		}
		images = append(images, i)
	}
	return images, errors.Join(errs...)
}

var (
	// word is what stands in file names, command lines and on cards.
	word     = regexp.MustCompile(`^[a-z0-9][a-z0-9.]*$`)
	userName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
	diskSize = regexp.MustCompile(`^([0-9]{1,6})([MG])$`)
)

// image checks the entry and fills in what it leaves out. The error tells the
// first thing that is wrong.
func (e entry) image() (Image, error) {
	i := Image{
		OS: string(e.OS), Version: string(e.Version), Also: yamlfile.Texts(e.Also), Names: yamlfile.Texts(e.Names), Title: e.Title, User: e.User, Default: e.Default,
		URL: e.URL, Sums: e.Sums, Sum: strings.ToLower(e.Sum), Algorithm: e.Algorithm, CPU: e.CPU, Agent: e.Agent, Script: e.Script,
	}
	for _, w := range slices.Concat([]string{i.OS, i.Version}, i.Also, i.Names) {
		if !word.MatchString(w) {
			return i, fmt.Errorf("%q is no word for an OS or a version: lower-case letters, digits and dots", w)
		}
	}
	orElse(&i.Title, strings.ToUpper(i.OS[:1])+i.OS[1:]+" "+i.Version)
	orElse(&i.User, i.OS)
	orElse(&i.Algorithm, "sha256")
	orElse(&i.CPU, "kvm64")
	orElse(&i.Script, i.OS+"_"+i.Version)
	if i.Script == "none" {
		i.Script = ""
	}
	for _, u := range []string{i.URL, i.Sums} {
		if p, err := url.Parse(u); u != "" && (err != nil || p.Host == "" || p.Scheme != "https" && p.Scheme != "http") {
			return i, fmt.Errorf("%q is no http or https address", u)
		}
	}
	switch ext := strings.ToLower(path.Ext(pathOf(i.URL))); {
	case slices.Contains([]string{".xz", ".gz", ".bz2", ".zst", ".zip", ".7z"}, ext):
		return i, fmt.Errorf("url ends in %s: Proxmox VE imports no compressed images; name a .qcow2, .img or .raw of a cloud image", ext)
	case slices.Contains([]string{".iso", ".vmdk", ".ova", ".ovf", ".vhd", ".vhdx", ".vdi", ".tar", ".box"}, ext):
		return i, fmt.Errorf("url ends in %s: this is no disk that a VM can begin from; name a .qcow2, .img or .raw of a cloud image", ext)
	case i.URL == "":
		return i, errors.New("url is missing: where is the image?")
	case (i.Sums == "") == (i.Sum == ""):
		return i, errors.New("it needs either sums, the URL of a checksum file, or sum, the checksum itself")
	case sumLength[i.Algorithm] == 0:
		return i, fmt.Errorf("algorithm is %q: it is sha256 or sha512", i.Algorithm)
	case i.Sum != "" && !isSum(i.Sum, i.Algorithm):
		return i, fmt.Errorf("sum is no %s checksum: %d hexadecimal digits", i.Algorithm, sumLength[i.Algorithm])
	case !userName.MatchString(i.User):
		return i, fmt.Errorf("%q is no login name", i.User)
	case !cluster.IsBaseline(i.CPU):
		return i, fmt.Errorf("cpu is %q: it is kvm64, x86-64-v2, x86-64-v2-AES, x86-64-v3 or x86-64-v4", i.CPU)
	}
	if e.Disk != "" {
		m := diskSize.FindStringSubmatch(e.Disk)
		if m == nil {
			return i, fmt.Errorf("disk is %q: it is a size such as 10G or 2560M", e.Disk)
		}
		n, _ := strconv.ParseInt(m[1], 10, 64) // at most six digits
		i.DiskMB = n * map[string]int64{"M": 1, "G": 1024}[m[2]]
	}
	if e.End != "" {
		var err error
		if i.End, err = time.Parse(time.DateOnly, e.End); err != nil {
			return i, fmt.Errorf("end is %q: it is a day such as 2030-06-30", e.End)
		}
	}
	return i, nil
}

// pathOf is the path of a URL that has been read before.
func pathOf(u string) string {
	p, err := url.Parse(u)
	if err != nil {
		return u
	}
	return p.Path
}

func orElse(s *string, def string) {
	if *s == "" {
		*s = def
	}
}
