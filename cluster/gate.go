package cluster

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// This file is the closed table once more, as patterns: everything that the bot
// runs on a node over SSH is a line of commandLines, everything that it leaves
// running there one of taskLines. The gate is made from them, a forced command
// for the bot's key that lets nothing else through.
//
// In a line, words in capitals stand for a value (see places), <name> is the
// text of a script, [ ] may be left out, and ... means one or more.

var commandLines = []string{
	"sh -c <task-start> task-start RUNDIR KEY NONCE BOOTIDFILE NUMBER TASK <task-run> /run/systemd/system",
	"sh -c <task-find> task-find RUNDIR KEY",
	"sh -c <task-poll> task-poll RUNDIR KEY NONCE BOOTIDFILE NUMBER NUMBER NUMBER NUMBER",
	"sh -c <task-interrupt> task-interrupt RUNDIR KEY NONCE BOOTIDFILE",
	"sh -c <task-forget> task-forget RUNDIR KEY NONCE BOOTIDFILE",

	"cat -- ETC/.members",
	"cat -- ETC/.vmlist",
	"cat -- BOOTIDFILE",
	"sh -c <read-config> read-config ETC NODE VMID",
	"sh -c <addresses> addresses ETC",
	"sh -c <ha-resources> ha-resources ETC/ha/resources.cfg",
	"sh -c <file-exists> file-exists IMAGEDIR/FILE",
	"sh -c <image-record> image-record IMAGEDIR IMAGE",
	"sh -c <image-keep> image-keep IMAGEDIR IMAGE",
	"sh -c <image-files> image-files IMAGEDIR",
	"sh -c <look> look IMAGEDIR TOOL...",

	"pvesh get /cluster/resources --output-format json",
	"pvesh get /nodes/NODE/status --output-format json",
	"pvesh get /nodes/NODE/network --output-format json --type any_bridge",
	"pvesh get /nodes/NODE/storage --output-format json",
	"pvesh get /nodes/NODE/storage/STORAGE/content --output-format json",
	"pvesh get /nodes/NODE/tasks --output-format json --source all --vmid VMID --typefilter KIND --limit 500",
	"pvesh get /nodes/NODE/tasks --output-format json --source active --typefilter download --limit 500",
	"pvesh delete /nodes/NODE/tasks/UPID",
	"pvesh get /nodes/NODE/qemu/VMID/snapshot --output-format json",
	"pvesh get /nodes/NODE/qemu/VMID/migrate --output-format json --target NODE",

	"qm status VMID",
	"qm start VMID",
	"qm stop VMID",
	"qm guest cmd VMID ping",
	"qm guest cmd VMID network-get-interfaces",
	"qm disk resize VMID DISK NUMBER",
	"qm set VMID [--cores NUMBER] [--memory NUMBER] [--balloon NUMBER] [--name DNSNAME] [--ipconfig0 IPCONFIG] [--description TEXT] [--delete OPTIONS]",
	"qm set VMID --memory NUMBER --cores NUMBER --cpu CPU --numa FLAG --net0 NETCARD,bridge=BRIDGEVLAN --ipconfig0 IPCONFIG" +
		" --smbios1 uuid=UUID --tags TAGS --onboot FLAG [--balloon NUMBER] [--nameserver NAMESERVERS] [--ciuser USER] [--cipassword HASH]" +
		" [--sshkeys /dev/stdin]",
	"qm template VMID",
	"qm destroy VMID --purge 1 --destroy-unreferenced-disks FLAG [--skiplock 1]",
	"pvesm free VOLUME",
	"pvesm path VOLUME",

	"sh -c <alive> alive ADDRESS...",
	"sh -c <read-url> read-url ETC URL",
	"sh -c <look-url> look-url ETC URL",
	"rm -f -- IMAGEDIR/FILE.part",
	"rm -f -- IMAGEDIR/FILE",
}

