package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"pvebot/cluster"
	"pvebot/provision/image"
)

// imageWork is what bringing an image onto a node needs of its surroundings: a
// step of a job, or a command line.
type imageWork interface {
	Facts() Facts
	Learn(ctx context.Context, f Facts) error
	Result(format string, a ...any)
	Progress(ctx context.Context, fraction float64, text string)
	Log(ctx context.Context, lines ...string)
	Queue(ctx context.Context, what string, n int, text string) error
}

// withImage makes a step's function of one that is about an image.
func (k *kit) withImage(f func(context.Context, imageWork, image.Image) error) func(context.Context, *Work) error {
	return func(ctx context.Context, w *Work) error {
		img, err := k.imageOf(w)
		if err != nil {
			return err
		}
		return f(ctx, w, img)
	}
}

// imageDone is the Done of the download.
func (k *kit) imageDone(ctx context.Context, w *Work) (bool, error) {
	img, err := k.imageOf(w)
	if err != nil {
		return false, err
	}
	return k.imageThere(ctx, w, img)
}

// checkImage finds out which version of the image is the current one, and
// whether the node has it. What was looked at within ImageRefresh is taken as
// it is; otherwise the ETag of its URL tells whether anything changed, and if
// it did, the distributor's checksum file tells what.
func (k *kit) checkImage(ctx context.Context, w imageWork, img image.Image) error {
	node := w.Facts().Node
	rec, err := k.cluster.ImageRecord(ctx, node, k.settings.ImageDir, img.Key())
	if err != nil {
		return unreachable("node "+node, err)
	}
	have := rec.There && rec.URL == img.URL && (img.Sum == "" || rec.Sum == img.Sum)
	if have && rec.Age < k.settings.ImageRefresh {
		w.Result("on %s already, looked at %s ago", node, rec.Age.Round(time.Second))
		return w.Learn(ctx, Facts{Checksum: rec.Sum, Image: rec.Source})
	}
	head, err := k.cluster.Head(ctx, node, img.URL)
	switch {
	case err != nil && have:
		w.Log(ctx, fmt.Sprintf("%s can't look for a newer image: %v", node, err))
		w.Result("on %s already; its server does not answer", node)
		return w.Learn(ctx, Facts{Checksum: rec.Sum, Image: rec.Source})
	case err != nil:
		return &Error{Kind: Unavailable, Say: fmt.Sprintf("%s can't reach %s", node, img.URL), Try: "check the node's way to the internet, or set IMAGE_MIRRORS", Err: err}
	case have && head.ETag != "" && head.ETag == rec.ETag:
		w.Result("on %s already, and current", node)
		return k.keepImage(ctx, w, img, rec)
	}
	sum, err := k.checksum(ctx, node, img)
	if err != nil {
		return err
	}
	w.Result("%s %s...", img.Algorithm, sum[:12])
	if have && sum == rec.Sum {
		rec.ETag = head.ETag
		return k.keepImage(ctx, w, img, rec)
	}
	d, err := k.depot(ctx, node, img.File(sum), head.Size)
	if err != nil {
		return err
	}
	w.Result("%s %s...%s", img.Algorithm, sum[:12], d.reason)
	return w.Learn(ctx, Facts{Checksum: sum, ETag: head.ETag, Depot: d.place})
}

// checksum is what the image's file must have.
func (k *kit) checksum(ctx context.Context, node string, img image.Image) (string, error) {
	if img.Sum != "" {
		return img.Sum, nil
	}
	sums, err := k.cluster.ReadURL(ctx, node, img.Sums)
	if err != nil {
		return "", &Error{Kind: Unavailable, Say: fmt.Sprintf("%s can't fetch %s", node, img.Sums), Try: "check the node's way to the internet, or set IMAGE_MIRRORS", Err: err}
	}
	sum, err := image.Checksum(sums, path.Base(img.URL), img.Algorithm)
	if err != nil {
		return "", &Error{Kind: Failed, Say: fmt.Sprintf("%s: %v", img.Sums, err), Err: err}
	}
	return sum, nil
}

