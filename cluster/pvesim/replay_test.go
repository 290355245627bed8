package pvesim_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pvebot/cluster/pvesim"
)

// transcriptDir is where transcripts of the real commands are, "" when there
// are none: PVE_TRANSCRIPTS, or beside the project.
func transcriptDir() string {
	for _, dir := range []string{os.Getenv("PVE_TRANSCRIPTS"), "../../../shared/pve/transcripts"} {
		if files, _ := filepath.Glob(filepath.Join(dir, "*.txt")); dir != "" && len(files) > 0 {
			return dir
		}
	}
	return ""
}

// score says how one transcript is replayed.
type score struct {
	images  []string // paths of the volumes that are there; default import/d.qcow2
	guests  []pvesim.GuestSpec
	statd   time.Duration
	version string // of pve-manager
	// before has what happened to the real cluster before a command: the key is
	// the command, with "#2" and so on behind its later occurrences.
	before map[string]func(*stage)
	// passed are the commands that are not held to it, and why.
	passed map[string]string
}

// stage is a cluster on which a transcript is replayed.
type stage struct {
	t   *testing.T
	sim *pvesim.Sim
	sh  shell
	dir string // stands for /mnt
}

// run runs a command that the transcript does not show.
func (s *stage) run(command string) {
	s.t.Helper()
	if _, errs, status := s.sh.run(command, ""); status != 0 {
		s.t.Errorf("%s: exit %d\n%s", command, status, errs)
	}
}

// noise are lines that come from the place where the transcripts were taken,
// which was no whole node: no cgroups, no certificates, statistics by hand.
var noise = regexp.MustCompile(`(?m)^2\| (unable to get memory stat|Use of uninitialized value|Argument "\w+" isn't numeric|'/etc/pve/nodes/\w+/pve-ssl.pem' does not exist).*\n`)

// loose are further parts of output that differ from place to place.
var loose = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`=> exit [1-9]\d*`), "=> exit FAILED"}, // PVE: they mean nothing
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`), "DATE"},
	{regexp.MustCompile(`(?m)^(1\| (?:backup|local|offline) .*?)(\d+ +\d+ +\d+ +(?:[\d.]+%|N/A))$`), "$1NUMBERS"},
	{regexp.MustCompile(`(?m)^(1\| +\d+ \S+ +\w+ +\d+ +[\d.]+ )(\d+)`), "${1}PID"}, // qm list
	{regexp.MustCompile(`(?m)^(1\| (?:pid|uptime|memhost|mem|pressure\w+)): .*`), "$1: N"},
	{regexp.MustCompile(`\b(192\.0\.2\.2|192\.168\.0\.12)\b`), "PVE2"},
	{regexp.MustCompile(`port 22: (Connection refused|No route to host)`), "port 22: NO"},
	{regexp.MustCompile(`'(10\.255\.255\.53|192\.168\.0\.1)'\n`), "NAMESERVER\n"},
	{regexp.MustCompile(`\$5\$[^\s"]+`), "HASH"},
	{regexp.MustCompile(`(cipassword: )\*+`), "${1}STARS"},
	{regexp.MustCompile(`ssh-ed25519%20[A-Za-z0-9%]+`), "KEY"},
	{regexp.MustCompile(`ssh-ed25519 [A-Za-z0-9+/= @]+`), "KEY"},
}

// progress are lines of a copy: how many there are depends on how fast it was.
var progress = regexp.MustCompile(`(?m)(^1\| transferred .*\n){2,}`)

// even takes away what differs from place to place.
func even(s string) string {
	s = noise.ReplaceAllString(steady(s), "")
	s = progress.ReplaceAllStringFunc(s, func(run string) string {
		lines := strings.SplitAfter(strings.TrimSuffix(run, "\n"), "\n")
		return lines[0] + lines[len(lines)-1] + "\n"
	})
	for _, l := range loose {
		s = l.pattern.ReplaceAllString(s, l.with)
	}
	return s
}

// TestReplay holds the simulation to transcripts of the real commands, where
// there are some: every exchange that they have.
func TestReplay(t *testing.T) {
	t.Parallel()
	dir := transcriptDir()
	if dir == "" {
		t.Skip("no transcripts of the real commands are here; PVE_TRANSCRIPTS=DIR tells where they are")
	}
	for name, sc := range scores() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join(dir, name+".txt"))
			if err != nil {
				t.Skip(err)
			}
			sc.replay(t, string(text))
		})
	}
}