var taskLines = []string{
	"qm create VMID --name DNSNAME --memory NUMBER --cores NUMBER --cpu CPU --numa FLAG --ostype l26" +
		" --net0 virtio,bridge=BRIDGEVLAN --scsihw virtio-scsi-single --scsi0 STORAGE:0,import-from=SOURCEFORMAT,discard=on" +
		" --ide2 STORAGE:cloudinit --boot order=scsi0 --serial0 socket --vga serial0 --agent enabled=1 --onboot FLAG" +
		" --ciupgrade 0 --ipconfig0 IPCONFIG [--smbios1 uuid=UUID] [--tags TAGS] [--description TEXT] [--balloon NUMBER]" +
		" [--nameserver NAMESERVERS] [--ciuser USER] [--cipassword HASH] [--sshkeys /dev/stdin]",
	"qm clone VMID VMID --name DNSNAME --full 0 --description TEXT",
	"qm migrate VMID NODE [--online 1] [--with-local-disks 1] [--targetstorage STORAGE]",
	"qm clone VMID VMID --name DNSNAME --full 1 [--description TEXT] [--storage STORAGE]",
	"qm shutdown VMID --timeout NUMBER",
	"qm reboot VMID --timeout NUMBER",
	"qm snapshot VMID SNAPSHOT [--description TEXT]",
	"qm delsnapshot VMID SNAPSHOT",
	"qm rollback VMID SNAPSHOT",
	"qm destroy VMID --purge 1 --destroy-unreferenced-disks FLAG [--skiplock 1]",
	"pvesh create /nodes/NODE/storage/STORAGE/download-url --content import --filename FILE --url URL --checksum SUM" +
		" --checksum-algorithm SUMNAME",
	"sh -c <download> download IMAGEDIR FILE URL SUMTOOL SUM ETC",
}

// scripts are the constant scripts by the names that lines give them.
func scripts() map[string]string {
	return map[string]string{
		"task-start": taskStart, "task-run": taskRun, "task-find": taskFind, "task-poll": taskLib + taskPoll,
		"task-interrupt": taskLib + taskInterrupt, "task-forget": taskLib + taskForget,
		"read-config": readConfig, "addresses": addresses, "ha-resources": haResources, "file-exists": fileExists,
		"look": look, "alive": alive,
		"download": useProxy + downloadFile, "read-url": useProxy + readURL, "look-url": useProxy + lookURL,
		"image-record": imageRecord, "image-keep": imageKeep, "image-files": imageFiles,
	}
}

// place is what may stand for a word in capitals. Its pattern matches no NUL,
// which is what parts words.
type place struct{ name, pattern string }

// whiteSpace is what both Go and Perl take for it, for a class of characters.
const whiteSpace = `\t\n\x0b\f\r `

// places are the same patterns that check values before they get into a
// command.
func (cfg GateConfig) places() []place {
	inner := func(re *regexp.Regexp) string {
		s := strings.TrimSuffix(strings.TrimPrefix(re.String(), "^"), "$")
		return strings.NewReplacer("[^", `[^\x00`, `\s`, whiteSpace).Replace(s)
	}
	file, volume := inner(fileName), inner(volumeName)
	return []place{
		{"RUNDIR", literal(cfg.RunDir)},
		{"ETC", literal(cfg.PVEEtc)},
		{"BOOTIDFILE", literal(cfg.BootIDFile)},
		{"IMAGEDIR", literal(cfg.ImageDir)},
		{"VMID", `[1-9][0-9]{2,8}`},
		{"NODE", inner(nodeName)},
		{"STORAGE", inner(storageName)},
		{"VOLUME", volume},
		{"SOURCEFORMAT", "(?:" + literal(cfg.ImageDir+"/") + file + "|" + volume + ")(?:,format=" + inner(diskFormat) + ")?"},
		{"NETCARD", "virtio(?:=" + inner(macAddress) + ")?"},
		{"FILE", file},
		{"IMAGE", inner(imageKey)},
		{"UPID", strings.NewReplacer("[^:", `[^\x00:`, `\s`, whiteSpace).Replace(strings.Trim(upid.String(), "^$"))},
		{"BRIDGEVLAN", inner(bridgeName) + `(?:,tag=[0-9]{1,4})?`},
		{"DNSNAME", inner(dnsName)},
		{"SNAPSHOT", inner(snapshotName)},
		{"DISK", inner(diskName)},
		{"CPU", inner(cpuName)},
		{"IPCONFIG", inner(ipConfig)},
		{"NAMESERVERS", inner(nameservers)},
		{"USER", inner(userName)},
		{"HASH", inner(cryptHash)},
		{"UUID", inner(uuidPattern)},
		{"TAGS", inner(tagName) + "(?:;" + inner(tagName) + ")*"},
		{"OPTIONS", inner(optionNames)},
		{"TEXT", `(?:[^\x00-][^\x00]*)?`},
		{"KEY", inner(taskKey)},
		{"NONCE", `[a-z0-9]+`},
		{"NUMBER", `[0-9]+`},
		{"FLAG", `[01]`},
		{"KIND", `[a-z]+`},
		{"TOOL", `[a-z][a-z0-9-]*`},
		{"ADDRESS", `[0-9a-fA-F:.]+`},
		{"URL", `https?://[^\x00` + whiteSpace + `]+`},
		{"SUMTOOL", `sha(?:256|512)sum`},
		{"SUMNAME", `sha(?:256|512)`},
		{"SUM", `[0-9a-f]+`},
		{"TASK", `(?P<task>[^\x00]+)`},
	}
}

