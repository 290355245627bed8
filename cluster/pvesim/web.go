package pvesim

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"net/url"
	"path"
	"strings"
	"time"

	"pvebot/cluster/pvesim/shim"
)

// Two of the images that DefaultWeb has: what ubuntu and debian alone mean.
const (
	UbuntuImageURL = "https://cloud-images.ubuntu.com/releases/26.04/release/ubuntu-26.04-server-cloudimg-amd64.img"
	DebianImageURL = "https://cloud.debian.org/images/cloud/trixie/latest/debian-13-generic-amd64.qcow2"
)

// cloudImages are what distributors publish: where, with which checksum file,
// what is on it and how large it is.
var cloudImages = []struct {
	url, sums, system string
	size              int64
}{
	{"https://cloud-images.ubuntu.com/releases/24.04/release/ubuntu-24.04-server-cloudimg-amd64.img", "SHA256SUMS", "ubuntu 24.04", 3*gib + 512*mib},
	{"https://cloud-images.ubuntu.com/releases/20.04/release/ubuntu-20.04-server-cloudimg-amd64.img", "SHA256SUMS", "ubuntu 20.04", 2252 * mib},
	{"https://cloud-images.ubuntu.com/releases/22.04/release/ubuntu-22.04-server-cloudimg-amd64.img", "SHA256SUMS", "ubuntu 22.04", 2252 * mib},
	{UbuntuImageURL, "SHA256SUMS", "ubuntu 26.04", 3*gib + 512*mib},
	{"https://cloud.debian.org/images/cloud/bullseye/latest/debian-11-generic-amd64.qcow2", "SHA512SUMS", "debian 11", 2 * gib},
	{"https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-generic-amd64.qcow2", "SHA512SUMS", "debian 12", 2 * gib},
	{DebianImageURL, "SHA512SUMS", "debian 13", 3 * gib},
	{"https://dl.rockylinux.org/pub/rocky/8/images/x86_64/Rocky-8-GenericCloud-Base.latest.x86_64.qcow2", "CHECKSUM", "rocky 8", 10 * gib},
	{"https://dl.rockylinux.org/pub/rocky/9/images/x86_64/Rocky-9-GenericCloud-Base.latest.x86_64.qcow2", "CHECKSUM", "rocky 9", 10 * gib},
	{"https://dl.rockylinux.org/pub/rocky/10/images/x86_64/Rocky-10-GenericCloud-Base.latest.x86_64.qcow2", "CHECKSUM", "rocky 10", 10 * gib},
	{"https://repo.almalinux.org/almalinux/9/cloud/x86_64/images/AlmaLinux-9-GenericCloud-latest.x86_64.qcow2", "CHECKSUM", "almalinux 9", 10 * gib},
	{"https://repo.almalinux.org/almalinux/10/cloud/x86_64/images/AlmaLinux-10-GenericCloud-latest.x86_64.qcow2", "CHECKSUM", "almalinux 10", 10 * gib},
}

// DefaultWeb is a small internet: cloud images, each of a few kilobytes that
// import as a disk of some gigabytes, with the checksum files beside them.
func DefaultWeb() map[string][]byte {
	web := map[string][]byte{}
	for _, im := range cloudImages {
		body := CloudImage(im.size, im.system)
		web[im.url] = body
		web[dirURL(im.url)+im.sums] = Sums(im.sums, path.Base(im.url), body)
	}
	return web
}

// Sums is a checksum file for one image, in the form that files of that name
// have: SHA256SUMS, SHA512SUMS or CHECKSUM.
func Sums(name, file string, body []byte) []byte {
	switch name {
	case "SHA256SUMS":
		return fmt.Appendf(nil, "%x *%s\n", sha256.Sum256(body), file)
	case "SHA512SUMS":
		return fmt.Appendf(nil, "%x  %s\n", sha512.Sum512(body), file)
	}
	return fmt.Appendf(nil, "# %s: %d bytes\nSHA256 (%[1]s) = %[3]x\n", file, len(body), sha256.Sum256(body))
}

