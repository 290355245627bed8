package simguest

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"
)

const (
	unitDir  = "/usr/lib/systemd/system/"
	wantsDir = "/etc/systemd/system/multi-user.target.wants/"
)

func (g *Guest) exists(name string) bool {
	_, err := g.disk.stat(name, true)
	return err == nil
}

// systemctl knows the units whose files are on the disk.
func systemctl(p *proc) int {
	set, rest, ok := p.options("q", "now", "quiet", "no-block", "no-pager", "system")
	if !ok || len(rest) == 0 {
		return 1
	}
	g, verb, status := p.guest, rest[0], 0
	switch verb {
	case "daemon-reload":
		return 0
	case "reboot", "poweroff", "halt":
		return reboot(p.with(rest[:1]))
	case "is-system-running":
		p.printf("running\n")
		return 0
	}
	for _, name := range rest[1:] {
		name = strings.TrimSuffix(name, ".service")
		unit := name + ".service"
		switch verb {
		case "is-active", "is-enabled":
			word, code := "inactive", 3
			if verb == "is-active" && g.active(name) {
				word, code = "active", 0
			} else if verb == "is-enabled" {
				word, code = "disabled", 1
				if g.exists(wantsDir + unit) {
					word, code = "enabled", 0
				}
			}
			if !has(set, "q", "quiet") {
				p.printf("%s\n", word)
			}
			status = max(status, code)
			continue
		}
		if p.user.uid != root {
			return p.complain("Failed to %s %s: Interactive authentication required.", verb, unit)
		}
		if !g.exists(unitDir + unit) {
			fmt.Fprintf(p.err, "Failed to %s %s: Unit %s not found.\n", verb, unit, unit)
			status = 5
			continue
		}
		switch verb {
		case "enable":
			if !g.exists(wantsDir + unit) {
				g.disk.point(wantsDir+unit, unitDir+unit)
				fmt.Fprintf(p.err, "Created symlink %s%s -> %s%s.\n", wantsDir, unit, unitDir, unit)
			}
			if has(set, "now") {
				g.setActive(name, true)
			}
		case "disable":
			g.disk.erase(wantsDir + unit)
			if has(set, "now") {
				g.setActive(name, false)
			}
		case "start", "restart", "reload", "try-restart":
			g.setActive(name, true)
		case "stop":
			g.setActive(name, false)
		default:
			return p.complain("Unknown command verb '%s'.", verb)
		}
	}
	return status
}

func (g *Guest) setActive(unit string, on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.started[unit] = on
}

