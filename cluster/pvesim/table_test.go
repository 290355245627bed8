package pvesim

import (
	"strings"
	"testing"
)

func TestOptionTable(t *testing.T) {
	for name := range qmCommands {
		if commands()[name] == nil {
			t.Errorf("%s has no options in the table", name)
		}
	}
	for name, c := range commands() {
		if qmCommands[name] == nil {
			t.Errorf("%s does nothing", name)
		}
		for _, p := range c.positional {
			if c.option(p) == nil {
				t.Errorf("%s: argument %s is not in the table", name, p)
			}
		}
	}
	create, set := commands()["qm create"], commands()["qm set"]
	for _, known := range []string{"scsi30", "net0", "ipconfig31", "ciupgrade", "ha-managed"} {
		if create.option(known) == nil {
			t.Errorf("qm create does not know --%s", known)
		}
	}
	for _, unknown := range []string{"scsi31", "net01", "net", "ipconfig", "bogus", "delete", ""} {
		if create.option(unknown) != nil {
			t.Errorf("qm create knows --%s", unknown)
		}
	}
	if set.option("start") != nil || set.option("delete") == nil || set.option("scsi0") == nil {
		t.Error("qm set has not the options of its own")
	}
	for _, bad := range []string{"[x] y\na what", "[x]\na string min=q", "[x]\na string pattern=("} {
		if _, err := parseOptions(bad); err == nil {
			t.Errorf("%q is taken for a table", bad)
		}
	}
}

func TestCheck(t *testing.T) {
	create := commands()["qm create"]
	for _, x := range []struct{ key, value, reason string }{
		{"cores", "2", ""},
		{"cores", "0", "value must have a minimum value of 1"},
		{"cores", "two", "type check ('integer') failed - got 'two'"},
		{"cpulimit", "1.5", ""},
		{"cpuunits", "300000", "value must have a maximum value of 262144"},
		{"onboot", "yes", ""},
		{"onboot", "2", "type check ('boolean') failed - got '2'"},
		{"ostype", "linux", "value 'linux' does not have a value in the enumeration 'other, wxp, w2k, w2k3, w2k8, wvista, win7, win8, win10, win11, l24, l26, solaris'"},
		{"scsihw", "virtio-scsi-single", ""},
		{"agent", "1", ""},
		{"agent", "enabled=1,fstrim_cloned_disks=1", ""},
		{"agent", "fstrim_cloned_disks=1", "invalid format - format error\nagent.enabled: property is missing and it is not optional\n"},
		{"net0", "virtio,bridge=vmbr0,tag=20,firewall=1", ""},
		{"net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0", ""},
		{"net0", "virtio,colour=red", "invalid format - format error\nnet0.colour: property is not defined in schema and the schema does not allow additional properties\n"},
		{"net0", "virtio,tag=1,tag=2", "invalid format - format error\nnet0.tag: duplicate key in comma-separated list property: tag\n"},
		{"ipconfig0", "ip=192.168.0.5/24,gw=192.168.0.1,ip6=auto", ""},
		{"ipconfig0", "gw=192.168.0.1", "invalid format - format error\nipconfig0.ip: missing property required by 'ipconfig0.gw'\n"},
		{"scsi0", "local-lvm:0,import-from=/img,discard=on,ssd=1,iothread=1", ""},
		{"scsi0", "local-lvm:8,discard=maybe", "invalid format - format error\nscsi0.discard: value 'maybe' does not have a value in the enumeration 'ignore, on'\n"},
		{"cpu", "host,flags=+aes", ""},
		{"cpu", "x86-64-v4", ""},
		{"cpu", "custom-mine", "invalid format - Custom cputype 'mine' not found\n"},
		{"nameserver", "1.1.1.1 2606:4700::1111", ""},
		{"tags", "", ""},
		{"description", strings.Repeat("x", 8193), "value may only be 8192 characters long"},
		{"serial0", "socket", ""},
		{"serial0", "pipe", "value does not match the regex pattern"},
		{"smbios1", "uuid=729f3f85-fd6e-4b8b-8b71-e459545ed688", ""},
	} {
		if _, got := create.option(x.key).check(x.key, x.value, rules{release: 9}); got != x.reason {
			t.Errorf("--%s %s: %q, want %q", x.key, x.value, got, x.reason)
		}
	}
}

func TestNewWithoutMain(t *testing.T) {
	mainCalled.Store(false)
	defer mainCalled.Store(true)
	defer func() {
		if recover() == nil {
			t.Error("New did not panic")
		}
	}()
	s, err := New(Options{})
	t.Errorf("New returned %v, %v", s, err)
}

func TestSizes(t *testing.T) {
	for text, n := range map[string]int64{"16G": 16 * gib, "1088M": 1088 * mib, "4096": 4 * kib, "1T": tib, "528K": 528 * kib, "0": 0} {
		got, ok := parseSize(text)
		if !ok || got != n {
			t.Errorf("parseSize(%q) = %d, %v", text, got, ok)
		}
		if back, ok := parseSize(formatSize(n)); !ok || back != n {
			t.Errorf("formatSize(%d) = %q", n, formatSize(n))
		}
	}
	for _, bad := range []string{"", "G", "1GB", "-1G", "+1G", "1e3", "99999999999999T"} {
		if n, ok := parseSize(bad); ok {
			t.Errorf("parseSize(%q) = %d", bad, n)
		}
	}
	for n, want := range map[int64]string{0: "0.0 B", 107374182: "102.4 MiB", gib: "1.0 GiB", 1023: "1023.0 B"} {
		if got := renderBytes(n); got != want {
			t.Errorf("renderBytes(%d) = %q, want %q", n, got, want)
		}
	}
}

// Whatever is typed, checking it ends, and what passes keeps its meaning.
func FuzzCheck(f *testing.F) {
	f.Add("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=5")
	f.Add("ipconfig0", "ip=dhcp,gw=")
	f.Add("scsi0", "a:0,import-from=/x,,=,size=")
	f.Add("cpu", ",flags=+")
	f.Add("onboot", "YES")
	create := commands()["qm create"]
	f.Fuzz(func(t *testing.T, key, value string) {
		o := create.option(key)
		if o == nil {
			t.Skip()
		}
		normal, reason := o.check(key, value, rules{release: 9})
		if reason != "" {
			return
		}
		again, reason := o.check(key, normal, rules{release: 9})
		if again != normal || reason != "" {
			t.Errorf("--%s %q became %q, then %q, %q", key, value, normal, again, reason)
		}
		if isDisk(key) {
			d := parseDrive(key, normal)
			if d2 := parseDrive(key, d.value()); d.file != "" && d2.value() != d.value() {
				t.Errorf("%q is not what it was: %q", d.value(), d2.value())
			}
		}
	})
}
