package commands

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// value is a checked value: text in its one spelling, and the number it means
// where it means one.
type value struct {
	text string
	num  int64
}

// values are the checked values of a request; what was not given is not there.
type values map[string]value

func (v values) text(name string) string { return v[name].text }
func (v values) num(name string) int64   { return v[name].num }
func (v values) yes(name string) bool    { return v[name].num == 1 }

// fault is what is wrong with a value: a sentence that goes on after the
// parameter's name, and the nearest right value, "" when there is none.
type fault struct{ say, fix string }

func faultf(fix, format string, a ...any) *fault {
	return &fault{say: fmt.Sprintf(format, a...), fix: fix}
}

var (
	wordRE    = regexp.MustCompile(`^[a-z0-9][a-z0-9._:-]{0,39}$`)
	versionRE = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,19}$`)
	// PVE: pve-node, pve-storage-id and dns-name, with our own lengths.
	nodeRE    = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	storageRE = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]{0,61}[A-Za-z0-9]$`)
	nameRE    = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$`)
	clusterRE = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$`)
	userRE    = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
	digitsRE  = regexp.MustCompile(`^[0-9]+$`)
	// PVE: pve-configid, of which it keeps some words for itself.
	snapshotRE = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{1,39}$`)
	personRE   = regexp.MustCompile(`^(@|[a-z][a-z0-9_-]{0,31}/)[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
)

// check reads raw as p's type. The fault never repeats what may be a secret.
func (g grammar) check(p Param, raw string) (value, *fault) {
	raw = strings.TrimSpace(raw)
	lower := strings.ToLower(raw)
	switch p.Type {
	case TypeOS:
		if !wordRE.MatchString(lower) {
			return value{}, faultf(p.Example, "wants a word like ubuntu, got %s", clip(raw))
		}
		return value{text: lower}, nil
	case TypeVersion:
		version := cleanVersion(lower)
		if !versionRE.MatchString(version) {
			return value{}, faultf("", "wants something like 24.04 or bookworm, got %s", clip(raw))
		}
		return value{text: version}, nil
	case TypeVM:
		return checkVM(p, raw)
	case TypePerson:
		return checkPerson(p, raw)
	case TypeSubject:
		if isPerson(raw) {
			return checkPerson(p, raw)
		}
		return checkVM(p, raw)
	case TypeJob:
		n, err := strconv.ParseInt(strings.TrimPrefix(raw, "#"), 10, 64)
		if err != nil || n < 1 {
			return value{}, faultf(p.Example, "wants a job's number as in /vm jobs, got %s", clip(raw))
		}
		return value{text: strconv.FormatInt(n, 10), num: n}, nil
	case TypeVerb:
		if v := g.verb(raw); v != nil {
			return value{text: v.Name, num: v.aboutOne()}, nil
		}
		near := Nearest(lower, g.names())
		return value{}, faultf(near, "wants a command, and there is no %s%s", clip(raw), meant(near))
	case TypeEnum:
		return checkEnum(p, raw, lower)
	case TypeInt:
		return checkInt(p, raw)
	case TypeSize:
		return checkSize(p, raw)
	case TypeGrowth:
		return checkGrowth(p, raw)
	case TypeDuration:
		return checkDuration(p, raw)
	case TypeBool:
		switch lower {
		case "true", "yes", "on", "1":
			return value{text: "true", num: 1}, nil
		case "false", "no", "off", "0":
			return value{}, nil
		}
		return value{}, faultf("true", "is a switch and takes no value, got %s", clip(raw))
	case TypeName:
		return checkName(p, raw)
	case TypeSnapshot:
		return checkSnapshot(p, raw)
	case TypeNode:
		if !nodeRE.MatchString(raw) {
			return value{}, faultf("", "wants a node's name like %s, got %s", p.Example, clip(raw))
		}
		return value{text: raw}, nil
	case TypeCluster:
		if !clusterRE.MatchString(lower) {
			return value{}, faultf("", "wants a cluster's name like %s, got %s", p.Example, clip(raw))
		}
		return value{text: lower}, nil
	case TypeStorage:
		if !storageRE.MatchString(raw) {
			return value{}, faultf("", "wants a storage's name like %s, got %s", p.Example, clip(raw))
		}
		return value{text: raw}, nil
	case TypeUser:
		if !userRE.MatchString(raw) {
			fix := lower
			if !userRE.MatchString(fix) {
				fix = ""
			}
			return value{}, faultf(fix, "wants a login name: lower-case letters, digits, - and _, at most 32, got %s", clip(raw))
		}
		return value{text: raw}, nil
	case TypeKey:
		return checkKey(raw)
	case TypeText:
		if raw == "" {
			return value{}, faultf(p.Example, "wants some words")
		}
		if len(raw) > 1000 {
			return value{}, faultf(strings.ToValidUTF8(raw[:1000], ""), "takes at most 1000 characters")
		}
		return value{text: raw}, nil
	}
	return value{}, faultf("", "can't be read: its type %q is unknown", p.Type)
}

