package simguest

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// image is what differs from one cloud image to the next.
type image struct {
	os, version, name, codename string // as /etc/os-release has them; the name with its point release
	kernel                      string
	agent                       string // version of qemu-guest-agent
	cloudInit                   string // version
	dnf                         bool   // of the Red Hat family
}

var images = []image{
	{"almalinux", "9.6", "AlmaLinux 9.6 (Sage Margay)", "", "5.14.0-570.12.1.el9_6.x86_64", "17:9.1.0-15.el9_6.7", "24.4", true},
	{"almalinux", "10.0", "AlmaLinux 10.0 (Purple Lion)", "", "6.12.0-55.9.1.el10_0.x86_64", "18:9.1.0-15.el10_0.5", "24.4", true},
	{"debian", "11", "Debian GNU/Linux 11 (bullseye)", "bullseye", "5.10.0-35-cloud-amd64", "1:5.2+dfsg-11+deb11u4", "20.4.1", false},
	{"debian", "12", "Debian GNU/Linux 12 (bookworm)", "bookworm", "6.1.0-38-cloud-amd64", "1:7.2+dfsg-7+deb12u14", "22.4.2", false},
	{"debian", "13", "Debian GNU/Linux 13 (trixie)", "trixie", "6.12.41+deb13-cloud-amd64", "1:10.0.2+ds-2+deb13u1", "25.1.4", false},
	{"rocky", "8.10", "Rocky Linux 8.10 (Green Obsidian)", "", "4.18.0-553.el8_10.x86_64", "15:6.2.0-53.module+el8.10.0", "23.4", true},
	{"rocky", "9.6", "Rocky Linux 9.6 (Blue Onyx)", "", "5.14.0-570.17.1.el9_6.x86_64", "17:9.1.0-15.el9_6.7", "24.4", true},
	{"rocky", "10.0", "Rocky Linux 10.0 (Red Quartz)", "", "6.12.0-55.12.1.el10_0.x86_64", "18:9.1.0-15.el10_0.5", "24.4", true},
	{"ubuntu", "20.04", "Ubuntu 20.04.6 LTS", "focal", "5.4.0-216-generic", "1:4.2-3ubuntu6.30", "24.4", false},
	{"ubuntu", "22.04", "Ubuntu 22.04.5 LTS", "jammy", "5.15.0-151-generic", "1:6.2+dfsg-2ubuntu6.26", "25.1", false},
	{"ubuntu", "24.04", "Ubuntu 24.04.3 LTS", "noble", "6.8.0-71-generic", "1:8.2.2+ds-0ubuntu1.10", "24.4", false},
	{"ubuntu", "26.04", "Ubuntu 26.04 LTS", "resolute", "7.0.0-14-generic", "1:10.2.1+ds-1ubuntu3", "26.1", false},
}

// image is the guest's; an operating system that is not listed says its own
// name and is else like a Debian.
func (g *Guest) image() image {
	is := func(im image) bool {
		return im.os == g.cfg.OS && (im.version == g.cfg.Version || im.dnf && strings.HasPrefix(im.version, g.cfg.Version+"."))
	}
	if i := slices.IndexFunc(images, is); i >= 0 {
		return images[i]
	}
	im := images[slices.IndexFunc(images, func(im image) bool { return im.os == "debian" && im.version == "12" })]
	im.os, im.version, im.name, im.codename = g.cfg.OS, g.cfg.Version, g.cfg.OS+" "+g.cfg.Version, ""
	return im
}

// osRelease is /etc/os-release, as far as scripts read it.
func (im image) osRelease() string {
	text := fmt.Sprintf("PRETTY_NAME=%q\nNAME=%q\nVERSION_ID=%q\nID=%q\n", im.name, im.os, im.version, im.os)
	if im.codename != "" {
		text += fmt.Sprintf("VERSION_CODENAME=%s\n", im.codename)
	}
	if im.dnf {
		text += "ID_LIKE=\"rhel centos fedora\"\n"
	}
	return text
}

// has tells whether the image's family of systems has a program.
func (im image) has(program string) bool {
	return slices.Contains(dnfPrograms, program) && im.dnf ||
		slices.Contains(aptPrograms, program) && !im.dnf ||
		!slices.Contains(dnfPrograms, program) && !slices.Contains(aptPrograms, program)
}

// The programs that only one family of systems has.
var (
	aptPrograms = []string{"apt-get", "dpkg", "dpkg-query", "locale-gen", "update-locale"}
	dnfPrograms = []string{"dnf"}
)