func dirURL(u string) string { return u[:strings.LastIndexByte(u, '/')+1] }

// wget's exit statuses.
const (
	wgetGeneric = 1
	wgetUsage   = 2
	wgetFile    = 3
	wgetNetwork = 4
	wgetServer  = 8
)

// download is what wget was asked for.
type download struct {
	url    string
	out    string // file, "-" for stdout
	quiet  bool
	resume bool
	spider bool // only look
	server bool // show what the server says
}

func (c *call) wgetArgs() (download, error) {
	var d download
	words := c.argv
	for i := 0; i < len(words); i++ {
		w := words[i]
		key, value, has := strings.Cut(w, "=")
		next := func() string {
			if !has && i+1 < len(words) {
				i++
				return words[i]
			}
			return value
		}
		switch {
		case !strings.HasPrefix(w, "-"):
			d.url = w
		case key == "--output-document" || w == "-O":
			d.out = next()
		case strings.HasPrefix(w, "-O"):
			d.out = w[2:]
		case key == "--tries" || key == "--timeout" || w == "-t" || w == "-T" || key == "--read-timeout" ||
			key == "--connect-timeout" || key == "--limit-rate" || key == "--waitretry":
			next()
		case w == "--quiet":
			d.quiet = true
		case w == "--spider":
			d.spider = true
		case w == "--server-response":
			d.server = true
		case w == "--continue":
			d.resume = true
		case w == "--":
		case key == "--progress", w == "--no-verbose", w == "-nv", w == "--show-progress", w == "--https-only",
			w == "--no-config", w == "--no-hsts", w == "--retry-connrefused", key == "--max-redirect":
		case strings.HasPrefix(w, "--"):
			return d, failStatus(wgetUsage, "wget: unrecognized option '%s'", w)
		default: // -qc, -qO FILE, -qO- ...
			for j, r := range w[1:] {
				switch r {
				case 'q':
					d.quiet = true
				case 'c':
					d.resume = true
				case 'S':
					d.server = true
				case 'O':
					if d.out = w[j+2:]; d.out == "" {
						d.out = next()
					}
				default:
					return d, failStatus(wgetUsage, "wget: invalid option -- '%c'", r)
				}
				if r == 'O' {
					break
				}
			}
		}
	}
	if d.url == "" {
		return d, failStatus(wgetGeneric, "wget: missing URL")
	}
	if d.out == "" {
		d.out = path.Base(d.url)
	}
	return d, nil
}

// wget is the command `wget`.
func (c *call) wget() error {
	d, err := c.wgetArgs()
	if err != nil {
		return err
	}
	note := func(format string, args ...any) {
		if !d.quiet {
			c.err(fmt.Sprintf(format, args...))
		}
	}
	u, err := url.Parse(d.url)
	if err != nil || u.Host == "" {
		return failStatus(wgetGeneric, "%s: Invalid URL.", d.url)
	}
	note("--%s--  %s", c.sim.now().Format(time.DateTime), d.url)
	body, found, host := c.sim.fetch(d.url)
	if !host {
		note("Resolving %s (%s)... failed: Name or service not known.", u.Host, u.Host)
		note("wget: unable to resolve host address '%s'", u.Host)
		return statusError(wgetNetwork)
	}
	note("Resolving %s (%s)... 192.0.2.80", u.Host, u.Host)
	note("Connecting to %s (%s)|192.0.2.80|:443... connected.", u.Host, u.Host)
	if !found {
		if d.server {
			c.err("  HTTP/1.1 404 Not Found")
		}
		note("HTTP request sent, awaiting response... 404 Not Found\n%s ERROR 404: Not Found.", c.sim.now().Format(time.DateTime))
		return statusError(wgetServer)
	}
	if d.server { // not even -q keeps that back
		c.err(fmt.Sprintf("  HTTP/1.1 200 OK\n  Content-Length: %d\n  ETag: \"%x\"", len(body), sha256.Sum256(body)))
	}
	if d.spider {
		return nil
	}
	var have int64
	if d.resume && d.out != "-" {
		_, have, _ = c.read(d.out, 0) // no file: nothing to go on with
	}
	if have >= int64(len(body)) && have > 0 {
		note("HTTP request sent, awaiting response... 416 Requested Range Not Satisfiable\n\n    The file is already fully retrieved; nothing to do.\n")
		return nil
	}
	note("HTTP request sent, awaiting response... 200 OK")
	note("Length: %d (%s) [application/octet-stream]", len(body), strings.NewReplacer(".0 ", "", " ", "", "iB", "").Replace(renderBytes(int64(len(body)))))
	note("Saving to: '%s'\n", d.out)
	if err := c.save(d, body, have); err != nil {
		return err
	}
	note("\n%s (11.2 MB/s) - '%s' saved [%d/%d]\n", c.sim.now().Format(time.DateTime), d.out, len(body), len(body))
	return nil
}

