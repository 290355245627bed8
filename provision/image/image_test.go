package image

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFind(t *testing.T) {
	c := Default()
	for _, tt := range []struct{ os, version, want string }{
		{"ubuntu", "", "Ubuntu 26.04 LTS"},
		{"ubuntu", "lts", "Ubuntu 26.04 LTS"},
		{"ubuntu", "24.04", "Ubuntu 24.04 LTS"},
		{"ubuntu", "noble", "Ubuntu 24.04 LTS"},
		{"ubuntu", "26.04", "Ubuntu 26.04 LTS"},
		{"debian", "", "Debian 13 (trixie)"},
		{"debian", "trixie", "Debian 13 (trixie)"},
		{"rocky", "", "Rocky Linux 9"},
		{"rockylinux", "10", "Rocky Linux 10"},
		{"alma", "9", "AlmaLinux 9"},
	} {
		if i, err := c.Find(tt.os, tt.version); err != nil || i.Title != tt.want {
			t.Errorf("Find(%q, %q) = %q, %v; want %q", tt.os, tt.version, i.Title, err, tt.want)
		}
	}
	for _, tt := range []struct{ os, version, want string }{
		{"beos", "", "there is no image of beos; I have almalinux, debian, rocky, ubuntu"},
		{"ubuntu", "19.04", "there is no image of ubuntu 19.04; I have 20.04, 22.04, 24.04, 26.04"},
		{"rocky", "7", "there is no image of rocky 7; I have 8, 9, 10"},
	} {
		_, err := c.Find(tt.os, tt.version)
		if _, ok := errors.AsType[*UnknownError](err); !ok || err.Error() != tt.want {
			t.Errorf("Find(%q, %q): %v; want %q", tt.os, tt.version, err, tt.want)
		}
	}
}

// What everybody has: every OS has exactly one default, no two images share a
// file, everything is fetched over https, and nothing is left open.
func TestCatalogueIsSound(t *testing.T) {
	const sum = "0123456789abcdef"
	defaults, files := map[string]int{}, map[string]bool{}
	var keys []string
	for _, i := range Default().All() {
		keys = append(keys, i.Key())
		if i.Default {
			defaults[i.OS]++
		}
		if files[i.File(sum)] {
			t.Errorf("%s is the file of two images", i.File(sum))
		}
		files[i.File(sum)] = true
		if !strings.HasPrefix(i.URL, "https://") || !strings.HasPrefix(i.Sums, "https://") {
			t.Errorf("%s is not fetched over https", i.Title)
		}
		if i.End.IsZero() || i.DiskMB == 0 {
			t.Errorf("%s: end %v, disk %d MiB", i.Title, i.End, i.DiskMB)
		}
	}
	for os, n := range defaults {
		if n != 1 {
			t.Errorf("%s has %d defaults", os, n)
		}
	}
	for _, i := range Default().All() {
		d, err := Default().Find(i.OS, "")
		_, scripted := i.InitScript()
		if widespread := i.CPU == "kvm64" || i.CPU == "x86-64-v2"; err != nil || scripted && widespread && compareVersions(i.Version, d.Version) > 0 {
			t.Errorf("%s is newer than the default, %s (%v)", i.Title, d.Title, err)
		}
	}
	want := []string{
		"almalinux-9", "almalinux-10", "debian-11", "debian-12", "debian-13", "rocky-8", "rocky-9", "rocky-10",
		"ubuntu-20.04", "ubuntu-22.04", "ubuntu-24.04", "ubuntu-26.04",
	}
	if !slices.Equal(keys, want) || len(defaults) != 4 {
		t.Errorf("the catalogue has %v", keys)
	}
	for key, cpu := range map[string]string{"rocky-8": "kvm64", "rocky-9": "x86-64-v2", "rocky-10": "x86-64-v3", "almalinux-10": "x86-64-v3", "ubuntu-26.04": "kvm64"} {
		os, version, _ := strings.Cut(key, "-")
		if i, err := Default().Find(os, version); err != nil || i.CPU != cpu {
			t.Errorf("%s needs %s, %v; want %s", key, i.CPU, err, cpu)
		}
	}
}

