package cluster

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed scripts/image-record.sh
var imageRecord string

//go:embed scripts/image-keep.sh
var imageKeep string

//go:embed scripts/image-files.sh
var imageFiles string

// ImageRecord is what a node remembers of an image that it has. It lies in the
// folder of images, also when the image itself is on a storage.
type ImageRecord struct {
	Path   string // of the file, on the node
	Source string // what import-from takes: a volume id, or the path again
	URL    string // where it came from
	ETag   string // of that URL when it was last looked at; may be empty
	Sum    string // checksum in hex
	// There and Age are set when a record is read: the file is still there, and
	// how long ago the record was written. Without a record both are zero.
	There bool
	Age   time.Duration
}

var imageKey = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)

func cmdImageRecord(dir, key string) Cmd { return script(imageRecord, "image-record", dir, key) }

func cmdImageKeep(dir, key string, r ImageRecord) Cmd {
	c := changes(script(imageKeep, "image-keep", dir, key))
	c.Stdin = []byte(strings.Join([]string{r.Path, r.Source, r.URL, r.ETag, r.Sum}, "\n") + "\n")
	return c
}

func cmdImageFiles(dir string) Cmd { return script(imageFiles, "image-files", dir) }

func cmdRemoveImage(dir, file string) Cmd {
	return changes(Cmd{Argv: []string{"rm", "-f", "--", dir + "/" + file}})
}

func cmdVolumePath(volume string) Cmd { return Cmd{Argv: []string{"pvesm", "path", volume}} }

func cmdImportDownload(node, storage string, d Download) Cmd {
	return changes(Cmd{Argv: []string{
		"pvesh", "create", "/nodes/" + node + "/storage/" + storage + "/download-url", "--content", "import",
		"--filename", d.File, "--url", d.URL, "--checksum", strings.ToLower(d.Sum), "--checksum-algorithm", d.Algorithm,
	}})
}

func cmdRunningDownloads(node string) Cmd {
	c := pvesh("/nodes/" + node + "/tasks")
	c.Argv = append(c.Argv, "--source", "active", "--typefilter", "download", "--limit", "500")
	return c
}

func cmdStopTask(node, upid string) Cmd {
	return changes(Cmd{Argv: []string{"pvesh", "delete", "/nodes/" + node + "/tasks/" + upid}})
}

func checkImageName(dir, key string) error {
	return errors.Join(checkName("directory", absolute, dir), checkName("image", imageKey, key))
}

// ImageRecord reads what node remembers of an image: milliseconds.
func (c *Cluster) ImageRecord(ctx context.Context, node, dir, key string) (ImageRecord, error) {
	if err := checkImageName(dir, key); err != nil {
		return ImageRecord{}, err
	}
	res, err := c.on(ctx, node, cmdImageRecord(dir, key))
	if err != nil {
		return ImageRecord{}, fmt.Errorf("what is known of image %s: %w", key, err)
	}
	return decodeImageRecord(string(res.Stdout)), nil
}

// decodeImageRecord reads what scripts/image-record.sh prints; a torn record is
// none.
func decodeImageRecord(text string) ImageRecord {
	lines := strings.Split(text, "\n")
	if len(lines) < 7 {
		return ImageRecord{}
	}
	age, err := strconv.ParseInt(lines[0], 10, 64)
	if err != nil {
		return ImageRecord{}
	}
	return ImageRecord{
		Age: max(0, time.Duration(age)*time.Second), There: lines[1] == "yes",
		Path: lines[2], Source: lines[3], URL: lines[4], ETag: lines[5], Sum: lines[6],
	}
}

// KeepImageRecord makes node remember r, in place of what it knew.
func (c *Cluster) KeepImageRecord(ctx context.Context, node, dir, key string, r ImageRecord) error {
	if err := checkImageName(dir, key); err != nil {
		return err
	}
	if strings.ContainsAny(r.Path+r.Source+r.URL+r.ETag+r.Sum, "\n\x00") {
		return fmt.Errorf("%w: a record of image %s has a line break in it", ErrNotStarted, key)
	}
	if _, err := c.on(ctx, node, cmdImageKeep(dir, key, r)); err != nil {
		return fmt.Errorf("remember image %s: %w", key, err)
	}
	return nil
}

// ImageFile is a file of a folder of images.
type ImageFile struct {
	Name string
	Size int64         // bytes
	Age  time.Duration // since it was last written
}

// ImageFiles lists the files in node's folder of images.
func (c *Cluster) ImageFiles(ctx context.Context, node, dir string) ([]ImageFile, error) {
	if err := checkName("directory", absolute, dir); err != nil {
		return nil, err
	}
	res, err := c.on(ctx, node, cmdImageFiles(dir))
	if err != nil {
		return nil, fmt.Errorf("files in %s: %w", dir, err)
	}
	var files []ImageFile
	for line := range strings.Lines(string(res.Stdout)) {
		parts := strings.SplitN(strings.TrimRight(line, "\n"), " ", 3)
		if len(parts) < 3 {
			continue
		}
		size, err1 := strconv.ParseInt(parts[0], 10, 64)
		age, err2 := strconv.ParseInt(parts[1], 10, 64)
		if err1 == nil && err2 == nil {
			files = append(files, ImageFile{Name: parts[2], Size: size, Age: time.Duration(age) * time.Second})
		}
	}
	return files, nil
}

