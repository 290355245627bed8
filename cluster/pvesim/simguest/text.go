package simguest

import (
	"bytes"
	"io"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// each runs do on every file named (standard input when there is none, or -).
func (p *proc) each(names []string, do func(name string, r io.Reader) error) int {
	if len(names) == 0 {
		names = []string{"-"}
	}
	status := 0
	for _, name := range names {
		r := p.in
		if name != "-" {
			h, err := p.guest.disk.open(p.abs(name), 0, 0, p.user.uid)
			if err != nil {
				status = p.complain("%s: %v", name, title(reason(err)))
				continue
			}
			r = h
		}
		if r == nil {
			continue
		}
		if err := do(name, r); err != nil {
			status = p.complain("%s: %v", name, title(reason(err)))
		}
	}
	return status
}

func cat(p *proc) int {
	_, names, ok := p.options("")
	if !ok {
		return 1
	}
	return p.each(names, func(_ string, r io.Reader) error { _, err := io.Copy(p.out, r); return err })
}

func tee(p *proc) int {
	set, names, ok := p.options("a")
	if !ok {
		return 1
	}
	flag := syscall.O_WRONLY | syscall.O_CREAT | syscall.O_TRUNC
	if has(set, "a") {
		flag = syscall.O_WRONLY | syscall.O_CREAT | syscall.O_APPEND
	}
	outs, status := []io.Writer{p.out}, 0
	for _, name := range names {
		h, err := p.guest.disk.open(p.abs(name), flag, 0o666, p.user.uid)
		if err != nil {
			status = p.complain("%s: %s", name, title(reason(err)))
			continue
		}
		outs = append(outs, h)
	}
	if _, err := io.Copy(io.MultiWriter(outs...), p.in); err != nil {
		return p.complain("%v", err)
	}
	return status
}

// lines are the lines of r, without their endings.
func lines(r io.Reader) ([]string, error) {
	data, err := io.ReadAll(r)
	if len(data) == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n"), err
}

func head(p *proc) int {
	return ends(p, func(all []string, n int) []string { return all[:min(n, len(all))] })
}
func tail(p *proc) int {
	return ends(p, func(all []string, n int) []string { return all[max(0, len(all)-n):] })
}

func ends(p *proc, cut func([]string, int) []string) int {
	set, names, ok := p.options("n:c:")
	if has(set, "c") {
		return countBytes(p, set["c"], names)
	}
	n, err := 10, error(nil)
	if has(set, "n") {
		n, err = strconv.Atoi(set["n"])
	}
	if !ok || err != nil || n < 0 {
		return 1
	}
	return p.each(names, func(_ string, r io.Reader) error {
		all, err := lines(r)
		for _, line := range cut(all, n) {
			p.printf("%s\n", line)
		}
		return err
	})
}

// countBytes is head -c N and tail -c +N.
func countBytes(p *proc, count string, names []string) int {
	from, fromStart := strings.CutPrefix(count, "+")
	n, err := strconv.Atoi(from)
	if err != nil || n < 0 || fromStart != (p.args[0] == "tail") {
		return p.complain("invalid number of bytes: '%s'", count)
	}
	return p.each(names, func(_ string, r io.Reader) error {
		if fromStart {
			if _, err := io.CopyN(io.Discard, r, int64(max(n, 1)-1)); err != nil && err != io.EOF {
				return err
			}
			_, err := io.Copy(p.out, r)
			return err
		}
		if _, err := io.CopyN(p.out, r, int64(n)); err != nil && err != io.EOF {
			return err
		}
		return nil
	})
}

// grep takes every pattern for an extended one.
func grep(p *proc) int {
	set, rest, ok := p.options("qisvxFEce:", "quiet", "fixed-strings")
	if pattern, given := set["e"]; given {
		rest = append([]string{pattern}, rest...)
	}
	if !ok || len(rest) == 0 {
		return 2
	}
	pattern := rest[0]
	if has(set, "F", "fixed-strings") {
		pattern = regexp.QuoteMeta(pattern)
	}
	if has(set, "x") {
		pattern = "^(?:" + pattern + ")$"
	}
	if has(set, "i") {
		pattern = "(?i)" + pattern
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		p.complain("%v", err)
		return 2
	}
	found := 0
	if has(set, "s") {
		p.err = io.Discard
	}
	status := p.each(rest[1:], func(_ string, r io.Reader) error {
		all, err := lines(r)
		for _, line := range all {
			if re.MatchString(line) == has(set, "v") {
				continue
			}
			found++
			if !has(set, "q", "quiet", "c") {
				p.printf("%s\n", line)
			}
		}
		return err
	})
	if has(set, "c") {
		p.printf("%d\n", found)
	}
	switch {
	case status != 0 && (found == 0 || !has(set, "q", "quiet")):
		return 2
	case found == 0:
		return 1
	}
	return 0
}

func wc(p *proc) int {
	set, names, ok := p.options("lc")
	if !ok {
		return 1
	}
	return p.each(names, func(_ string, r io.Reader) error {
		data, err := io.ReadAll(r)
		n := bytes.Count(data, []byte("\n"))
		if has(set, "c") {
			n = len(data)
		}
		p.printf("%d\n", n)
		return err
	})
}

// fields are the blank separated fields of the lines of a file. A live file
// has none: it may need locks that the caller holds.
func (g *Guest) fields(name string) [][]string {
	h, err := g.disk.openNode(name, syscall.O_RDONLY, 0, root)
	if err != nil {
		return nil
	}
	all, _ := lines(h)
	out := make([][]string, len(all))
	for i, line := range all {
		out[i] = strings.Fields(line)
	}
	return out
}
