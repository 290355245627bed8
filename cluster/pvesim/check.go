package pvesim

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// paramErrors are PVE's `400 Parameter verification failed.`: reasons by
// parameter. A reason may end in newlines of its own.
type paramErrors struct {
	reasons map[string]string
	usage   string
}

func (e *paramErrors) Error() string {
	var b strings.Builder
	b.WriteString("400 Parameter verification failed.\n")
	for _, k := range slices.Sorted(maps.Keys(e.reasons)) {
		fmt.Fprintf(&b, "%s: %s\n", k, e.reasons[k])
	}
	return b.String() + e.usage
}

func badParam(cmd *command, key, reason string) error {
	return &paramErrors{reasons: map[string]string{key: reason}, usage: cmd.usage()}
}

// rules are what the checks of values need to know of the cluster.
type rules struct {
	release float64
	models  map[string]string // custom CPU models
}

func (s *Sim) rules() rules { return rules{s.release(), s.opts.CPUModels} }

// requires is the complaint that key needs another.
func (r rules) requires(key string) string {
	if r.release < 9 {
		return fmt.Sprintf("missing property - '%s' requires this property", key)
	}
	return fmt.Sprintf("missing property required by '%s'", key)
}

// check holds the values of a call against the table and writes booleans as
// 0 and 1.
func (c *command) check(values map[string]string, r rules) error {
	bad := map[string]string{}
	for k, v := range values {
		o := c.option(k)
		normal, reason := o.check(k, v, r)
		if reason != "" {
			bad[k] = reason
			continue
		}
		values[k] = normal
		if o.requires != "" {
			if _, ok := values[o.requires]; !ok {
				bad[o.requires] = r.requires(k)
			}
		}
	}
	for k, o := range c.options {
		if _, ok := values[k]; o.required && !ok {
			bad[k] = "property is missing and it is not optional"
		}
	}
	if len(bad) > 0 {
		return &paramErrors{reasons: bad, usage: c.usage()}
	}
	return nil
}

// check returns the value in its normal form, or the reason why it is none.
func (o *option) check(key, v string, r rules) (normal, reason string) {
	switch o.typ {
	case "boolean":
		switch strings.ToLower(v) {
		case "1", "yes", "true", "on":
			return "1", ""
		case "0", "no", "false", "off":
			return "0", ""
		}
		return "", fmt.Sprintf("type check ('boolean') failed - got '%s'", v)
	case "integer", "number":
		if !numberPattern[o.typ].MatchString(v) {
			return "", fmt.Sprintf("type check ('%s') failed - got '%s'", o.typ, v)
		}
	}
	if reason := checkFormat(o.format, v); reason != "" {
		return "", "invalid format - " + reason + "\n"
	}
	if o.typ == "integer" || o.typ == "number" {
		f, _ := strconv.ParseFloat(v, 64) // the pattern says it is one
		if o.min != nil && f < *o.min {
			return "", "value must have a minimum value of " + strconv.FormatFloat(*o.min, 'f', -1, 64)
		}
		if o.max != nil && f > *o.max {
			return "", "value must have a maximum value of " + strconv.FormatFloat(*o.max, 'f', -1, 64)
		}
	}
	if o.maxLen > 0 && len(v) > o.maxLen {
		return "", fmt.Sprintf("value may only be %d characters long", o.maxLen)
	}
	if o.enum != nil && !slices.Contains(o.enum, v) {
		return "", notIn(v, o.enum)
	}
	if o.pattern != nil && !o.pattern.MatchString(v) {
		return "", "value does not match the regex pattern"
	}
	if o.keys != nil {
		if slices.ContainsFunc(strings.Split(v, ","), half) {
			return "", "invalid format - missing key in comma-separated list property\n"
		}
		if reason := o.checkProperties(key, v, r); reason != "" {
			return "", "invalid format - format error\n" + reason
		}
	}
	if o.format == "pve-vm-cpu-conf" {
		if reason := r.checkCPU(v); reason != "" {
			return "", "invalid format - " + reason + "\n"
		}
	}
	return v, ""
}

