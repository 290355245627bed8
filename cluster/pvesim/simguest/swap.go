package simguest

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

func fallocate(p *proc) int {
	set, names, ok := p.options("l:", "length:")
	size, err := bytesOf(set["l"] + set["length"])
	if !ok || err != nil || len(names) != 1 {
		return p.complain("no length argument specified")
	}
	return p.sized(names[0], size)
}

// dd makes files of zeroes.
func dd(p *proc) int {
	name, block, count := "", int64(512), int64(0)
	for _, arg := range p.args[1:] {
		key, value, _ := strings.Cut(arg, "=")
		var err error
		switch key {
		case "of":
			name = value
		case "bs":
			block, err = bytesOf(value)
		case "count":
			count, err = strconv.ParseInt(value, 10, 64)
		}
		if err != nil {
			return p.complain("invalid number: '%s'", value)
		}
	}
	if name == "" || count == 0 {
		return p.complain("only copies /dev/zero to a file: of=, bs=, count=")
	}
	return p.sized(name, block*count)
}

// sized makes a file of size bytes without holding them.
func (p *proc) sized(name string, size int64) int {
	_, err := p.guest.disk.open(p.abs(name), syscall.O_WRONLY|syscall.O_CREAT, 0o644, p.user.uid)
	if err == nil {
		err = p.guest.disk.change(p.abs(name), p.user.uid, func(n *inode) { n.sparse = size })
	}
	return p.only("cannot open", name, err)
}

// bytesOf reads 512, 4K, 16M, 1GiB.
func bytesOf(s string) (int64, error) {
	n, unit := strings.TrimRight(s, "KMGTiB"), int64(1)
	switch strings.TrimSuffix(strings.TrimPrefix(s, n), "iB") {
	case "":
	case "K":
		unit = 1 << 10
	case "M":
		unit = 1 << 20
	case "G":
		unit = 1 << 30
	default:
		return 0, strconv.ErrSyntax
	}
	v, err := strconv.ParseInt(n, 10, 64)
	return v * unit, err
}

const swapMagic = "SWAPSPACE2"

func mkswap(p *proc) int {
	_, names, ok := p.options("fL:U:")
	if !ok || len(names) != 1 {
		return 1
	}
	i, err := p.guest.disk.stat(p.abs(names[0]), true)
	if err == nil {
		err = p.guest.disk.change(p.abs(names[0]), p.user.uid, func(n *inode) { n.data = []byte(swapMagic) })
	}
	if err != nil {
		return p.complain("cannot open %s: %s", names[0], title(reason(err)))
	}
	p.printf("Setting up swapspace version 1, size = %d KiB\nno label, UUID=%s\n", i.Size()>>10-4, newUUID())
	return 0
}

func swapon(p *proc) int {
	_, names, ok := p.options("a", "show", "noheadings")
	if !ok {
		return 1
	}
	if p.user.uid != root {
		return p.complain("Not superuser.")
	}
	for _, name := range names {
		if err := p.guest.swapOn(p.abs(name)); err != "" {
			fmt.Fprintf(p.err, "swapon: %s: %s\n", name, err)
			return 255
		}
	}
	return 0
}

func (g *Guest) swapOn(name string) (refused string) {
	h, err := g.disk.open(name, syscall.O_RDONLY, 0, root)
	if err != nil {
		return "cannot open: " + title(reason(err))
	}
	header := make([]byte, len(swapMagic))
	if _, err := io.ReadFull(h, header); err != nil || string(header) != swapMagic {
		return "read swap header failed"
	}
	i, err := g.disk.stat(name, true)
	if err != nil {
		return title(reason(err))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, on := g.swaps[name]; on {
		return "swapon failed: Device or resource busy"
	}
	g.swaps[name] = i.Size()
	return ""
}

func swapoff(p *proc) int {
	for _, name := range p.args[1:] {
		if !p.guest.swapOff(p.abs(name)) {
			return p.complain("%s: swapoff failed: Invalid argument", name)
		}
	}
	return 0
}

func (g *Guest) swapOff(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, on := g.swaps[name]
	delete(g.swaps, name)
	return on
}

// procSwaps is /proc/swaps.
func (g *Guest) procSwaps() []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
	for _, name := range slices.Sorted(maps.Keys(g.swaps)) {
		out += fmt.Sprintf("%-40sfile\t\t%d\t\t0\t\t-2\n", name, g.swaps[name]>>10-4)
	}
	return []byte(out)
}
