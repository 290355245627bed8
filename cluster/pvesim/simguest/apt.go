package simguest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The packages that the guest's archive has. What they need comes along.
var archive = map[string]struct {
	version string
	kB      int
	needs   []string
}{
	"bash-completion":  {"1:2.11-8", 180, nil},
	"bind9-dnsutils":   {"1:9.18.39-0", 160, []string{"libuv1t64"}},
	"build-essential":  {"12.10", 5, nil},
	"ca-certificates":  {"20240203", 159, nil},
	"cron":             {"3.0pl1-184", 85, nil},
	"curl":             {"8.5.0-2", 227, nil},
	"docker.io":        {"27.5.1-0", 32400, []string{"containerd", "runc"}},
	"containerd":       {"1.7.27-0", 37600, nil},
	"fail2ban":         {"1.0.2-3", 409, nil},
	"git":              {"1:2.43.0-1", 3680, []string{"git-man", "liberror-perl"}},
	"git-man":          {"1:2.43.0-1", 1100, nil},
	"htop":             {"3.3.0-4", 171, []string{"libnl-3-200"}},
	"iproute2":         {"6.1.0-1", 1120, nil},
	"iputils-ping":     {"3:20240117-1", 45, nil},
	"jq":               {"1.7.1-3", 66, []string{"libjq1", "libonig5"}},
	"less":             {"590-2", 142, nil},
	"liberror-perl":    {"0.17029-2", 26, nil},
	"libjq1":           {"1.7.1-3", 141, nil},
	"libnl-3-200":      {"3.7.0-0.3", 56, nil},
	"libnuma1":         {"2.0.18-1", 23, nil},
	"libonig5":         {"6.9.9-1", 172, nil},
	"liburing2":        {"2.5-1", 21, nil},
	"libuv1t64":        {"1.48.0-1", 97, nil},
	"locales":          {"2.39-0", 4230, nil},
	"lsof":             {"4.95.0-1", 247, nil},
	"nano":             {"7.2-2", 282, nil},
	"net-tools":        {"2.10-0.1", 204, nil},
	"nginx":            {"1.24.0-2", 521, []string{"nginx-common"}},
	"nginx-common":     {"1.24.0-2", 44, nil},
	"postgresql":       {"16+257", 12, nil},
	"python3":          {"3.12.3-0", 23, nil},
	"qemu-guest-agent": {"", 0, []string{"libnuma1", "liburing2"}}, // the image's
	"rsync":            {"3.2.7-1", 437, nil},
	"runc":             {"1.3.0-0", 9200, nil},
	"sudo":             {"1.9.15p5-3", 947, nil},
	"tmux":             {"3.4-1", 483, nil},
	"tzdata":           {"2025b-0", 277, nil},
	"unzip":            {"6.0-28", 174, nil},
	"vim":              {"2:9.1.0016-1", 1880, nil},
	"wget":             {"1.21.4-1", 334, nil},
}

// installed are the packages of every image.
var installed = []string{
	"bash-completion", "ca-certificates", "cron", "iproute2", "less", "locales", "nano", "python3", "sudo", "tzdata",
}

const (
	listsFile  = "/var/lib/apt/lists/simulated_InRelease"
	dpkgInfo   = "/var/lib/dpkg/info/"
	pendingUpg = "/var/lib/dpkg/simulated-upgrades"
)

func (g *Guest) packageVersion(name string) string {
	if name == "qemu-guest-agent" {
		return g.image().agent
	}
	return cmp.Or(archive[name].version, "1.0-1")
}

func (g *Guest) hasPackage(name string) bool {
	first := installed
	if g.image().dnf {
		first = dnfInstalled
	}
	return slices.Contains(first, name) && !g.exists(dpkgInfo+name+".removed") || g.exists(dpkgInfo+name+".list")
}

