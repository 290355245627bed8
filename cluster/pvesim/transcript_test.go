package pvesim_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pvebot/cluster/pvesim"
)

// exchange is a command of a transcript with all that came of it.
type exchange struct {
	line    int
	command string
	want    string // lines "1| out" and "2| err", then "=> exit N"
}

// readTranscript reads exchanges: "$ command" (its further lines follow until
// the first that looks like output), output, "=> exit N". All else is comment.
func readTranscript(text string) []exchange {
	var all []exchange
	var cur *exchange
	for i, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, "$ "):
			all = append(all, exchange{line: i + 1, command: line[2:]})
			cur = &all[len(all)-1]
			if strings.HasPrefix(line, "$ sim: ") {
				cur = nil // nothing comes of it
			}
		case cur == nil:
		case strings.HasPrefix(line, "1|"), strings.HasPrefix(line, "2|"):
			cur.want += strings.TrimRight(line, " ") + "\n"
		case strings.HasPrefix(line, "=> exit "):
			cur.want += line + "\n"
			cur = nil
		case cur.want == "":
			cur.command += "\n" + line
		}
	}
	return all
}

// play runs a command and writes down what came of it.
func play(sh shell, command string) string {
	out, errs, status := sh.run(command, "")
	var b strings.Builder
	writeLines(&b, "1| ", out)
	writeLines(&b, "2| ", errs)
	fmt.Fprintf(&b, "=> exit %d\n", status)
	return b.String()
}

func writeLines(b *strings.Builder, prefix, text string) {
	if text == "" {
		return
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		b.WriteString(strings.TrimRight(prefix+line, " ") + "\n")
	}
}

// varying are the parts of output that differ from run to run.
var varying = []struct {
	pattern *regexp.Regexp
	name    string
}{
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "UUID"},
	{regexp.MustCompile(`(?i)BC:24:11(:[0-9A-F]{2}){3}`), "MAC"},
	{regexp.MustCompile(`ctime=\d+`), "ctime=TIME"},
	{regexp.MustCompile(`UPID:(\w+):[0-9A-F]{8}:[0-9A-F]{8,9}:[0-9A-F]{8}:`), "UPID:$1:PID:PSTART:TIME:"},
	{regexp.MustCompile(`"digest":"[0-9a-f]{40}"`), `"digest":"SHA1"`},
	{regexp.MustCompile(`instance-id: [0-9a-f]{40}`), `instance-id: SHA1`},
	{regexp.MustCompile(`"ctime":\d+`), `"ctime":0`},
}

func steady(s string) string {
	for _, v := range varying {
		s = v.pattern.ReplaceAllString(s, v.name)
	}
	return s
}

// labOptions is the cluster that testdata/*.txt were taken from: what they
// show is what Proxmox VE 9.2 prints.
func labOptions() pvesim.Options {
	const gib = 1 << 30
	return pvesim.Options{
		Name: "lab", Empty: true, Nodes: pvesim.DefaultNodes()[:2],
		Storages: []pvesim.StorageSpec{
			{
				Name: "local", Type: "dir", Content: []string{"images", "import", "iso", "snippets"}, Capacity: 12 * gib, Used: gib,
				Volumes: []pvesim.VolumeSpec{
					{Path: "import/debian-12.qcow2", Format: "qcow2", Size: 42270720, Grown: 2 * gib},
					{Path: "import/d.qcow2", Format: "qcow2", Size: 196616, Grown: 64 << 20},
				},
			},
			{Name: "backup", Type: "dir", Content: []string{"backup"}, Capacity: 12 * gib, Used: gib},
			{Name: "offline", Type: "nfs", Content: []string{"images"}, Shared: true, Disabled: true},
		},
	}
}

// labs are the clusters of the transcripts that were not taken from the usual
// one.
func labs(transcript string) pvesim.Options {
	o := labOptions()
	switch transcript {
	case "chain":
		o.Storages = append(o.Storages,
			pvesim.StorageSpec{Name: "zfs", Type: "zfspool", Content: []string{"images"}, Capacity: 12 << 30},
			pvesim.StorageSpec{Name: "chain", Type: "dir", Content: []string{"images"}, Capacity: 12 << 30, VolumeChain: true},
			pvesim.StorageSpec{Name: "thick", Type: "lvm", Content: []string{"images"}, Capacity: 12 << 30, VolumeChain: true})
	case "devices":
		o.Mappings = []pvesim.MappingSpec{{Name: "gpu", Nodes: []string{"pve1"}}, {Name: "stick"}, {Name: "nic", Live: true}}
		o.CPUModels = map[string]string{"ours": "aes avx2", "theirs": "amx-tile"}
	case "node":
		o.Nodes[0].CPUs, o.Nodes[1].Bridges = 2, []string{"vmbr0", "vmbr1"}
		o.VNets = []pvesim.VNetSpec{{Name: "blue", Zone: "left", Nodes: []string{"pve1"}}, {Name: "green", Zone: "right", Nodes: []string{"pve2"}}}
	}
	return o
}

// The files are held to by hand: what PVE says is not ours to regenerate. A
// line "$ sim: WORD ARG..." is something that happens to the cluster.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts: ", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := pvesim.Start(t, labs(name))
			sh := dial(t, s, "pve1")
			for _, x := range readTranscript(string(text)) {
				if what, ok := strings.CutPrefix(x.command, "sim: "); ok {
					happen(t, s, strings.Fields(what))
					continue
				}
				if got := steady(play(sh, x.command)); got != steady(x.want) {
					t.Errorf("%s:%d: $ %s\n%s\nwant\n%s", file, x.line, x.command, got, x.want)
				}
			}
		})
	}
}

func happen(t *testing.T, s *pvesim.Sim, words []string) {
	t.Helper()
	vmid, err := strconv.Atoi(words[1])
	if err != nil {
		t.Fatal(err)
	}
	switch words[0] {
	case "lock":
		s.HoldLock(vmid, words[2])
	case "deaf":
		s.Deaf(vmid)
	case "ha":
		s.HAManaged(vmid)
	default:
		t.Fatalf("nothing happens by the name of %s", words[0])
	}
}

// requote puts quotes around the values of a command that was written down
// without any.
func requote(command string) string {
	parts := strings.Split(command, " --")
	for i, p := range parts[1:] {
		name, value, ok := strings.Cut(p, " ")
		if ok {
			parts[i+1] = name + " '" + value + "'"
		}
	}
	return strings.Join(parts, " --")
}