// sysctl sets names and reads them back, one at a time or from a file.
func sysctl(p *proc) int {
	set, rest, ok := p.options("qwnp:e", "quiet", "load:", "system", "write", "values")
	if !ok {
		return 1
	}
	if p.user.uid != root {
		return p.complain("permission denied")
	}
	assign := rest
	if file := set["p"] + set["load"]; file != "" {
		if !p.guest.exists(p.abs(file)) {
			return p.complain("cannot open \"%s\": No such file or directory", file)
		}
		assign = p.guest.assignments(p.abs(file))
	}
	for _, a := range assign {
		name, value, given := strings.Cut(a, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if value, ok = p.guest.sysctl(name, value, given); !ok {
			return p.complain("cannot stat /proc/sys/%s: No such file or directory", strings.ReplaceAll(name, ".", "/"))
		}
		if !has(set, "q", "quiet") {
			p.printf("%s = %s\n", name, value)
		}
	}
	return 0
}

// sysctl returns the value of a kernel option, after setting it if asked to.
func (g *Guest) sysctl(name, value string, set bool) (string, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if set {
		g.sysctls[name] = value
	}
	value, ok := g.sysctls[name]
	return value, ok
}

// assignments are the lines of a sysctl file that say something.
func (g *Guest) assignments(name string) []string {
	var out []string
	for _, fields := range g.fields(name) {
		if len(fields) > 0 && !strings.HasPrefix(fields[0], "#") {
			out = append(out, strings.Join(fields, " "))
		}
	}
	return out
}

func timedatectl(p *proc) int {
	_, rest, ok := p.options("", "no-ask-password")
	switch {
	case !ok:
		return 1
	case len(rest) == 2 && rest[0] == "set-timezone":
		if !p.guest.exists(zoneDir + rest[1]) {
			fmt.Fprintf(p.err, "Failed to set time zone: Invalid or not installed time zone '%s'\n", rest[1])
			return 1
		}
		if p.user.uid != root {
			fmt.Fprintln(p.err, "Failed to set time zone: Interactive authentication required.")
			return 1
		}
		p.guest.disk.point("/etc/localtime", zoneDir+rest[1])
		return 0
	}
	zone, _ := p.guest.disk.real("/etc/localtime")
	p.printf("                Time zone: %s\n", strings.TrimPrefix(zone, zoneDir))
	return 0
}

const zoneDir = "/usr/share/zoneinfo/"

func localectl(p *proc) int {
	data, _ := p.guest.disk.read("/etc/default/locale")
	p.printf("System Locale: %s\n", strings.TrimSpace(string(data)))
	return 0
}

// localeGen makes the locales that /etc/locale.gen names.
func localeGen(p *proc) int {
	if p.user.uid != root {
		return p.complain("cannot write /usr/lib/locale: Permission denied")
	}
	p.printf("Generating locales (this might take a while)...\n")
	for _, f := range p.guest.fields("/etc/locale.gen") {
		if len(f) != 2 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if !strings.Contains(f[0], "_") || f[1] != "UTF-8" {
			p.printf("  %s... cannot open locale definition file\n", f[0])
			return 1
		}
		p.printf("  %s... done\n", f[0])
		p.guest.disk.put("/usr/lib/locale/"+f[0], 0o644, "")
	}
	p.printf("Generation complete.\n")
	return 0
}

func updateLocale(p *proc) int {
	for _, a := range p.args[1:] {
		name, value, _ := strings.Cut(a, "=")
		if name != "LANG" {
			continue
		}
		if value != "C.UTF-8" && !p.guest.exists("/usr/lib/locale/"+value) {
			fmt.Fprintf(p.err, "*** %s: Error: invalid locale settings: LANG=%s\n", path.Base(p.args[0]), value)
			return 1
		}
		p.guest.disk.put("/etc/default/locale", 0o644, a+"\n")
	}
	return 0
}

// locale -a lists the locales that there are, as glibc spells them.
func locale(p *proc) int {
	set, _, ok := p.options("a", "all-locales")
	if !ok || !has(set, "a", "all-locales") {
		return localectl(p)
	}
	names := []string{"C", "C.utf8", "POSIX"}
	entries, _ := p.guest.disk.list("/usr/lib/locale")
	for _, e := range entries {
		names = append(names, strings.Replace(e.Name(), "UTF-8", "utf8", 1))
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		p.printf("%s\n", name)
	}
	return 0
}

// chpasswd -e takes lines USER:HASH.
func chpasswd(p *proc) int {
	set, _, ok := p.options("e", "encrypted")
	if !ok || !has(set, "e", "encrypted") {
		return p.complain("only takes passwords that are hashed")
	}
	if p.user.uid != root {
		return p.complain("cannot lock /etc/passwd; try again later.")
	}
	in, err := io.ReadAll(p.in)
	shadow, rerr := p.guest.disk.read("/etc/shadow")
	if err != nil || rerr != nil {
		return p.complain("cannot open /etc/shadow")
	}
	lines := strings.Split(string(shadow), "\n")
	for line := range strings.Lines(string(in)) {
		name, hash, _ := strings.Cut(strings.TrimSpace(line), ":")
		i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, name+":") })
		if i < 0 {
			return p.complain("line 1: user '%s' does not exist", name)
		}
		fields := strings.SplitN(lines[i], ":", 3)
		lines[i] = fields[0] + ":" + hash + ":" + fields[2]
	}
	p.guest.disk.put("/etc/shadow", 0o640, strings.Join(lines, "\n"))
	return 0
}

func hostname(p *proc) int {
	data, _ := p.guest.disk.read("/etc/hostname")
	p.printf("%s\n", strings.TrimSpace(string(data)))
	return 0
}

func uname(p *proc) int {
	set, _, ok := p.options("asnrvm")
	if !ok {
		return 1
	}
	switch release := p.guest.image().kernel; {
	case has(set, "a"):
		p.printf("Linux %s %s #1 SMP x86_64 GNU/Linux\n", p.guest.cfg.Hostname, release)
	case has(set, "r"):
		p.printf("%s\n", release)
	case has(set, "n"):
		p.printf("%s\n", p.guest.cfg.Hostname)
	case has(set, "m"):
		p.printf("x86_64\n")
	default:
		p.printf("Linux\n")
	}
	return 0
}

func uptime(p *proc) int {
	p.printf("up %s\n", p.guest.uptime().Round(time.Second))
	return 0
}

func (g *Guest) uptime() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cfg.Clock.Now().Sub(g.since)
}

func nproc(p *proc) int { p.printf("2\n"); return 0 }