// aptGet is apt-get for one who cannot be asked.
func aptGet(p *proc) int {
	set, rest, ok := p.options("yqo:f", "yes", "quiet", "option:", "no-install-recommends", "with-new-pkgs",
		"purge", "auto-remove", "allow-downgrades")
	if !ok || len(rest) == 0 {
		return p.apt(100, "E: Invalid operation")
	}
	if p.user.uid != root {
		return p.apt(100, "E: Could not open lock file /var/lib/dpkg/lock-frontend - open (13: Permission denied)")
	}
	if status := p.aptLock(set["o"] + "\n" + set["option"]); status != 0 {
		return status
	}
	defer p.guest.aptUnlock()
	yes := has(set, "y", "yes")
	switch verb, names := rest[0], rest[1:]; verb {
	case "update":
		return p.aptUpdate()
	case "install":
		return p.aptInstall(names, yes)
	case "upgrade", "dist-upgrade", "full-upgrade":
		return p.aptUpgrade(yes)
	case "remove", "purge":
		for _, name := range names {
			p.guest.disk.erase(dpkgInfo + name + ".list")
			p.guest.disk.put(dpkgInfo+name+".removed", 0o644, "")
			p.printf("Removing %s (%s) ...\n", name, p.guest.packageVersion(name))
		}
		return 0
	case "autoremove":
		p.printf("0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n")
		return 0
	case "clean", "autoclean":
		return 0
	default:
		return p.apt(100, "E: Invalid operation %s", verb)
	}
}

func (p *proc) apt(status int, format string, a ...any) int {
	fmt.Fprintf(p.err, format+"\n", a...)
	return status
}

// aptLock takes dpkg's lock, waiting as long as DPkg::Lock::Timeout says.
func (p *proc) aptLock(options string) int {
	wait := time.Duration(0)
	for line := range strings.Lines(options) {
		if s, ok := strings.CutPrefix(strings.TrimSpace(line), "DPkg::Lock::Timeout="); ok {
			if d, err := time.ParseDuration(s + "s"); err == nil {
				wait = d
			}
		}
	}
	for until := p.guest.cfg.Clock.Now().Add(wait); ; {
		if p.guest.apting.TryLock() {
			return 0
		}
		if !p.guest.cfg.Clock.Now().Before(until) {
			return p.apt(100, "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 911 (apt-get)")
		}
		if !p.sleep(time.Second) {
			return 143
		}
	}
}

func (g *Guest) aptUnlock() { g.apting.Unlock() }

// spread prints lines over d; false means the program was killed.
func (p *proc) spread(lines []string, d time.Duration) bool {
	for _, line := range lines {
		if !p.sleep(d / time.Duration(len(lines))) {
			return false
		}
		p.printf("%s\n", line)
	}
	return true
}

func (p *proc) aptUpdate() int {
	im, os := p.guest.image(), p.guest.cfg.OS
	var lines []string
	for i, part := range []string{"", "-updates", "-security"} {
		lines = append(lines, fmt.Sprintf("Get:%d http://mirror.example.org/%s %s%s InRelease [126 kB]", i+1, os, im.codename, part))
	}
	for i, part := range []string{"main", "universe", "restricted"} {
		lines = append(lines, fmt.Sprintf("Get:%d http://mirror.example.org/%s %s/%s amd64 Packages [1401 kB]", i+4, os, im.codename, part))
	}
	lines = append(lines, "Fetched 4581 kB in 2s (2105 kB/s)", "Reading package lists...")
	if !p.spread(lines, p.guest.cfg.Init/4) {
		return 143
	}
	p.guest.disk.put(listsFile, 0o644, "")
	return 0
}

func (p *proc) aptInstall(names []string, yes bool) int {
	g := p.guest
	var missing []string
	var want func(name string) bool
	want = func(name string) bool {
		if g.hasPackage(name) || slices.Contains(missing, name) {
			return true
		}
		pkg, ok := archive[name]
		if !ok || !g.exists(listsFile) {
			return false
		}
		for _, need := range pkg.needs {
			if !want(need) {
				return false
			}
		}
		missing = append(missing, name)
		return true
	}
	p.printf("Reading package lists...\nBuilding dependency tree...\nReading state information...\n")
	for _, name := range names {
		present := g.hasPackage(name)
		if !want(name) {
			return p.apt(100, "E: Unable to locate package %s", name)
		}
		if present {
			p.printf("%s is already the newest version (%s).\n", name, g.packageVersion(name))
		}
	}
	if len(missing) > 0 {
		p.printf("The following NEW packages will be installed:\n  %s\n", strings.Join(missing, " "))
	}
	p.printf("0 upgraded, %d newly installed, 0 to remove and 0 not upgraded.\n", len(missing))
	switch {
	case len(missing) == 0:
		return 0
	case !yes:
		p.printf("Do you want to continue? [Y/n] Abort.\n")
		return 1
	}
	var get, unpack, setUp []string
	total := 0
	for i, name := range missing {
		v, kB := g.packageVersion(name), max(archive[name].kB, 90)
		total += kB
		get = append(get, fmt.Sprintf("Get:%d http://mirror.example.org/%s %s/main amd64 %s amd64 %s [%d kB]",
			i+1, g.cfg.OS, g.image().codename, name, v, kB))
		unpack = append(unpack, "Selecting previously unselected package "+name+".",
			fmt.Sprintf("Unpacking %s (%s) ...", name, v))
		setUp = append(setUp, fmt.Sprintf("Setting up %s (%s) ...", name, v))
	}
	get = append(get, fmt.Sprintf("Fetched %d kB in 2s (%d kB/s)", total, total/2))
	quarter := g.cfg.Init / 4
	if !p.spread(get, quarter) || !p.spread(unpack, quarter) {
		return 143
	}
	for i, name := range missing {
		if !p.spread(setUp[i:i+1], quarter/time.Duration(len(missing))) {
			return 143
		}
		g.addPackage(name)
	}
	p.printf("Processing triggers for libc-bin ...\n")
	p.askReboot()
	return 0
}

