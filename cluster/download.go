package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
)

// Download is a file that a node shall fetch.
type Download struct {
	URL       string // http or https
	Dir       string // absolute; made when it is not there
	File      string // its name there
	Algorithm string // sha256 or sha512
	Sum       string // the checksum in hex; required
}

var (
	fileName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+=-]*$`)
	hexSum   = map[string]*regexp.Regexp{
		"sha256": regexp.MustCompile(`^[0-9a-fA-F]{64}$`),
		"sha512": regexp.MustCompile(`^[0-9a-fA-F]{128}$`),
	}
)

func (d Download) check() error {
	sum, ok := hexSum[d.Algorithm]
	if !ok {
		return fmt.Errorf("%w: %q is no checksum algorithm we know (sha256, sha512)", ErrNotStarted, d.Algorithm)
	}
	return errors.Join(
		checkURL(d.URL),
		checkName("directory", absolute, d.Dir),
		checkName("file name", fileName, d.File),
		checkName(d.Algorithm+" checksum", sum, d.Sum),
	)
}

func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%w: %.80q is no http or https address", ErrNotStarted, s)
	}
	return nil
}

// Download starts, as task key, the download of a file by node itself. The
// file gets its name only when its checksum is right; one that has it already
// is done at once. An interrupted download goes on where it stopped. Its
// progress lines are read by DownloadProgress. Two tasks must not download to
// one name at once: let the key tell the file.
func (c *Cluster) Download(ctx context.Context, node, key string, d Download) (Task, error) {
	if err := d.check(); err != nil {
		return Task{}, err
	}
	return c.tasks.Start(ctx, node, key, cmdDownload(c.cfg.PVEEtc, d))
}

var wgetDots = regexp.MustCompile(`^\s*\d+[KMG]?[ .,]+\s(\d{1,3})%(?:\s|$)`)

// DownloadProgress reads the fraction, 0 to 1, from a progress line of a
// download ("32768K ........ ........  12% 98.7M 5s").
func DownloadProgress(line string) (fraction float64, ok bool) {
	return percent(wgetDots.FindStringSubmatch(line))
}

// maxURLBytes is how large a document ReadURL takes.
const maxURLBytes = 1 << 20

// ReadURL fetches a small document, such as a list of checksums, as node sees
// it; at most 1 MiB.
func (c *Cluster) ReadURL(ctx context.Context, node, url string) ([]byte, error) {
	if err := checkURL(url); err != nil {
		return nil, err
	}
	res, err := c.on(ctx, node, cmdReadURL(c.cfg.PVEEtc, url))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", url, err)
	}
	if len(res.Stdout) > maxURLBytes {
		return nil, fmt.Errorf("read %s: more than 1 MiB", url)
	}
	return res.Stdout, nil
}

// FileExists reports whether there is a file (or directory) at path on node.
func (c *Cluster) FileExists(ctx context.Context, node, path string) (bool, error) {
	if err := checkName("absolute path", absolute, path); err != nil {
		return false, err
	}
	res, err := c.on(ctx, node, cmdFileExists(path))
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", path, err)
	}
	return string(res.Stdout) == "yes\n", nil
}
