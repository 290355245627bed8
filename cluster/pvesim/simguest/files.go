package simguest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"syscall"
)

// title is err in libc's spelling.
func title(err error) string {
	s := err.Error()
	return strings.ToUpper(s[:1]) + s[1:]
}

// only reports the error of one operation on one file.
func (p *proc) only(what, name string, err error) int {
	if err != nil {
		return p.complain("%s '%s': %s", what, name, title(reason(err)))
	}
	return 0
}

func ls(p *proc) int {
	_, names, ok := p.options("1al")
	if !ok {
		return 2
	}
	if len(names) == 0 {
		names = []string{p.dir}
	}
	status := 0
	for _, name := range names {
		entries, err := p.guest.disk.list(p.abs(name))
		if errors.Is(err, syscall.ENOTDIR) {
			p.printf("%s\n", name)
			continue
		}
		if err != nil {
			status = p.only("cannot access", name, err)
		}
		for _, e := range entries {
			p.printf("%s\n", e.Name())
		}
	}
	return status
}

func mkdir(p *proc) int {
	set, names, ok := p.options("pm:", "parents", "mode:")
	mode, err := octal(set, masked(p.env, 0o777))
	if !ok || err != nil {
		return 1
	}
	status := 0
	for _, name := range names {
		status = max(status, p.only("cannot create directory", name, p.mkdirs(p.abs(name), mode, has(set, "p", "parents"))))
	}
	return status
}

func (p *proc) mkdirs(name string, mode fs.FileMode, parents bool) error {
	if parents {
		if i, err := p.guest.disk.stat(name, true); err == nil && i.IsDir() {
			return nil
		}
		if err := p.mkdirs(path.Dir(name), masked(p.env, 0o777), true); err != nil {
			return err
		}
	}
	return p.guest.disk.mkdir(name, mode, p.user.uid)
}

func octal(set map[string]string, standard fs.FileMode) (fs.FileMode, error) {
	s := set["m"] + set["mode"]
	if s == "" {
		return standard, nil
	}
	n, err := strconv.ParseUint(s, 8, 12)
	return fs.FileMode(n), err
}

func rm(p *proc) int {
	set, names, ok := p.options("rRfv", "recursive", "force")
	if !ok {
		return 1
	}
	status := 0
	for _, name := range names {
		err := p.guest.disk.remove(p.abs(name), has(set, "r", "R", "recursive"), p.user.uid)
		if errors.Is(err, fs.ErrNotExist) && has(set, "f", "force") {
			continue
		}
		status = max(status, p.only("cannot remove", name, err))
	}
	return status
}

// into is the path that a file gets when it is put at to, which may be a
// directory.
func (p *proc) into(from, to string, plain bool) string {
	to = p.abs(to)
	if i, err := p.guest.disk.stat(to, true); err == nil && i.IsDir() && !plain {
		return path.Join(to, path.Base(from))
	}
	return to
}

func mv(p *proc) int {
	set, names, ok := p.options("fT")
	if !ok || len(names) != 2 {
		return p.complain("needs a source and a destination")
	}
	return p.only("cannot move", names[0],
		p.guest.disk.rename(p.abs(names[0]), p.into(names[0], names[1], has(set, "T")), p.user.uid))
}

func (p *proc) copy(from, to string, mode fs.FileMode) error {
	src := p.in
	if from != "/dev/stdin" {
		h, err := p.guest.disk.open(p.abs(from), 0, 0, p.user.uid)
		if err != nil {
			return err
		}
		if i, err := p.guest.disk.stat(p.abs(from), true); err == nil && mode == 0 {
			mode = i.Mode()
		}
		src = h
	}
	data, err := io.ReadAll(src)
	if err != nil {
		return err
	}
	h, err := p.guest.disk.open(to, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_TRUNC, mode, p.user.uid)
	if err == nil {
		_, err = h.Write(data)
	}
	return err
}

func cp(p *proc) int {
	_, names, ok := p.options("pfa")
	if !ok || len(names) != 2 {
		return p.complain("needs a source and a destination")
	}
	return p.only("cannot copy", names[0], p.copy(names[0], p.into(names[0], names[1], false), 0))
}

func install(p *proc) int {
	set, names, ok := p.options("dDm:o:g:", "mode:", "directory")
	mode, err := octal(set, 0o755)
	if !ok || err != nil {
		return 1
	}
	if has(set, "d", "directory") {
		status := 0
		for _, name := range names {
			if err := p.mkdirs(p.abs(name), mode, true); err != nil {
				status = p.only("cannot create directory", name, err)
				continue
			}
			err := p.guest.disk.change(p.abs(name), p.user.uid, func(n *inode) { n.mode = fs.ModeDir | mode })
			status = max(status, p.only("cannot change", name, err))
		}
		return status
	}
	if len(names) != 2 {
		return p.complain("needs a source and a destination")
	}
	to := p.into(names[0], names[1], false)
	if has(set, "D") {
		if err := p.mkdirs(path.Dir(to), 0o755, true); err != nil {
			return p.only("cannot create directory", path.Dir(to), err)
		}
	}
	if err := p.copy(names[0], to, mode); err != nil {
		return p.only("cannot install", names[0], err)
	}
	return p.only("cannot change", to, p.guest.disk.change(to, p.user.uid, func(n *inode) { n.mode = mode }))
}