func TestImage(t *testing.T) {
	i := Image{OS: "ubuntu", Version: "24.04", URL: "https://x.example/a.img", Script: "ubuntu_24.04", End: time.Date(2029, 4, 30, 0, 0, 0, 0, time.UTC)}
	if got := i.File("0123456789abcdef"); got != "ubuntu-24.04-0123456789ab.qcow2" {
		t.Errorf("the file is %s", got)
	}
	for want, im := range map[bool][]Image{true: {i}, false: {{}, {Script: "beos_5"}, {Script: "common"}}} {
		for _, im := range im {
			if script, ok := im.InitScript(); ok != want || ok != (len(script) > 0) {
				t.Errorf("%q is a script: %v", im.Script, ok)
			}
		}
	}
	if i.Ended(i.End) || !i.Ended(i.End.AddDate(0, 0, 2)) || (Image{}).Ended(i.End) {
		t.Error("what has ended is wrong")
	}
}

func TestExtend(t *testing.T) {
	c, err := Default().Extend([]byte(`
- os: opensuse
  version: "15.6"
  url: http://mirror.lan/leap.qcow2
  sum: ` + strings.Repeat("0A", 64) + `
  algorithm: sha512
  user: root
  cpu: x86-64-v2
  script: none
- os: debian
  version: "13"
  default: true
  url: http://mirror.lan/debian-13.raw
  sums: http://mirror.lan/SUMS
  script: debian_12
`))
	if err != nil {
		t.Fatal(err)
	}
	suse, err := c.Find("opensuse", "")
	if err != nil || suse.Title != "Opensuse 15.6" || suse.Script != "" || suse.CPU != "x86-64-v2" || suse.Sum != strings.Repeat("0a", 64) {
		t.Errorf("%+v, %v", suse, err)
	}
	debian, err := c.Find("debian", "")
	if err != nil || debian.Version != "13" || debian.Script != "debian_12" || debian.File("ff") != "debian-13-ff.raw" {
		t.Errorf("%+v, %v", debian, err)
	}
	if old, err := Default().Find("debian", ""); err != nil || old.Version != "13" {
		t.Errorf("the built-in catalogue changed: %+v, %v", old, err)
	}
	if n := len(c.All()) - len(Default().All()); n != 1 {
		t.Errorf("%d images more", n)
	}
	m := c.Mirror("https://cloud.debian.org/", "http://mirror.lan/debian/")
	if i, err := m.Find("debian", "12"); err != nil || i.URL != "http://mirror.lan/debian/images/cloud/bookworm/latest/debian-12-generic-amd64.qcow2" ||
		!strings.HasPrefix(i.Sums, "http://mirror.lan/debian/") {
		t.Errorf("%+v, %v", i, err)
	}
}

func TestExtendSaysWhatIsWrong(t *testing.T) {
	const good = "- os: arch\n  version: \"1\"\n  url: https://a.example/b.qcow2\n  sums: https://a.example/S\n"
	for name, tt := range map[string]struct{ file, want string }{
		"no list":       {"os: arch", "line 1: this wants a list"},
		"unknown key":   {good + "  colour: red\n", "line 5: there is no key colour here"},
		"no url":        {"- os: arch\n  version: \"1\"\n  sums: https://a.example/S\n", "line 1: image 1 (arch 1): url is missing"},
		"no sums":       {"- os: arch\n  version: \"1\"\n  url: https://a.example/b\n", "needs either sums"},
		"both sums":     {good + "  sum: 00\n", "needs either sums"},
		"a bad sum":     {"- os: arch\n  version: \"1\"\n  url: https://a.example/b\n  sum: 00\n", "64 hexadecimal digits"},
		"a bad word":    {strings.Replace(good, "arch", "../x", 1), `"../x" is no word`},
		"no version":    {strings.Replace(good, `"1"`, `""`, 1), `"" is no word`},
		"a file URL":    {strings.Replace(good, "https://a.example/b", "file:///b", 1), "is no http or https address"},
		"an installer":  {strings.Replace(good, "b.qcow2", "b.ISO", 1), "url ends in .iso: this is no disk"},
		"VMware's":      {strings.Replace(good, "b.qcow2", "b.vmdk?x=1", 1), "url ends in .vmdk"},
		"zipped":        {strings.Replace(good, "b.qcow2", "b.zip", 1), "imports no compressed images"},
		"a list":        {strings.Replace(good, `"1"`, "[1]", 1), "line 2: this wants a word"},
		"compressed":    {strings.Replace(good, "b.qcow2", "b.raw.xz", 1), "imports no compressed images"},
		"a bad cpu":     {good + "  cpu: x86-64-v1\n", `cpu is "x86-64-v1"`},
		"a bad user":    {good + "  user: \"a b\"\n", "is no login name"},
		"a bad disk":    {good + "  disk: lots\n", `disk is "lots"`},
		"a bad day":     {good + "  end: soon\n", `end is "soon"`},
		"the algorithm": {good + "  algorithm: md5\n", `algorithm is "md5"`},
		"too long":      {strings.Repeat("#", 300<<10), "longer than 256 KiB"},
	} {
		_, err := Default().Extend([]byte(tt.file))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %s", name, err, tt.want)
		}
	}
	if c, err := Default().Extend(nil); err != nil || len(c.All()) != len(Default().All()) {
		t.Errorf("an empty file: %v", err)
	}
}

