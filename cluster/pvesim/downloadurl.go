package pvesim

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// importName is what a file to import is called.
var importName = regexp.MustCompile(`^[A-Za-z0-9_.+=-]+\.(qcow2|raw|vmdk|ova)$`)

// downloadURL is POST .../download-url: the node fetches a file into a storage.
func (r *request) downloadURL() (any, error) {
	usage := "pvesh create <api_path> --content <string> --filename <string> --url <string> [OPTIONS] [FORMAT_OPTIONS]"
	bad := func(key, reason string) error {
		return failStatus(255, "400 Parameter verification failed.\n%s: %s\n%s", key, reason, usage)
	}
	content, file := r.opts["content"], r.opts["filename"]
	for _, key := range []string{"content", "filename", "url"} {
		if r.opts[key] == "" {
			return nil, bad(key, "property is missing and it is not optional")
		}
	}
	if !strings.HasPrefix(r.opts["url"], "http://") && !strings.HasPrefix(r.opts["url"], "https://") {
		return nil, bad("url", "value does not match the regex pattern")
	}
	if r.opts["checksum"] != "" && r.opts["checksum-algorithm"] == "" {
		return nil, bad("checksum-algorithm", "missing property required by 'checksum'")
	}
	r.sim.mu.Lock()
	st, err := r.theStore()
	switch {
	case err != nil:
	case !st.files():
		err = fail("400 Parameter verification failed.\nstorage: can't upload to storage type '%s', not a file based storage!", st.spec.Type)
	case st.spec.Disabled:
		err = fail("storage '%s' is disabled", st.spec.Name)
	case !st.holds(content):
		err = fail("storage '%s' is not configured for content-type '%s'", st.spec.Name, content)
	case content == "import" && (!importName.MatchString(file) || r.sim.release() < 8.4 && path.Ext(file) != ".ova"):
		err = bad("filename", "invalid filename or wrong extension")
	}
	r.sim.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return r.taskCall(func() (*task, error) {
		return r.work("download", file, func(w *worker) error { return w.downloadTo(st, content+"/"+file, r.opts) })
	})
}

// downloadTo fetches a file, checks it, and gives it its name.
func (w *worker) downloadTo(st *store, name string, o map[string]string) error {
	vol := &volume{path: name, content: contentOf(name), format: strings.TrimPrefix(path.Ext(name), ".")}
	target := st.path(vol)
	w.sim.mu.Lock()
	old := st.vols[name]
	w.sim.mu.Unlock()
	want := strings.ToLower(o["checksum"])
	switch {
	case old != nil && want == "":
		return fail("refusing to override existing file '%s'", target)
	case old != nil && sumOf(o["checksum-algorithm"], old.body) == want:
		return w.say("calculating checksum of existing file...OK, got correct file already, no need to download")
	case old != nil:
		return fail("checksum mismatch: got '%s' != expect '%s', aborting", sumOf(o["checksum-algorithm"], old.body), want)
	}
	u, err := url.Parse(o["url"])
	if err != nil {
		return fail("bad url '%s'", o["url"])
	}
	body, found, host := w.sim.fetch(o["url"])
	lines := fmt.Sprintf("downloading %s to %s\n--%s--  %s\n", o["url"], target, w.sim.now().Format(time.DateTime), o["url"])
	if !host {
		err := w.say(lines + fmt.Sprintf("Resolving %s (%[1]s)... failed: Name or service not known.", u.Host))
		if err != nil {
			return err
		}
		return fail("download failed: wget: unable to resolve host address '%s'", u.Host)
	}
	if err := w.say(lines + fmt.Sprintf("Resolving %s (%[1]s)... 192.0.2.80", u.Host)); err != nil {
		return err
	}
	if !found {
		return fail("download failed: %s ERROR 404: Not Found.", w.sim.now().Format(time.DateTime))
	}
	for i := range int64(downloadSteps) {
		if err := w.sleep(w.sim.opts.Latency.Download / downloadSteps); err != nil {
			return err
		}
		from := int64(len(body)) * i / downloadSteps
		if err := w.say(fmt.Sprintf("%6dK ........ ........ ........ ........ %3d%% 11.2M %ds", from/kib, (i+1)*100/downloadSteps, downloadSteps-i-1)); err != nil {
			return err
		}
	}
	if want != "" {
		got := sumOf(o["checksum-algorithm"], body)
		if got != want {
			return fail("checksum mismatch: got '%s' != expect '%s'", got, want)
		}
		if err := w.say("calculating checksum...OK, checksum verified"); err != nil {
			return err
		}
	}
	q, _ := parseQcow2(body)
	vol.body, vol.size, vol.taken, vol.system, vol.created = body, q.size, int64(len(body)), q.system, w.sim.now()
	err = w.do(func() error {
		if vol.taken > st.free() {
			return fail("download failed: %s: No space left on device", target)
		}
		st.add(vol)
		return w.sim.place(st, vol)
	})
	if err != nil {
		return err
	}
	return w.say(fmt.Sprintf("download of '%s' to '%s' finished", o["url"], target))
}

// place puts a file that was downloaded where its path says, on each node that
// has the storage, and unplace takes it away again. Other volumes are numbers
// only.
func (s *Sim) place(st *store, vol *volume) error {
	for _, n := range s.nodes {
		if !st.on(n) {
			continue
		}
		name := filepath.Join(n.dir, st.path(vol))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, vol.body, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sim) unplace(st *store, vol *volume) {
	for _, n := range s.nodes {
		if vol.body != nil && st.on(n) {
			_ = os.Remove(filepath.Join(n.dir, st.path(vol))) // gone already is fine
		}
	}
}

func sumOf(algorithm string, body []byte) string {
	switch algorithm {
	case "sha512":
		sum := sha512.Sum512(body)
		return hex.EncodeToString(sum[:])
	default:
		sum := sha256.Sum256(body)
		return hex.EncodeToString(sum[:])
	}
}
