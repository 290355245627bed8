package simguest

import (
	"fmt"
	"strings"
	"time"

	"mvdan.cc/sh/v3/syntax"
)

// programs are all that the guest can run.
var programs map[string]func(*proc) int

func init() { // not a literal: sudo and env look programs up themselves
	programs = map[string]func(*proc) int{
		"bash": bash, "sh": bash, "sudo": sudo, "env": env,

		"cat": cat, "tee": tee, "head": head, "tail": tail, "grep": grep, "wc": wc, "ls": ls,
		"mkdir": mkdir, "rm": rm, "mv": mv, "cp": cp, "install": install, "touch": touch, "ln": ln,
		"chmod": chmod, "chown": chown, "readlink": readlink, "stat": stat, "mktemp": mktemp,
		"basename": basename, "dirname": dirname,

		"fallocate": fallocate, "dd": dd, "mkswap": mkswap, "swapon": swapon, "swapoff": swapoff,

		"apt-get": aptGet, "dpkg": dpkg, "dpkg-query": dpkgQuery, "dnf": dnf,

		"id": id, "whoami": whoami, "uname": uname, "hostname": hostname, "hostnamectl": hostname,
		"date": date, "sleep": sleep, "uptime": uptime, "nproc": nproc,
		"systemctl": systemctl, "sysctl": sysctl, "timedatectl": timedatectl, "localectl": localectl,
		"locale-gen": localeGen, "update-locale": updateLocale, "locale": locale, "chpasswd": chpasswd,
		"cloud-init": cloudInit, "setsid": setsid, "systemd-run": systemdRun, "kill": kill,
		"reboot": reboot, "poweroff": reboot, "halt": reboot, "shutdown": reboot,
	}
}

// options reads p.args as getopt(3) does. Short is a list of letters, long of
// names; either takes a value if a colon follows. A long one given with its
// value as --name=value is known by its name.
func (p *proc) options(short string, long ...string) (set map[string]string, rest []string, ok bool) {
	set = map[string]string{}
	args := p.args[1:]
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			return set, append(rest, args...), true
		case strings.HasPrefix(arg, "--"):
			name, value, given := strings.Cut(arg[2:], "=")
			takes, known := false, false
			for _, l := range long {
				if strings.TrimSuffix(l, ":") == name {
					takes, known = strings.HasSuffix(l, ":"), true
				}
			}
			if takes && !given && len(args) > 0 {
				value, args, given = args[0], args[1:], true
			}
			if !known || takes != given {
				p.complain("unrecognized option '--%s'", name)
				return nil, nil, false
			}
			set[name] = again(set, name, value)
		case len(arg) > 1 && arg[0] == '-':
			for i := 1; i < len(arg); i++ {
				letter := arg[i : i+1]
				at := strings.Index(short, letter)
				if at < 0 || letter == ":" {
					p.complain("invalid option -- '%s'", letter)
					return nil, nil, false
				}
				if _, seen := set[letter]; !seen {
					set[letter] = ""
				}
				if at+1 == len(short) || short[at+1] != ':' {
					continue
				}
				value := arg[i+1:]
				if value == "" {
					if len(args) == 0 {
						p.complain("option requires an argument -- '%s'", letter)
						return nil, nil, false
					}
					value, args = args[0], args[1:]
				}
				set[letter] = again(set, letter, value)
				break
			}
		default:
			rest = append(rest, arg)
		}
	}
	return set, rest, true
}

// again joins the values of an option that is given more than once.
func again(set map[string]string, name, value string) string {
	if before := set[name]; before != "" {
		return before + "\n" + value
	}
	return value
}

func has(set map[string]string, names ...string) bool {
	for _, n := range names {
		if _, ok := set[n]; ok {
			return true
		}
	}
	return false
}

// bash and sh: -s, -c, or a file.
func bash(p *proc) int {
	args := p.args[1:]
	var options []string
	command, stdin := false, false
	for len(args) > 0 && strings.HasPrefix(args[0], "-") && args[0] != "-" {
		if args[0] == "--" {
			args = args[1:]
			break
		}
		for _, letter := range args[0][1:] {
			switch letter {
			case 'c':
				command = true
			case 's':
				stdin = true
			case 'l':
			case 'e', 'u', 'x', 'n', 'f':
				options = append(options, "-"+string(letter))
			default:
				return p.fail(2, "-%c: invalid option", letter)
			}
		}
		args = args[1:]
	}
	lang := syntax.LangBash
	if strings.HasSuffix(p.args[0], "sh") && !strings.HasSuffix(p.args[0], "bash") {
		lang = syntax.LangPOSIX
	}
	switch {
	case command:
		if len(args) == 0 {
			return p.fail(2, "-c: option requires an argument")
		}
		if len(args) > 1 {
			p.zero = args[1]
		}
		return p.shell(lang, strings.NewReader(args[0]+"\n"), args[min(len(args), 2):], options...)
	case stdin || len(args) == 0:
		script := p.in
		p.in = nil // the script is what came in; its commands find nothing more
		return p.shell(lang, script, args, options...)
	default:
		script, err := p.guest.disk.open(p.abs(args[0]), 0, 0, p.user.uid)
		if err != nil {
			return p.fail(127, "%s: %v", args[0], reason(err))
		}
		p.zero = args[0]
		return p.shell(lang, script, args[1:], options...)
	}
}