// install puts the image on the disk.
func (g *Guest) install() {
	d, im := g.disk, g.image()
	for _, dir := range []string{
		"/etc/sysctl.d", wantsDir[:len(wantsDir)-1], "/run", "/tmp", "/var/tmp", "/var/log",
		"/var/lib/apt/lists", "/var/cache/apt/archives", "/usr/lib/locale", "/root", "/opt", "/srv", "/mnt",
	} {
		d.put(dir, fs.ModeDir|0o755, "")
	}
	d.edit("/tmp", func(n *inode) { n.mode |= 0o777 })
	d.edit("/root", func(n *inode) { n.mode = n.mode&^0o777 | 0o700 })

	for name := range programs {
		if im.has(name) {
			d.put("/usr/bin/"+name, 0o755, "")
		}
	}
	d.put("/usr/lib/os-release", 0o644, im.osRelease())
	d.point("/etc/os-release", "../usr/lib/os-release")
	d.put("/boot/vmlinuz-"+im.kernel, 0o644, "")
	d.point("/boot/vmlinuz", "vmlinuz-"+im.kernel)
	d.put("/etc/fstab", 0o644, "LABEL=cloudimg-rootfs\t/\text4\tdiscard,commit=30,errors=remount-ro\t0 1\n")
	if im.dnf {
		d.put("/etc/locale.conf", 0o644, "LANG=C.UTF-8\n")
		g.addLocales("en")
	} else {
		d.put("/etc/locale.gen", 0o644, "# The locales that locale-gen makes.\n")
		d.put("/etc/default/locale", 0o644, "LANG=C.UTF-8\n")
		d.put("/usr/share/i18n/SUPPORTED", 0o644, strings.Join(supportedLocales, " UTF-8\n")+" UTF-8\n")
	}
	for _, zone := range []string{"Etc/UTC", "UTC", "Europe/Berlin", "Europe/London", "America/New_York", "Asia/Taipei", "Asia/Tokyo"} {
		d.put(zoneDir+zone, 0o644, "TZif2")
	}
	d.point("/etc/localtime", zoneDir+"Etc/UTC")
	units := []string{"ssh", "cron", "systemd-timesyncd"}
	if im.dnf {
		units = append(units, "qemu-guest-agent") // what GenericCloud images have
	}
	for _, unit := range units {
		d.put(unitDir+unit+".service", 0o644, "[Unit]\n")
		d.point(wantsDir+unit+".service", unitDir+unit+".service")
	}
}

// supportedLocales are those that the images know how to make.
var supportedLocales = []string{"C.UTF-8", "de_DE.UTF-8", "en_GB.UTF-8", "en_US.UTF-8", "zh_TW.UTF-8"}

// personalize is what cloud-init does once per instance, and what the kernel
// shows.
func (g *Guest) personalize() {
	d := g.disk
	u := account(g.cfg.User)
	d.put("/etc/hostname", 0o644, g.cfg.Hostname+"\n")
	d.put("/etc/passwd", 0o644, fmt.Sprintf("root:x:0:0:root:/root:/bin/bash\n%s:x:%d:%[2]d::%s:/bin/bash\n", u.name, u.uid, u.home))
	shadow := "root:*:20000:0:99999:7:::\n"
	if old, err := d.read("/etc/shadow"); err == nil { // root's password stays what somebody made it
		shadow, _, _ = strings.Cut(string(old), "\n")
		shadow += "\n"
	}
	d.put("/etc/shadow", 0o640, shadow+fmt.Sprintf("%s:%s:20000:0:99999:7:::\n", u.name, cmp.Or(g.cfg.PasswordHash, "!")))
	var keys strings.Builder
	for _, k := range g.cfg.AuthorizedKeys {
		keys.Write(ssh.MarshalAuthorizedKey(k))
	}
	d.put(u.home+"/.ssh/authorized_keys", 0o600, keys.String())
	for _, own := range []string{u.home, u.home + "/.ssh", u.home + "/.ssh/authorized_keys"} {
		d.edit(own, func(n *inode) { n.uid = u.uid })
	}
	d.put("/etc/ssh/ssh_host_ed25519_key.pub", 0o644, string(ssh.MarshalAuthorizedKey(g.key.PublicKey())))
	d.put("/var/lib/cloud/data/instance-id", 0o644, g.cfg.InstanceID+"\n")

	for name, content := range map[string]func() []byte{
		"/dev/null": func() []byte { return nil },
		"/dev/virtio-ports/org.qemu.guest_agent.0": func() []byte { return nil },
		"/proc/sys/kernel/random/boot_id":          func() []byte { return []byte(g.BootID() + "\n") },
		"/proc/swaps":                              g.procSwaps,
		"/proc/uptime":                             func() []byte { return fmt.Appendf(nil, "%.2f 0.00\n", g.uptime().Seconds()) },
		"/var/log/cloud-init-output.log":           g.cloudInitLog,
	} {
		d.put(name, 0o666, "").live = content
	}
}

// startup is what happens at each boot, with g.mu held: what lived in memory is
// gone, and what the disk says shall run, runs.
func (g *Guest) startup() {
	for _, dir := range []string{"/run", "/tmp"} {
		entries, _ := g.disk.list(dir)
		for _, e := range entries {
			g.disk.erase(dir + "/" + e.Name())
		}
	}
	g.disk.put("/run/systemd/system", fs.ModeDir|0o755, "")
	entries, _ := g.disk.list(wantsDir)
	for _, e := range entries {
		g.started[strings.TrimSuffix(e.Name(), ".service")] = true
	}
	for _, f := range g.fields("/etc/fstab") {
		if len(f) < 3 || f[2] != "swap" {
			continue
		}
		if i, err := g.disk.stat(f[0], true); err == nil {
			g.swaps[f[0]] = i.Size()
		}
	}
	entries, _ = g.disk.list("/etc/sysctl.d")
	for _, e := range entries {
		for _, a := range g.assignments("/etc/sysctl.d/" + e.Name()) {
			name, value, _ := strings.Cut(a, "=")
			g.sysctls[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
}