// RemoveImage removes a file from node's folder of images; none is fine.
func (c *Cluster) RemoveImage(ctx context.Context, node, dir, file string) error {
	if err := errors.Join(checkName("directory", absolute, dir), checkName("file name", fileName, file)); err != nil {
		return err
	}
	if _, err := c.on(ctx, node, cmdRemoveImage(dir, file)); err != nil {
		return fmt.Errorf("remove %s: %w", file, err)
	}
	return nil
}

// Head is what a server says of a document without sending it.
type Head struct {
	ETag string // changes with the document; "" when the server gives none
	Size int64  // in bytes; 0 when the server does not tell
}

// Head asks for a URL's head as node sees it.
func (c *Cluster) Head(ctx context.Context, node, url string) (Head, error) {
	if err := checkURL(url); err != nil {
		return Head{}, err
	}
	res, err := c.on(ctx, node, cmdHead(c.cfg.PVEEtc, url))
	if err != nil {
		return Head{}, fmt.Errorf("look at %s: %w", url, err)
	}
	return decodeHead(string(res.Stderr)), nil
}

// decodeHead reads what wget -S prints; of several answers, after redirects,
// the last one counts.
func decodeHead(text string) Head {
	var h Head
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "HTTP/") {
			h = Head{}
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); strings.ToLower(name) {
		case "etag":
			h.ETag = value
		case "content-length":
			h.Size, _ = strconv.ParseInt(value, 10, 64) // 0 is fine
		}
	}
	return h
}

// ImportDownload starts, as task key, a download that PVE itself does into a
// storage with the content `import` (8.4 and later). Its progress lines are
// read by DownloadProgress. PVE: the task ends well whatever becomes of the
// download, so look for it with ImportVolume afterwards; an interrupted one
// begins anew.
func (c *Cluster) ImportDownload(ctx context.Context, node, key, storage string, d Download) (Task, error) {
	d.Dir = "/" // PVE's business
	if err := errors.Join(d.check(), checkName("node", nodeName, node), checkName("storage", storageName, storage)); err != nil {
		return Task{}, err
	}
	return c.tasks.Start(ctx, node, key, cmdImportDownload(node, storage, d))
}

// ImportVolume finds the file to import of that name on a storage as node sees
// it: its volume id and its path. ok is false when it is not there. Dear.
func (c *Cluster) ImportVolume(ctx context.Context, node, storage, file string) (id, where string, ok bool, err error) {
	volumes, err := c.Volumes(ctx, node, storage)
	if err != nil {
		return "", "", false, err
	}
	i := slices.IndexFunc(volumes, func(v Volume) bool { return v.Content == "import" && path.Base(v.ID) == file })
	if i < 0 {
		return "", "", false, nil
	}
	id = volumes[i].ID
	if err := checkName("volume", volumeName, id); err != nil {
		return "", "", false, err
	}
	res, err := c.on(ctx, node, cmdVolumePath(id))
	if err != nil {
		return "", "", false, fmt.Errorf("path of %s: %w", id, err)
	}
	return id, strings.TrimSpace(string(res.Stdout)), true, nil
}

var upid = regexp.MustCompile(`^UPID:[a-zA-Z0-9-]+:[0-9A-F]{8}:[0-9A-F]{8,9}:[0-9A-F]{8}:download:[^:\s/]*:[^:\s/]+:$`)

// StopImportDownload asks PVE to end the download of a file on node; none is
// fine. The task that waits for it ends too.
func (c *Cluster) StopImportDownload(ctx context.Context, node, file string) error {
	if err := checkName("node", nodeName, node); err != nil {
		return err
	}
	res, err := c.on(ctx, node, cmdRunningDownloads(node))
	if err != nil {
		return fmt.Errorf("downloads on %s: %w", node, err)
	}
	tasks, err := decode[[]fields](res.Stdout)
	if err != nil {
		return fmt.Errorf("downloads on %s: %w", node, err)
	}
	for _, t := range tasks {
		id := t.text("upid")
		if t.text("id") != file || !upid.MatchString(id) {
			continue
		}
		if _, err := c.on(ctx, node, cmdStopTask(node, id)); err != nil {
			return fmt.Errorf("stop the download of %s: %w", file, err)
		}
	}
	return nil
}

var pveVersion = regexp.MustCompile(`^pve-manager/(\d+)\.(\d+)`)

// CanImportDownload reports whether node's PVE can fetch disk images into an
// `import` storage: 8.4 and later. It is asked once per boot of the node.
func (c *Cluster) CanImportDownload(ctx context.Context, node string) (bool, error) {
	m, err := c.Membership(ctx)
	if err != nil {
		return false, err
	}
	if _, err := c.nodeCPUs(ctx, m); err != nil {
		return false, err
	}
	of, online := c.cpus.get()[node]
	if online && of.cpu.Type == "" {
		return false, fmt.Errorf("node %s does not say which PVE it has", node)
	}
	v := pveVersion.FindStringSubmatch(of.version)
	if v == nil {
		return false, nil
	}
	major, _ := strconv.Atoi(v[1]) // at most some digits
	minor, _ := strconv.Atoi(v[2])
	return major > 8 || major == 8 && minor >= 4, nil
}