func touch(p *proc) int {
	_, names, ok := p.options("")
	if !ok {
		return 1
	}
	status := 0
	for _, name := range names {
		_, err := p.guest.disk.open(p.abs(name), syscall.O_WRONLY|syscall.O_CREAT, masked(p.env, 0o666), p.user.uid)
		if err == nil {
			err = p.guest.disk.change(p.abs(name), p.user.uid, func(n *inode) { n.mtime = p.guest.cfg.Clock.Now() })
		}
		status = max(status, p.only("cannot touch", name, err))
	}
	return status
}

func ln(p *proc) int {
	set, names, ok := p.options("sfnT")
	if !ok || len(names) != 2 || !has(set, "s") {
		return p.complain("makes one symbolic link: ln -s TARGET NAME")
	}
	name := p.into(names[0], names[1], has(set, "n", "T"))
	if has(set, "f") {
		if err := p.guest.disk.remove(name, false, p.user.uid); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return p.only("cannot remove", name, err)
		}
	}
	return p.only("failed to create symbolic link", names[1], p.guest.disk.link(names[0], name, p.user.uid))
}

func chmod(p *proc) int {
	_, rest, ok := p.options("R")
	if !ok || len(rest) < 2 {
		return p.complain("missing operand")
	}
	mode, err := octal(map[string]string{"m": rest[0]}, 0)
	if err != nil {
		return p.complain("invalid mode: '%s'", rest[0])
	}
	status := 0
	for _, name := range rest[1:] {
		err := p.guest.disk.change(p.abs(name), p.user.uid, func(n *inode) { n.mode = n.mode.Type() | mode })
		status = max(status, p.only("cannot access", name, err))
	}
	return status
}

func chown(p *proc) int {
	_, rest, ok := p.options("R")
	if !ok || len(rest) < 2 {
		return p.complain("missing operand")
	}
	if p.user.uid != root {
		return p.complain("changing ownership of '%s': Operation not permitted", rest[1])
	}
	owner, _, _ := strings.Cut(rest[0], ":")
	status := 0
	for _, name := range rest[1:] {
		err := p.guest.disk.change(p.abs(name), root, func(n *inode) { n.uid = account(owner).uid })
		status = max(status, p.only("cannot access", name, err))
	}
	return status
}

func readlink(p *proc) int {
	set, names, ok := p.options("f")
	if !ok || len(names) != 1 {
		return 1
	}
	if has(set, "f") {
		at, err := p.guest.disk.real(p.abs(names[0]))
		if err != nil {
			return 1
		}
		p.printf("%s\n", at)
		return 0
	}
	i, err := p.guest.disk.stat(p.abs(names[0]), false)
	if err != nil || i.Mode()&fs.ModeSymlink == 0 {
		return 1
	}
	p.printf("%s\n", i.(info).node.target)
	return 0
}

func stat(p *proc) int {
	set, names, ok := p.options("c:L", "format:")
	if !ok {
		return 1
	}
	format := set["c"] + set["format"]
	if format == "" {
		format = "%n: %s bytes, mode %a, owner %U"
	}
	status := 0
	for _, name := range names {
		i, err := p.guest.disk.stat(p.abs(name), has(set, "L"))
		if err != nil {
			status = p.complain("cannot statx '%s': %s", name, title(reason(err)))
			continue
		}
		owner := "root"
		if i.(info).node.uid != root {
			owner = p.guest.cfg.User
		}
		p.printf("%s\n", strings.NewReplacer("%n", name, "%s", fmt.Sprint(i.Size()),
			"%a", fmt.Sprintf("%o", i.Mode().Perm()), "%U", owner, "%u", fmt.Sprint(i.(info).node.uid),
			"%Y", fmt.Sprint(i.ModTime().Unix())).Replace(format))
	}
	return status
}

func mktemp(p *proc) int {
	name := "/tmp/tmp." + newUUID()[:10]
	if _, err := p.guest.disk.open(name, syscall.O_WRONLY|syscall.O_CREAT, 0o600, p.user.uid); err != nil {
		return p.only("failed to create file", name, err)
	}
	p.printf("%s\n", name)
	return 0
}

func basename(p *proc) int { p.printf("%s\n", path.Base(p.args[len(p.args)-1])); return 0 }
func dirname(p *proc) int  { p.printf("%s\n", path.Dir(p.args[len(p.args)-1])); return 0 }