func checkVM(p Param, raw string) (value, *fault) {
	if !nameRE.MatchString(raw) || len(raw) > 253 {
		return value{}, faultf(p.Example, "wants a VM's name or id, got %s", clip(raw))
	}
	return value{text: raw}, nil
}

func checkPerson(p Param, raw string) (value, *fault) {
	if platform, id, ok := strings.Cut(raw, "/"); ok {
		raw = strings.ToLower(platform) + "/" + id
	}
	if digitsRE.MatchString(raw) { // an option of Discord gives the bare id
		raw = "@" + raw
	}
	if !personRE.MatchString(raw) {
		fix := "@" + raw
		if !personRE.MatchString(fix) {
			fix = p.Example
		}
		return value{}, faultf(fix, "wants a mention, or PLATFORM/ID like slack/U012ABC, got %s", clip(raw))
	}
	return value{text: raw}, nil
}

func checkSnapshot(p Param, raw string) (value, *fault) {
	if low := strings.ToLower(raw); !snapshotRE.MatchString(raw) || low == "current" || low == "pending" {
		return value{}, faultf(p.Example, "wants a snapshot's name like %s: a letter, then up to 39 letters, digits, - and _, got %s", p.Example, clip(raw))
	}
	return value{text: raw}, nil
}

func checkEnum(p Param, raw, lower string) (value, *fault) {
	for _, c := range p.Choices {
		if c == lower {
			return value{text: c}, nil
		}
	}
	near := Nearest(lower, p.Choices)
	return value{}, faultf(near, "is one of %s, got %s%s", strings.Join(p.Choices, ", "), clip(raw), meant(near))
}

func checkName(p Param, raw string) (value, *fault) {
	switch {
	case digitsRE.MatchString(raw):
		return value{}, faultf("vm-"+raw, "can't be just a number, got %s: that would look like an id", clip(raw))
	case len(raw) > maxName:
		return value{}, faultf(strings.TrimRight(raw[:maxName], "-."), "takes at most %d characters, got %d", maxName, len(raw))
	case !nameRE.MatchString(raw):
		return value{}, faultf(dnsName(raw), "wants a DNS name like %s, with letters, digits and inner dashes, got %s", p.Example, clip(raw))
	}
	return value{text: raw}, nil
}