// GateConfig says where the bot finds its things on the nodes, which become
// part of what the gate allows.
type GateConfig struct {
	Config
	ImageDir string // absolute
}

// literal is a pattern for just s, in Go and in Perl.
func literal(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < 0x80 && !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9') {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

var placeName = regexp.MustCompile(`[A-Z]{2,}`)

// compile makes of a line a pattern over words, each of which has a NUL before
// it. value and text say what a place and a script become in it.
func compile(line string, value, text func(name string) string) string {
	var b strings.Builder
	b.WriteString(`\A`)
	for word := range strings.FieldsSeq(line) {
		word, opens := strings.CutPrefix(word, "[")
		word, repeats := strings.CutSuffix(word, "...")
		word, closes := strings.CutSuffix(word, "]")
		if opens || repeats {
			b.WriteString("(?:")
		}
		b.WriteString(`\x00`)
		if name, ok := strings.CutPrefix(word, "<"); ok {
			b.WriteString(text(strings.TrimSuffix(name, ">")))
		} else {
			at := 0
			for _, m := range placeName.FindAllStringIndex(word, -1) {
				b.WriteString(literal(word[at:m[0]]) + value(word[m[0]:m[1]]))
				at = m[1]
			}
			b.WriteString(literal(word[at:]))
		}
		switch {
		case closes:
			b.WriteString(")?")
		case repeats:
			b.WriteString(")+")
		}
	}
	return b.String() + `\z`
}

// Gate is the program that the bot's key is held to on a node: a forced command
// of its SSH server, in Perl, which every Proxmox VE node has. It runs what the
// bot runs over SSH, with values of the form that the bot takes, and refuses
// everything else with exit status 126.
func Gate(cfg GateConfig) []byte {
	cfg.Config = cfg.withDefaults()
	var b strings.Builder
	b.WriteString(gateBegin)
	b.WriteString("\nmy %script = (\n")
	all := scripts()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s => %s,\n", perlQuote(name), perlQuote(all[name]))
	}
	b.WriteString(");\n\n")
	for _, p := range cfg.places() {
		fmt.Fprintf(&b, "my $%s = %s;\n", p.name, perlQuote("(?:"+p.pattern+")"))
	}
	list := func(name string, lines []string) {
		fmt.Fprintf(&b, "\n%s = (\n", name)
		for _, line := range lines {
			pattern := compile(line,
				func(name string) string { return "${" + name + "}" },
				func(name string) string { return `\Q$script{` + perlQuote(name) + `}\E` })
			fmt.Fprintf(&b, "    # %s\n    qr{%s},\n", line, pattern)
		}
		b.WriteString(");\n")
	}
	list("our @tasks", taskLines)
	list("my @commands", commandLines)
	b.WriteString(gateEnd)
	return []byte(b.String())
}

func perlQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// maxPermits is how many addresses an authorized_keys line names one by one.
const maxPermits = 1024

// noListen takes back what port-forwarding gives beyond permitopen: opening
// ports on the node. sshd has no word for "none" there. It compares what is asked
// for in lower case, so that a name in capitals is one that nobody can ask for; for
// any name that matches, it would open the port on its loopback address.
const noListen = `permitlisten="NONE:1"`

// GateServer is what the configuration of a node's sshd needs beside the key: no
// option of a key keeps it from making Unix sockets on the node, anywhere and as
// root. Those that are there can be reached as before, as PVE's migrations do;
// permitopen keeps the bot's key from that.
const GateServer = "AllowStreamLocalForwarding local"

// GateOptions are the options of an authorized_keys line that holds a key to the
// gate, installed at path, and to connections to guests. Of more than 1024
// guests, or where one's address is not known (it is not valid), only the ports
// are named.
func GateOptions(path string, guests []netip.AddrPort) string {
	var ports []uint16
	permits := make([]string, 0, len(guests))
	known := true
	for _, g := range guests {
		permits = append(permits, fmt.Sprintf("permitopen=%q", g))
		ports = append(ports, g.Port())
		known = known && g.Addr().IsValid()
	}
	if len(guests) > maxPermits || !known {
		permits = permits[:0]
		slices.Sort(ports)
		for _, port := range slices.Compact(ports) {
			permits = append(permits, fmt.Sprintf(`permitopen="*:%d"`, port))
		}
	}
	options := []string{"restrict", fmt.Sprintf("command=%q", path)}
	if len(permits) > 0 {
		options = append(append(options, "port-forwarding", noListen), permits...)
	}
	return strings.Join(options, ",")
}