// keepImage makes the node remember an image that it has, and the job use it.
func (k *kit) keepImage(ctx context.Context, w imageWork, img image.Image, rec cluster.ImageRecord) error {
	node := w.Facts().Node
	rec.URL = img.URL
	if err := k.cluster.KeepImageRecord(ctx, node, k.settings.ImageDir, img.Key(), rec); err != nil {
		return unreachable("node "+node, err)
	}
	return w.Learn(ctx, Facts{Checksum: rec.Sum, Image: rec.Source})
}

// imageThere reports whether the node has the image as it was chosen.
func (k *kit) imageThere(ctx context.Context, w imageWork, img image.Image) (bool, error) {
	f := w.Facts()
	rec, err := k.cluster.ImageRecord(ctx, f.Node, k.settings.ImageDir, img.Key())
	if err != nil {
		return false, unreachable("node "+f.Node, err)
	}
	if !rec.There || rec.Sum != f.Checksum {
		return false, nil
	}
	w.Result("using OS image on %s", f.Node)
	return true, w.Learn(ctx, Facts{Image: rec.Source})
}

// downloadImage brings the image onto the node, or onto the storage that all
// nodes share. A place that has filled up since it was chosen is passed over.
func (k *kit) downloadImage(ctx context.Context, w imageWork, img image.Image) error {
	err := k.downloadOnce(ctx, w, img)
	if err == nil || ctx.Err() != nil || w.Facts().Depot == "" {
		return err
	}
	f := w.Facts()
	head, headErr := k.cluster.Head(ctx, f.Node, img.URL)
	if headErr != nil {
		return err
	}
	k.view.drop() // it is about the room of this moment
	d, fullErr := k.depot(ctx, f.Node, img.File(f.Checksum), head.Size)
	switch {
	case KindOf(fullErr) == Full:
		return fullErr
	case fullErr != nil || d.place == f.Depot:
		return err
	}
	w.Log(ctx, fmt.Sprintf("%s has filled up: %v; going on with %s", f.Depot, err, d.place))
	if err := w.Learn(ctx, Facts{Depot: d.place}); err != nil {
		return err
	}
	return k.downloadOnce(ctx, w, img)
}

// downloadOnce downloads the image to where it was chosen to be, once: others who
// want it meanwhile wait and then find it.
func (k *kit) downloadOnce(ctx context.Context, w imageWork, img image.Image) error {
	if there, err := k.imageThere(ctx, w, img); err != nil || there {
		return err
	}
	if w.Facts().Depot == "" { // it was there, and is gone
		if err := k.forgetImage(ctx, w, img); err != nil {
			return err
		}
	}
	f := w.Facts()
	if err := w.Queue(ctx, k.downloadQueue(ctx, f, img), 1, "waiting for another job's download"); err != nil {
		return err
	}
	there, err := k.adoptImage(ctx, w, img)
	if err != nil || there {
		return err
	}
	began := k.clock.Now()
	if err := k.fetch(ctx, w, img); err != nil {
		return err
	}
	if there, err = k.adoptImage(ctx, w, img); err == nil && !there {
		err = Errorf(Failed, "%s is not on %s after its download", img.File(f.Checksum), f.Node)
	}
	w.Result("%s in %s", img.Title, k.clock.Now().Sub(began).Round(time.Second))
	return err
}

// forgetImage looks anew for an image that has vanished from the node.
func (k *kit) forgetImage(ctx context.Context, w imageWork, img image.Image) error {
	f := w.Facts()
	if err := k.cluster.KeepImageRecord(ctx, f.Node, k.settings.ImageDir, img.Key(), cluster.ImageRecord{}); err != nil {
		return unreachable("node "+f.Node, err)
	}
	return k.checkImage(ctx, w, img)
}

// downloadQueue is what downloads of one image to one place queue for.
func (k *kit) downloadQueue(ctx context.Context, f Facts, img image.Image) string {
	place := f.Node + "/" + f.Depot
	if r, err := k.view.resources(ctx); err == nil && slices.ContainsFunc(r.Storages, func(s cluster.Storage) bool { return s.Name == f.Depot && s.Shared }) {
		place = f.Depot
	}
	return "image/" + k.cluster.Name() + "/" + place + "/" + img.File(f.Checksum)
}