// dnsName is the DNS name nearest to raw, "" when nothing is left of it.
func dnsName(raw string) string {
	parts := strings.FieldsFunc(strings.ToLower(raw), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	return strings.Join(parts, "-")
}

func checkInt(p Param, raw string) (value, *fault) {
	n, err := strconv.ParseInt(raw, 10, 64)
	if err != nil && !isNumber(raw) {
		return value{}, faultf(p.Example, "wants a number%s, got %s", p.span(p.plain), clip(raw))
	}
	// A number too large for an int64 comes back as the largest.
	if n < p.Min || p.Max != 0 && n > p.Max || err != nil {
		return value{}, faultf(p.plain(p.clamp(n)), "wants a whole number%s, got %s", p.span(p.plain), clip(raw))
	}
	return value{text: p.plain(n), num: n}, nil
}

var numberRE = regexp.MustCompile(`^[+-]?[0-9]+([.,][0-9]+)?$`)

func isNumber(s string) bool { return numberRE.MatchString(s) }

func (p Param) plain(n int64) string { return strconv.FormatInt(n, 10) }

func (p Param) clamp(n int64) int64 {
	n = max(n, p.Min)
	if p.Max != 0 {
		n = min(n, p.Max)
	}
	return n
}

// span is the parameter's limits in words, each written by show.
func (p Param) span(show func(int64) string) string {
	if p.Max != 0 {
		return fmt.Sprintf(" from %s to %s", show(p.Min), show(p.Max))
	}
	return " of at least " + show(p.Min)
}

var sizeRE = regexp.MustCompile(`^([0-9]{1,9})(?:\.([0-9]{1,3}))?(?:([mgt])i?b?)?$`)

// unitMiB is what a unit is in MiB.
var unitMiB = map[string]int64{"m": 1, "g": 1 << 10, "t": 1 << 20}

func checkSize(p Param, raw string) (value, *fault) {
	m := sizeRE.FindStringSubmatch(strings.ToLower(strings.ReplaceAll(raw, " ", "")))
	if m == nil {
		return value{}, faultf(p.Example, "wants a size like %s, got %s", p.Example, clip(raw))
	}
	unit := m[3]
	if unit == "" {
		unit = strings.ToLower(p.Bare)
	}
	// Thousandths in whole numbers: 1.5G is exactly 1536M, the rest is rounded up.
	frac := (m[2] + "000")[:3]
	thousandths, err := strconv.ParseInt(m[1]+frac, 10, 64)
	if err != nil {
		return value{}, faultf(p.Example, "wants a size like %s, got %s", p.Example, clip(raw))
	}
	n := (thousandths*unitMiB[unit] + 999) / 1000
	if n >= p.Min && (p.Max == 0 || n <= p.Max) {
		return value{text: Size(n), num: n}, nil
	}
	fix, hint := p.clamp(n), ""
	if m[3] == "" {
		hint = fmt.Sprintf(" (a number without a unit is %sB)", p.Bare)
		// --ram 4 means 4G to everybody but the table, --disk 20480 means 20G.
		for _, u := range []string{"m", "g"} {
			if other := thousandths * unitMiB[u] / 1000; other >= p.Min && other <= p.Max {
				fix = other
				break
			}
		}
	}
	return value{}, faultf(Size(fix), "wants a size%s, got %s%s", p.span(Size), clip(raw), hint)
}

// diskRE is a disk of a VM: its bus with its number.
var diskRE = regexp.MustCompile(`^(ide|scsi|virtio|sata)[0-9]{1,2}$`)

// checkGrowth reads +20G, or virtio1:+20G where the disk is named that grows.
func checkGrowth(p Param, raw string) (value, *fault) {
	disk, size, named := strings.Cut(raw, ":")
	if !named {
		return checkPlus(p, raw)
	}
	disk = strings.ToLower(strings.TrimSpace(disk))
	if !diskRE.MatchString(disk) {
		return value{}, faultf("", "names the disk that grows like virtio1:%s, got %s", p.Example, clip(raw))
	}
	v, f := checkPlus(p, strings.TrimSpace(size))
	if f != nil {
		return value{}, faultf(disk+":"+f.fix, "%s", f.say)
	}
	v.text = disk + ":" + v.text
	return v, nil
}

// checkPlus reads +20G. The plus is asked for, so that nobody who means "20G
// in all" gets 20G more.
func checkPlus(p Param, raw string) (value, *fault) {
	size, plus := strings.CutPrefix(raw, "+")
	if strings.HasPrefix(raw, "-") {
		return value{}, faultf(p.Example, "can only grow, by a size like %s, got %s", p.Example, clip(raw))
	}
	p.Example = strings.TrimPrefix(p.Example, "+")
	val, f := checkSize(p, strings.TrimSpace(size))
	switch {
	case f != nil:
		return value{}, faultf("+"+f.fix, "%s", f.say)
	case !plus:
		return value{}, faultf("+"+val.text, "grows by a size with a plus before it, like +%s, got %s", val.text, clip(raw))
	}
	return value{text: "+" + val.text, num: val.num}, nil
}

// Size writes MiB the way people say them: 512M, 4G, 1T; nothing for 0.
func Size(mib int64) string {
	switch {
	case mib == 0:
		return ""
	case mib%(1<<20) == 0:
		return strconv.FormatInt(mib>>20, 10) + "T"
	case mib%(1<<10) == 0:
		return strconv.FormatInt(mib>>10, 10) + "G"
	}
	return strconv.FormatInt(mib, 10) + "M"
}

var durationRE = regexp.MustCompile(`^([0-9]{1,5})([mhdw])$`)

// unitSeconds is what a unit of time is in seconds.
var unitSeconds = map[string]int64{"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

func checkDuration(p Param, raw string) (value, *fault) {
	m := durationRE.FindStringSubmatch(strings.ToLower(raw))
	if m == nil {
		return value{}, faultf(p.Example, "wants a time like 12h, 7d or 2w, got %s", clip(raw))
	}
	n, _ := strconv.ParseInt(m[1], 10, 64) // five digits
	n *= unitSeconds[m[2]]
	if n < p.Min || p.Max != 0 && n > p.Max {
		return value{}, faultf(p.Example, "wants a time%s, got %s", p.span(seconds), clip(raw))
	}
	return value{text: seconds(n), num: n}, nil
}

// seconds writes n seconds in the largest unit that fits.
func seconds(n int64) string {
	for _, u := range []string{"d", "h", "m"} {
		if n != 0 && n%unitSeconds[u] == 0 {
			return strconv.FormatInt(n/unitSeconds[u], 10) + u
		}
	}
	return (time.Duration(n) * time.Second).String()
}

// clip is raw for a sentence: short, and quoted where its end is not plain.
func clip(raw string) string {
	if r := []rune(raw); len(r) > 40 {
		raw = string(r[:40]) + "..."
	}
	if raw == "" || strings.ContainsAny(raw, " \"'") {
		return strconv.Quote(raw)
	}
	return raw
}

// meant goes on a sentence with the word that was probably meant.
func meant(near string) string {
	if near == "" {
		return ""
	}
	return "; did you mean " + near + "?"
}

// IsCluster reports whether name can be a cluster's: a lower-case letter, then
// letters, digits and inner hyphens.
func IsCluster(name string) bool { return clusterRE.MatchString(name) }
