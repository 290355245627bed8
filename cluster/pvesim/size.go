package pvesim

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

var sizePattern = regexp.MustCompile(`^(\d+(?:\.\d+)?)([KMGT])?$`)

// parseSize reads 16G, 1088M, 4096; bytes.
func parseSize(s string) (int64, bool) {
	m := sizePattern.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	f, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, false
	}
	f *= map[string]float64{"": 1, "K": float64(kib), "M": float64(mib), "G": float64(gib), "T": float64(tib)}[m[2]]
	if f > math.MaxInt64/2 {
		return 0, false
	}
	return int64(f), true
}

// formatSize writes bytes as a conf file has them: 2G, 1088M, 528K.
func formatSize(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{tib, "T"}, {gib, "G"}, {mib, "M"}, {kib, "K"}} {
		if n >= u.size && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// renderBytes writes bytes as progress lines have them: 102.4 MiB.
func renderBytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// release is the number of Proxmox VE's release: 9.2, 8.4.
func (s *Sim) release() float64 {
	major, rest, _ := strings.Cut(s.opts.Version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	f, err := strconv.ParseFloat(major+"."+minor, 64)
	if err != nil {
		panic("pvesim: " + s.opts.Version + " is no version")
	}
	return f
}
