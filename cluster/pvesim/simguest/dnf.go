package simguest

import (
	"fmt"
	"slices"
	"strings"
)

// What is called otherwise than by Debian, and comes with every image.
var (
	dnfOnly      = []string{"bind-utils", "dnf-plugins-core", "tar", "vim-enhanced", "glibc-langpack-de", "glibc-langpack-en", "glibc-langpack-zh"}
	dnfMissing   = []string{"build-essential", "bind9-dnsutils", "docker.io", "htop", "locales", "vim"} // htop is EPEL's
	dnfInstalled = []string{"bash-completion", "ca-certificates", "curl", "dnf-plugins-core", "glibc-langpack-en", "less", "python3", "sudo", "tar", "tzdata"}
)

// dnfPackage is the package that a word stands for, "" when there is none.
func dnfPackage(word string) string {
	name := strings.TrimPrefix(word, "/usr/bin/")
	_, known := archive[name]
	if slices.Contains(dnfOnly, name) || known && !slices.Contains(dnfMissing, name) {
		return name
	}
	return ""
}

// dnf is dnf for one who cannot be asked.
func dnf(p *proc) int {
	set, rest, ok := p.options("yqr", "assumeyes", "quiet", "refresh", "setopt:", "reboothint")
	if !ok || len(rest) == 0 {
		return p.complain("error: the following arguments are required: command")
	}
	g, verb, names := p.guest, rest[0], rest[1:]
	if verb == "needs-restarting" {
		return p.dnfNeedsRestarting()
	}
	if p.user.uid != root {
		fmt.Fprintln(p.err, "Error: This command has to be run with superuser privileges (under the root user on most systems).")
		return 1
	}
	g.apting.Lock() // dnf waits for as long as it takes
	defer g.apting.Unlock()
	switch verb {
	case "makecache":
		if !p.spread([]string{"BaseOS 2.1 MB/s | 2.3 MB 00:01", "AppStream 4.4 MB/s | 7.5 MB 00:01", "Metadata cache created."}, g.cfg.Init/4) {
			return 143
		}
		g.disk.put(listsFile, 0o644, "")
		return 0
	case "install":
		return p.dnfInstall(names, has(set, "y", "assumeyes"))
	case "upgrade", "update":
		return p.dnfUpgrade()
	case "clean":
		p.printf("0 files removed\n")
		return 0
	default:
		fmt.Fprintf(p.err, "No such command: %s. Please use /usr/bin/dnf --help\n", verb)
		return 1
	}
}

func (p *proc) dnfInstall(names []string, yes bool) int {
	g := p.guest
	var missing []string
	for _, word := range names {
		name := dnfPackage(word)
		switch {
		case name == "":
			p.printf("No match for argument: %s\n", word)
			fmt.Fprintf(p.err, "Error: Unable to find a match: %s\n", word)
			return 1
		case g.hasPackage(name):
			p.printf("Package %s-%s is already installed.\n", name, g.packageVersion(name))
		default:
			missing = append(missing, name)
		}
	}
	switch {
	case len(missing) == 0:
		p.printf("Dependencies resolved.\nNothing to do.\nComplete!\n")
		return 0
	case !yes:
		p.printf("Is this ok [y/N]: Operation aborted.\n")
		return 1
	}
	lines := []string{"Dependencies resolved.", "Downloading Packages:", "Running transaction"}
	for i, name := range missing {
		lines = append(lines, fmt.Sprintf("  Installing       : %s-%s %d/%d", name, g.packageVersion(name), i+1, len(missing)))
	}
	if !p.spread(append(lines, "Complete!"), g.cfg.Init/2) {
		return 143
	}
	for _, name := range missing {
		g.addPackage(name)
		if language, ok := strings.CutPrefix(name, "glibc-langpack-"); ok {
			g.addLocales(language)
		}
	}
	p.askReboot()
	return 0
}

func (p *proc) dnfUpgrade() int {
	p.printf("Dependencies resolved.\n")
	if p.guest.exists(pendingUpg) {
		p.printf("Nothing to do.\nComplete!\n")
		return 0
	}
	if !p.spread([]string{"  Upgrading        : openssl-libs", "  Upgrading        : systemd", "Complete!"}, p.guest.cfg.Init/4) {
		return 143
	}
	p.guest.disk.put(pendingUpg, 0o644, "")
	p.askReboot()
	return 0
}

// dnfNeedsRestarting tells with its status whether a reboot is due.
func (p *proc) dnfNeedsRestarting() int {
	switch {
	case !p.guest.hasPackage("dnf-plugins-core"):
		fmt.Fprintln(p.err, "No such command: needs-restarting. Please use /usr/bin/dnf --help")
		return 1
	case p.guest.exists("/run/reboot-required"):
		p.printf("Core libraries or services have been updated since boot-up:\n  * kernel\n\nReboot is required to fully utilize these updates.\n")
		return 1
	}
	p.printf("No core libraries or services have been updated since boot-up.\nReboot should not be necessary.\n")
	return 0
}

// addLocales makes the locales of a language as its package brings them.
func (g *Guest) addLocales(language string) {
	for _, l := range supportedLocales {
		if strings.HasPrefix(l, language+"_") {
			g.disk.put("/usr/lib/locale/"+l, 0o644, "")
		}
	}
}