// half says whether a part of a property string has a key or a value only.
func half(part string) bool {
	k, v, ok := strings.Cut(part, "=")
	return ok && (k == "" || v == "")
}

// notIn is how PVE refuses a value that is none of a set.
func notIn(v string, enum []string) string {
	return fmt.Sprintf("value '%s' does not have a value in the enumeration '%s'", v, strings.Join(enum, ", "))
}

var numberPattern = map[string]*regexp.Regexp{
	"integer": regexp.MustCompile(`^[+-]?\d+$`),
	"number":  regexp.MustCompile(`^[+-]?(?:\d+(?:\.\d*)?|\.\d+)$`),
}

// checkProperties holds a property string against its keys. It answers with
// lines of "key.part: reason".
func (o *option) checkProperties(key, v string, r rules) string {
	seen := map[string]string{}
	for part := range strings.SplitSeq(v, ",") {
		if part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			name, value = "", part
		}
		p := o.property(name)
		switch {
		case p == nil && name == "":
			return fmt.Sprintf("%s: value without key, but schema does not define a default key\n", key)
		case p == nil:
			return fmt.Sprintf("%s.%s: property is not defined in schema and the schema does not allow additional properties\n", key, name)
		case p.alias != "":
			if p.keyAlias != "" {
				seen[p.keyAlias] = p.name
			}
			p = o.property(p.alias)
		}
		if _, twice := seen[p.name]; twice {
			return fmt.Sprintf("%s.%s: duplicate key in comma-separated list property: %s\n", key, p.name, p.name)
		}
		seen[p.name] = value
		if _, reason := p.check(key+"."+p.name, value, r); reason != "" {
			return fmt.Sprintf("%s.%s: %s\n", key, p.name, reason)
		}
	}
	var missing strings.Builder
	for _, p := range o.keys {
		if _, ok := seen[p.name]; p.required && !ok {
			fmt.Fprintf(&missing, "%s.%s: property is missing and it is not optional\n", key, p.name)
		}
		if _, ok := seen[p.requires]; p.requires != "" && seen[p.name] != "" && !ok {
			fmt.Fprintf(&missing, "%s.%s: %s\n", key, p.requires, r.requires(key+"."+p.name))
		}
	}
	return missing.String()
}

// property finds a key; "" is the one that may be left out.
func (o *option) property(name string) *option {
	i := slices.IndexFunc(o.keys, func(p *option) bool {
		return p.name == name && name != "" || p.isDef && name == ""
	})
	if i < 0 {
		return nil
	}
	return o.keys[i]
}

var (
	namePattern    = regexp.MustCompile(`^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?\.)*[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?$`)
	vmidPattern    = regexp.MustCompile(`^[1-9][0-9]{2,8}$`)
	bridgePattern  = regexp.MustCompile(`^[-_.\w]+$`)
	configID       = regexp.MustCompile(`(?i)^[a-z][a-z0-9_-]+$`)
	cpuset         = regexp.MustCompile(`^\s*\d+(?:-\d+)?\s*(?:,\s*\d+(?:-\d+)?\s*)*$`)
	tagPattern     = regexp.MustCompile(`(?i)^[a-z0-9_][a-z0-9_+.-]*$`)
	storagePattern = regexp.MustCompile(`(?i)^[a-z][a-z0-9_.-]*[a-z0-9]$`)
	urlPattern     = regexp.MustCompile(`^[-%a-zA-Z0-9_.!~*'()]*$`)
	macPattern     = regexp.MustCompile(`(?i)^[a-f0-9][02468ace](?::[a-f0-9]{2}){5}$`)
)