func (sc score) replay(t *testing.T, text string) {
	o := labOptions()
	o.Guests, o.Empty, o.Statd, o.Version = sc.guests, len(sc.guests) == 0, sc.statd, sc.version
	if len(sc.images) == 0 {
		sc.images = []string{"import/d.qcow2"}
	}
	o.Storages[0].Volumes = slices.DeleteFunc(o.Storages[0].Volumes, func(v pvesim.VolumeSpec) bool { return !slices.Contains(sc.images, v.Path) })
	s := &stage{t: t, sim: pvesim.Start(t, o), dir: t.TempDir()}
	s.sh = dial(t, s.sim, "pve1")
	s.write("k.pub", []byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAt9NNB+FoXR3w6QrYo1T++dVIkUwM+KTq+4HPT7vy5c a@b\n"))
	s.write("disk.raw", make([]byte, 32<<20))
	seen, played := map[string]int{}, 0
	for _, x := range readTranscript(text) {
		key := x.command
		if seen[x.command]++; seen[x.command] > 1 {
			key = fmt.Sprintf("%s #%d", x.command, seen[x.command])
		}
		if before := sc.before[key]; before != nil {
			before(s)
			delete(sc.before, key)
		}
		if sc.passed[key] != "" {
			t.Logf("line %d: $ %s: passed over: %s", x.line, x.command, sc.passed[key])
			delete(sc.passed, key)
			continue
		}
		command := upidPattern.ReplaceAllStringFunc(requote(x.command), s.ownUPID)
		got := strings.ReplaceAll(play(s.sh, strings.ReplaceAll(command, "/mnt/", s.dir+"/")), s.dir+"/", "/mnt/")
		if got, want := alike(even(got), even(x.want)); got != want {
			t.Errorf("line %d: $ %s\n%s\nwant\n%s", x.line, x.command, got, want)
		}
		played++
	}
	for key := range sc.before {
		t.Errorf("never came to %q", key)
	}
	for key := range sc.passed {
		t.Errorf("never passed over %q", key)
	}
	t.Logf("%d exchanges", played)
}

var upidPattern = regexp.MustCompile(`UPID:\w+:\w+:\w+:\w+:(\w+:\w+:root@pam:)`)

// ownUPID is the newest task of the simulation that is of the same kind and
// about the same VM; the UPID itself when there is none.
func (s *stage) ownUPID(upid string) string {
	out, _, _ := s.sh.run("pvesh get /nodes/pve1/tasks --source all --output-format json", "")
	kind := upidPattern.FindStringSubmatch(upid)[1]
	for _, own := range upidPattern.FindAllStringSubmatch(out, -1) {
		if own[1] == kind {
			return own[0]
		}
	}
	return upid
}

func (s *stage) write(name string, data []byte) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// alike turns what two outputs have of JSON into its shape: the keys, the kinds
// of their values, and the values that do not depend on the place. Arrays are
// sorted, since PVE's have no order.
func alike(got, want string) (string, string) {
	a, okA := jsonOf(got)
	b, okB := jsonOf(want)
	if !okA || !okB {
		return got, want
	}
	return shape("", a), shape("", b)
}

// jsonOf is the JSON value that an output consists of. Plain strings and
// numbers are compared as text.
func jsonOf(output string) (any, bool) {
	var text strings.Builder
	for line := range strings.Lines(output) {
		switch {
		case strings.HasPrefix(line, "1| "):
			text.WriteString(line[3:])
		case strings.HasPrefix(line, "=> exit 0"):
		default:
			return nil, false
		}
	}
	var v any
	if json.Unmarshal([]byte(text.String()), &v) != nil {
		return nil, false
	}
	switch v.(type) {
	case []any, map[string]any:
		return v, true
	}
	return nil, false
}

// told are the keys whose values count.
var told = []string{
	"id", "vmid", "node", "name", "type", "status", "qmpstatus", "storage", "template", "lock", "tags", "plugintype", "shared",
	"enabled", "active", "key", "n", "t", "exitstatus", "user", "volid", "format", "running",
	"memory", "scsi0", "boot", "allowed_nodes", "cores", "onboot", "sockets", "description", "quorate", "nodeid", "online", "level",
}

// shape writes a value so that equal shapes are equal texts.
func shape(key string, v any) string {
	switch v := v.(type) {
	case map[string]any:
		var parts []string
		for k, x := range v {
			parts = append(parts, k+":"+shape(k, x))
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, " ") + "}"
	case []any:
		var parts []string
		for _, x := range v {
			parts = append(parts, shape(key, x))
		}
		slices.Sort(parts)
		return "[" + strings.Join(parts, "\n ") + "]"
	}
	if slices.Contains(told, key) {
		return fmt.Sprintf("%q", fmt.Sprint(v))
	}
	return fmt.Sprintf("%T", v)
}