// fetch looks an URL up; host says whether there is such a host at all.
func (s *Sim) fetch(u string) (body []byte, found, host bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, found = s.opts.Web[u]
	want, err := url.Parse(u)
	if err != nil {
		return nil, false, false
	}
	for known := range s.opts.Web {
		if k, err := url.Parse(known); err == nil && k.Host == want.Host {
			host = true
		}
	}
	return body, found, host
}

// downloadSteps is how many lines of progress a download shows.
const downloadSteps = 20

// smallDocument is the size in bytes below which a download takes no time:
// checksum files and the like.
const smallDocument = 16 * kib

// save writes the body from offset have on, with wget's dots. One line of
// dots stands for a twentieth of the whole.
func (c *call) save(d download, body []byte, have int64) error {
	if d.out != "-" {
		a, err := c.link.ask(shim.Order{Op: shim.Create, Path: d.out, Append: have > 0})
		if err != nil {
			return err
		}
		if a.Err != "" {
			return failStatus(wgetFile, "%s: %s", d.out, a.Err)
		}
	}
	size, cut := int64(len(body)), c.sim.takeCut()
	takes := c.sim.opts.Latency.Download
	if size < smallDocument {
		takes = 0
	}
	for i := range int64(downloadSteps) {
		from, to := max(have, size*i/downloadSteps), size*(i+1)/downloadSteps
		if to <= from {
			continue
		}
		if err := c.sim.sleep(c.ctx, takes/downloadSteps); err != nil {
			return err
		}
		if cut > 0 && to > cut {
			return statusError(wgetNetwork)
		}
		op := shim.Write
		if d.out == "-" {
			op = shim.Out
		}
		a, err := c.link.ask(shim.Order{Op: op, Data: body[from:to]})
		switch {
		case err != nil:
			return err
		case a.Gone:
			return errGone
		case a.Err != "":
			return failStatus(wgetFile, "%s: %s", d.out, a.Err)
		}
		if !d.quiet {
			c.err(fmt.Sprintf("%6dK ........ ........ ........ ........ %3d%% 11.2M %ds", from/kib, to*100/size, downloadSteps-i-1))
		}
	}
	if d.out == "-" {
		return nil
	}
	_, err := c.link.ask(shim.Order{Op: shim.Close})
	return err
}

// takeCut is after how many bytes this download breaks; 0 for never.
func (s *Sim) takeCut() int64 {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	n := s.hooks.cutWeb
	s.hooks.cutWeb = 0
	return n
}

// CutDownload breaks the next download after so many bytes.
func (s *Sim) CutDownload(after int64) {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	s.hooks.cutWeb = after
}

// SetWeb puts a body at an URL; nil takes it away.
func (s *Sim) SetWeb(u string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if body == nil {
		delete(s.opts.Web, u)
		return
	}
	s.opts.Web[u] = body
}