// TestVersionsAreReadAsWritten: what YAML takes for a number, a truth or a day is a
// word here.
func TestVersionsAreReadAsWritten(t *testing.T) {
	for _, version := range []string{"3.20", "010", "1e3", "0x1f", "2024.10", "on", "no", "2030", `"3.20"`, "'9.10'"} {
		c, err := Default().Extend([]byte("- os: arch\n  version: " + version + "\n  names: [3.10]\n  url: https://a.example/b.qcow2\n  sums: https://a.example/S\n"))
		if err != nil {
			t.Errorf("%s: %v", version, err)
			continue
		}
		if i, err := c.Find("arch", "3.10"); err != nil || i.Version != strings.Trim(version, `"'`) {
			t.Errorf("%s was read as %s, %v", version, i.Version, err)
		}
	}
}

func TestChecksum(t *testing.T) {
	sum := strings.Repeat("0123456789abcdef", 4)
	for name, sums := range map[string]string{
		"text":     sum + "  a.img\n",
		"binary":   "# comment\n" + strings.ToUpper(sum) + " *a.img\n",
		"bsd":      "SHA256 (b.img) = " + sum[:60] + "ffff\nSHA256 (a.img) = " + sum + "\n",
		"alone":    sum + "\n",
		"./":       strings.Repeat("0", 64) + "  ./b.img\n" + sum + "  ./a.img\n",
		"bsd ./":   "SHA256 (./a.img) = " + sum + "\n",
		"Windows":  "\ufeff" + strings.ToUpper(sum) + " *a.img\r\n",
		"CHECKSUM": "# a.img: 123 bytes\nSHA512 (a.img) = " + sum + sum + "\nMD5 (a.img) = " + sum + "\nSHA256 (a.img) = " + sum + "\n",
	} {
		if got, err := Checksum([]byte(sums), "a.img", "sha256"); err != nil || got != sum {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for name, sums := range map[string]string{
		"other file": sum + "  aa.img\n", "short": sum[:63] + "  a.img\n", "no hex": strings.Repeat("z", 64) + "  a.img\n", "empty": "",
		"another algorithm": sum + sum + "  a.img\n", "two alone": sum + "\n" + sum + "\n", "one alone beside another": sum + "\n" + sum + "  b.img\n",
		"UTF-16": "\xff\xfea\x00",
	} {
		if got, err := Checksum([]byte(sums), "a.img", "sha256"); err == nil {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func FuzzChecksum(f *testing.F) {
	f.Add("0123  a.img\nSHA256 (a.img) = 00", "a.img")
	f.Fuzz(func(t *testing.T, sums, file string) {
		if sum, err := Checksum([]byte(sums), file, "sha512"); err == nil && !isSum(sum, "sha512") {
			t.Fatalf("%q is no checksum", sum)
		}
	})
}

// A file of images is taken whole or refused; what is taken can be found, and
// its file's name can't leave the folder.
func FuzzExtend(f *testing.F) {
	f.Add("- os: arch\n  version: \"1\"\n  url: https://a.example/b.qcow2\n  sums: https://a.example/S\n")
	f.Add("- {os: a, version: 1, url: http://x/y, sum: 00}")
	f.Fuzz(func(t *testing.T, file string) {
		c, err := Default().Extend([]byte(file))
		if err != nil {
			return
		}
		for _, i := range c.All() {
			if got, err := c.Find(i.OS, i.Version); err != nil || got.OS != i.OS && !slices.Contains(got.Also, i.OS) {
				t.Fatalf("%s is not found: %v", i.Key(), err)
			}
			if name := i.File(strings.Repeat("0", 64)); strings.Contains(name, "/") || strings.HasPrefix(name, ".") {
				t.Fatalf("%q is the name of a file", name)
			}
		}
	})
}