// sudo lets the guest's user do everything, in a fresh environment.
func sudo(p *proc) int {
	as, args := "root", p.args[1:]
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		flag := args[0]
		args = args[1:]
		switch flag {
		case "-n", "-H", "-E":
			continue
		case "-u":
			if len(args) == 0 {
				return p.complain("option requires an argument -- 'u'")
			}
			as, args = args[0], args[1:]
			continue
		case "--":
		default:
			return p.complain("unrecognized option '%s'", flag)
		}
		break
	}
	if as != "root" && as != p.guest.cfg.User {
		return p.complain("unknown user %s", as)
	}
	child := p.with(nil)
	child.user = account(as)
	child.env = append(child.user.environ(), "SUDO_USER="+p.user.name)
	for len(args) > 0 && strings.Contains(args[0], "=") {
		child.env, args = append(child.env, args[0]), args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(p.err, "usage: sudo [-nHE] [-u user] [VAR=value] command [arg ...]")
		return 1
	}
	child.args = args
	if !strings.Contains(args[0], "/") && p.guest.program(args[0]) == nil {
		return p.complain("%s: command not found", args[0])
	}
	return child.run()
}

func env(p *proc) int {
	child, args := p.with(nil), p.args[1:]
	for len(args) > 0 && (args[0] == "-i" || strings.Contains(args[0], "=")) {
		if args[0] == "-i" {
			child.env = nil
		} else {
			child.env = append(child.env[:len(child.env):len(child.env)], args[0])
		}
		args = args[1:]
	}
	if len(args) > 0 {
		child.args = args
		return child.run()
	}
	for _, v := range child.env {
		if !ours(v) {
			p.printf("%s\n", v)
		}
	}
	return 0
}

func id(p *proc) int {
	switch strings.Join(p.args[1:], " ") {
	case "-u", "-g":
		p.printf("%d\n", p.user.uid)
	case "-un", "-u -n", "-gn":
		p.printf("%s\n", p.user.name)
	default:
		p.printf("uid=%d(%s) gid=%[1]d(%[2]s) groups=%[1]d(%[2]s)\n", p.user.uid, p.user.name)
	}
	return 0
}

func whoami(p *proc) int {
	p.printf("%s\n", p.user.name)
	return 0
}

func sleep(p *proc) int {
	for _, arg := range p.args[1:] {
		d, err := time.ParseDuration(arg)
		if err != nil {
			d, err = time.ParseDuration(arg + "s")
		}
		if err != nil {
			return p.complain("invalid time interval '%s'", arg)
		}
		if !p.sleep(d) {
			return 143
		}
	}
	return 0
}

// date knows the formats that logs use.
func date(p *proc) int {
	now := p.guest.cfg.Clock.Now().UTC()
	format := "%a %b %e %H:%M:%S UTC %Y"
	for _, arg := range p.args[1:] {
		switch {
		case strings.HasPrefix(arg, "+"):
			format = arg[1:]
		case arg == "-u", arg == "--utc":
		default:
			return p.complain("invalid option '%s'", arg)
		}
	}
	p.printf("%s\n", strings.NewReplacer(
		"%a", now.Format("Mon"), "%b", now.Format("Jan"), "%e", now.Format("_2"), "%d", now.Format("02"),
		"%m", now.Format("01"), "%Y", now.Format("2006"), "%H", now.Format("15"), "%M", now.Format("04"),
		"%S", now.Format("05"), "%F", now.Format("2006-01-02"), "%T", now.Format("15:04:05"),
		"%s", fmt.Sprint(now.Unix()), "%%", "%",
	).Replace(format))
	return 0
}

// reboot, poweroff, halt and shutdown take the connection with them.
func reboot(p *proc) int {
	if p.user.uid != root {
		return p.complain("Interactive authentication required.")
	}
	off := p.args[0] == "poweroff" || p.args[0] == "halt"
	if strings.HasSuffix(p.args[0], "shutdown") {
		off = true
		for _, arg := range p.args[1:] {
			off = off && arg != "-r" && arg != "--reboot"
		}
	}
	if off {
		p.guest.powerOffItself()
	} else {
		p.guest.rebootItself()
	}
	return 0
}