// addPackage leaves on the disk what dpkg would, and starts the package's unit.
func (g *Guest) addPackage(name string) {
	g.disk.put(dpkgInfo+name+".list", 0o644, "/usr/share/doc/"+name+"\n")
	if slices.Contains([]string{"qemu-guest-agent", "nginx", "fail2ban", "docker.io", "postgresql"}, name) {
		unit := strings.TrimSuffix(name, ".io")
		g.disk.put(unitDir+unit+".service", 0o644, "[Unit]\n")
		g.disk.point(wantsDir+unit+".service", unitDir+unit+".service")
		g.setActive(unit, true)
	}
}

// askReboot leaves the note that update-notifier leaves, once.
func (p *proc) askReboot() {
	const asked = "/var/lib/dpkg/simulated-reboot-asked"
	if p.guest.cfg.RebootRequired && !p.guest.exists(asked) {
		p.guest.disk.put(asked, 0o644, "")
		p.guest.disk.put("/run/reboot-required", 0o644, "*** System restart required ***\n")
		p.guest.disk.put("/run/reboot-required.pkgs", 0o644, "linux-image-"+p.guest.image().kernel+"\n")
	}
}

func (p *proc) aptUpgrade(yes bool) int {
	names := []string{"base-files", "libssl3", "openssh-server", "openssl", "systemd", "tzdata"}
	p.printf("Reading package lists...\nBuilding dependency tree...\nReading state information...\nCalculating upgrade...\n")
	if p.guest.exists(pendingUpg) || !p.guest.exists(listsFile) {
		p.printf("0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n")
		return 0
	}
	p.printf("The following packages will be upgraded:\n  %s\n", strings.Join(names, " "))
	if !yes {
		p.printf("Do you want to continue? [Y/n] Abort.\n")
		return 1
	}
	var lines []string
	for _, verb := range []string{"Unpacking", "Setting up"} {
		for _, name := range names {
			lines = append(lines, verb+" "+name+" ...")
		}
	}
	if !p.spread(lines, p.guest.cfg.Init/2) {
		return 143
	}
	p.guest.disk.put(pendingUpg, 0o644, "")
	p.askReboot()
	return 0
}

// dpkg knows -s NAME, and --configure -a.
func dpkg(p *proc) int {
	set, names, ok := p.options("sa", "status", "configure", "print-architecture")
	switch {
	case !ok:
		return 2
	case has(set, "print-architecture"):
		p.printf("amd64\n")
		return 0
	case has(set, "configure"):
		return 0
	}
	status := 0
	for _, name := range names {
		if !p.guest.hasPackage(name) {
			fmt.Fprintf(p.err, "dpkg-query: package '%s' is not installed and no information is available\n", name)
			status = 1
			continue
		}
		p.printf("Package: %s\nStatus: install ok installed\nVersion: %s\n", name, p.guest.packageVersion(name))
	}
	return status
}

// dpkgQuery knows -W -f FORMAT NAME, with Package, Version and Status.
func dpkgQuery(p *proc) int {
	set, names, ok := p.options("Wf:", "show", "showformat:")
	if !ok {
		return 2
	}
	format := cmp.Or(set["f"]+set["showformat"], `${Package}\t${Version}\n`)
	status := 0
	for _, name := range names {
		if !p.guest.hasPackage(name) {
			fmt.Fprintf(p.err, "dpkg-query: no packages found matching %s\n", name)
			status = 1
			continue
		}
		p.printf("%s", strings.NewReplacer("${Package}", name, "${Version}", p.guest.packageVersion(name),
			"${Status}", "install ok installed", "${db:Status-Status}", "installed", `\n`, "\n", `\t`, "\t").Replace(format))
	}
	return status
}