// checkFormat is PVE's check_format for the formats that matter here; it
// answers with a reason, or "".
func checkFormat(format, v string) string {
	is := func(ok bool, reason string) string {
		if ok {
			return ""
		}
		return reason
	}
	switch format {
	case "dns-name":
		return is(namePattern.MatchString(v), "value does not look like a valid DNS name")
	case "pve-vmid":
		return is(vmidPattern.MatchString(v), "value does not look like a valid VM ID")
	case "pve-bridge-id":
		return is(bridgePattern.MatchString(v), fmt.Sprintf("invalid bridge ID '%s'", v))
	case "pve-storage-id":
		return is(storagePattern.MatchString(v), fmt.Sprintf("storage ID '%s' contains illegal characters", v))
	case "pve-configid":
		return is(configID.MatchString(v), fmt.Sprintf("invalid configuration ID '%s'", v))
	case "pve-cpuset":
		return is(cpuset.MatchString(v), "unable to parse cpuset option")
	case "mac-addr":
		return is(macPattern.MatchString(v), "value does not look like a valid unicast MAC address")
	case "urlencoded":
		return is(urlPattern.MatchString(v), "invalid urlencoded string: "+v)
	case "pve-tag-list":
		for _, t := range splitTags(v) {
			if !tagPattern.MatchString(t) {
				return "invalid characters in tag"
			}
		}
	case "pve-ipv4-config":
		if v == "dhcp" || v == "manual" {
			return ""
		}
		p, err := netip.ParsePrefix(v)
		return is(err == nil && p.Addr().Is4() && p.Bits() >= 8, "value does not look like a valid ipv4 network configuration")
	case "pve-ipv6-config":
		if v == "dhcp" || v == "auto" || v == "manual" {
			return ""
		}
		p, err := netip.ParsePrefix(v)
		return is(err == nil && p.Addr().Is6() && p.Bits() >= 8, "value does not look like a valid ipv6 network configuration")
	case "ipv4":
		a, err := netip.ParseAddr(v)
		return is(err == nil && a.Is4(), "value does not look like a valid IPv4 address")
	case "ipv6":
		a, err := netip.ParseAddr(v)
		return is(err == nil && a.Is6(), "value does not look like a valid IPv6 address")
	case "address-list":
		for _, t := range splitTags(v) {
			if _, err := netip.ParseAddr(t); err != nil && !namePattern.MatchString(t) {
				return "value does not look like a valid IP address or a DNS name"
			}
		}
	}
	return ""
}

// splitTags splits a PVE list: at ';', ',', blanks and NUL.
func splitTags(v string) []string {
	return strings.FieldsFunc(v, func(r rune) bool { return strings.ContainsRune(";, \x00\t\n", r) })
}

// cpuModels are the CPU types the simulation knows, besides custom-NAME.
var cpuModels = []string{
	"kvm32", "kvm64", "qemu32", "qemu64", "host", "max", "x86-64-v2", "x86-64-v2-AES", "x86-64-v3",
	"x86-64-v4", "Nehalem", "Westmere", "SandyBridge", "IvyBridge", "Haswell", "Broadwell",
	"Skylake-Server", "Cascadelake-Server", "Icelake-Server", "EPYC", "EPYC-Rome", "EPYC-Milan", "EPYC-Genoa",
}

// cpuFlags are what a VM may add to its CPU type, or take away.
var cpuFlags = []string{
	"aes", "amd-no-ssb", "amd-ssbd", "hv-evmcs", "hv-tlbflush", "ibpb", "md-clear", "nested-virt", "pcid", "pdpe1gb",
	"spec-ctrl", "ssbd", "virt-ssbd",
}

// checkCPU is what PVE checks of a VM's CPU beyond the table.
func (r rules) checkCPU(v string) string {
	model := cpuModel(v)
	name, custom := strings.CutPrefix(model, "custom-")
	_, known := r.models[name]
	switch {
	case custom && !known:
		return fmt.Sprintf("Custom cputype '%s' not found", name)
	case !custom && !slices.Contains(cpuModels, model):
		return fmt.Sprintf("Built-in cputype '%s' is not defined (missing 'custom-' prefix?)", model)
	}
	for flag := range strings.FieldsFuncSeq(prop(v, "flags"), func(r rune) bool { return r == ';' }) {
		if !slices.Contains(cpuFlags, strings.TrimLeft(flag, "+-")) {
			return "VM-specific CPU flags must be a subset of: " + strings.Join(cpuFlags, ", ")
		}
	}
	return ""
}

// cpuModel is the type in the value of cpu.
func cpuModel(v string) string {
	model, _, _ := strings.Cut(v, ",")
	return strings.TrimPrefix(model, "cputype=")
}