// inFolder says whether the image goes to the bot's own folder.
func (f Facts) inFolder() bool { return strings.HasPrefix(f.Depot, "/") }

// adoptImage makes the node remember an image that is there, whoever brought
// it: only a verified one has its name.
func (k *kit) adoptImage(ctx context.Context, w imageWork, img image.Image) (bool, error) {
	f := w.Facts()
	rec := cluster.ImageRecord{ETag: f.ETag, Sum: f.Checksum}
	if f.inFolder() {
		rec.Path = path.Join(f.Depot, img.File(f.Checksum))
		rec.Source = rec.Path
		there, err := k.cluster.FileExists(ctx, f.Node, rec.Path)
		if err != nil || !there {
			return false, unreachable("node "+f.Node, err)
		}
	} else {
		var there bool
		var err error
		rec.Source, rec.Path, there, err = k.cluster.ImportVolume(ctx, f.Node, f.Depot, img.File(f.Checksum))
		if err != nil || !there {
			return false, unreachable("storage "+f.Depot, err)
		}
	}
	w.Result("using OS image on %s", f.Node)
	return true, k.keepImage(ctx, w, img, rec)
}

// fetch downloads the image and follows it.
func (k *kit) fetch(ctx context.Context, w imageWork, img image.Image) error {
	f := w.Facts()
	start := func() (cluster.Task, error) {
		return k.cluster.Download(ctx, f.Node, downloadKey(f), k.download(img, f))
	}
	if !f.inFolder() {
		start = func() (cluster.Task, error) {
			return k.cluster.ImportDownload(ctx, f.Node, downloadKey(f), f.Depot, k.download(img, f))
		}
	}
	task, err := start()
	if err != nil {
		return failed("the download", f.Node, err)
	}
	last := ""
	for line, err := range k.cluster.Tasks().Follow(ctx, task, 0) {
		if errors.Is(context.Cause(ctx), errCancelAsked) {
			return context.Cause(ctx)
		}
		if err != nil {
			return failed("the download", f.Node, errors.Join(err, k.cluster.Tasks().Forget(ctx, task)))
		}
		if fraction, ok := cluster.DownloadProgress(line.Text); ok {
			w.Progress(ctx, fraction, img.Title)
			continue
		}
		w.Log(ctx, line.Text)
		if !strings.HasPrefix(line.Text, "UPID:") {
			last = cmp.Or(strings.TrimSpace(line.Text), last)
		}
	}
	if err := k.forget(ctx, w, task); err != nil {
		return err
	}
	if !f.inFolder() && !strings.Contains(last, "finished") && !strings.Contains(last, "no need to download") {
		return Errorf(Failed, "the download on %s failed: %s", f.Node, strings.TrimPrefix(last, "download failed: "))
	}
	return nil
}

func downloadKey(f Facts) string { return "download-" + f.UUID }

func (k *kit) download(img image.Image, f Facts) cluster.Download {
	return cluster.Download{
		URL: img.URL, Dir: f.Depot, File: img.File(f.Checksum), Algorithm: img.Algorithm, Sum: f.Checksum,
	}
}

// stopDownload ends a download that runs; an image that is complete stays for
// the next job.
func (k *kit) stopDownload(ctx context.Context, w imageWork, img image.Image) error {
	f := w.Facts()
	task, err := k.cluster.Tasks().Find(ctx, f.Node, downloadKey(f))
	if errors.Is(err, cluster.ErrNoTask) {
		return nil
	}
	if err != nil {
		return unreachable("node "+f.Node, err)
	}
	if f.inFolder() {
		err = k.cluster.Tasks().Interrupt(ctx, task)
	} else {
		err = k.cluster.StopImportDownload(ctx, f.Node, img.File(f.Checksum))
	}
	if err != nil {
		return failed("stopping the download", f.Node, err)
	}
	for _, err := range k.cluster.Tasks().Follow(ctx, task, 0) {
		if ctx.Err() != nil {
			return err
		}
	}
	if f.inFolder() {
		if err := k.cluster.RemovePartial(ctx, f.Node, k.download(img, f)); err != nil {
			return failed("removing the unfinished download", f.Node, err)
		}
	}
	return k.forget(ctx, w, task)
}
