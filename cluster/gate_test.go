package cluster

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"pvebot/cluster/internal/sshtest"
)

var gateConfig = GateConfig{
	Config:   Config{PVEEtc: "/proc/self/fd/20/etc/pve", RunDir: "/run/pvebot"},
	ImageDir: "/var/lib/pvebot/images",
}

// everyCommand has what each function of the table makes, by its name: values
// as large and as strange as they get, and with all and none of the options.
func everyCommand() (commands, tasks map[string][]Cmd) {
	cfg := gateConfig.withDefaults()
	download := Download{
		Dir: gateConfig.ImageDir, File: "ubuntu-24.04.img", URL: "https://mirror.example.org/a%20b/x.img?y=1&z='",
		Algorithm: "sha512", Sum: strings.Repeat("Ab", 64),
	}
	least := NewVM{
		VMID: 100, Name: "a", Cores: 1, MemoryMB: 16, CPU: "kvm64", Storage: "ab", ImportFrom: "local:import/x.qcow2", Bridge: "vmbr0", IPConfig: "ip=dhcp",
	}
	most := NewVM{
		VMID: 999999999, Name: "web-1.example.org", Cores: 128, MemoryMB: 1 << 20, BalloonMB: 1024, NUMA: true, CPU: "x86-64-v2-AES", Storage: "local-lvm",
		ImportFrom: gateConfig.ImageDir + "/debian-12.qcow2", Bridge: "vmbr0.1", VLAN: 4094, IPConfig: "ip=192.168.0.101/24,gw=192.168.0.1",
		Nameserver: "192.0.2.1 2001:db8::1", User: "debian", PasswordHash: "$6$rounds=5000$salt$ha/sh.", SSHKeys: "ssh-ed25519 AAAA x\n",
		UUID: "0f5b3c0e-6d1f-4b0b-9f0e-1a2b3c4d5e6f", Tags: []string{"pvebot", "a+b.c_d"}, OnBoot: true, Description: "it's\nmine; $(reboot) `x` \\ äöü \x01",
	}
	tasks = map[string][]Cmd{
		"cmdCreate":  {cmdCreate(least), cmdCreate(most)},
		"cmdMigrate": {cmdMigrate(Migration{VMID: 101, Target: "pve2"}), cmdMigrate(Migration{VMID: 101, Target: "pve2", Online: true, LocalDisks: true, Storage: "local-lvm"})},
		"cmdClone":   {cmdClone(NewClone{VMID: 101, NewID: 102, Name: "web-2"}), cmdClone(NewClone{VMID: 101, NewID: 102, Name: "web-2", Description: "it's one", Storage: "ceph"})},
		"cmdDownload": {
			cmdDownload(cfg.PVEEtc, download),
		},
		"cmdShutdown": {cmdShutdown(101, time.Minute)}, "cmdReboot": {cmdReboot(101, time.Hour)},
		"cmdSnapshot":       {cmdSnapshot(101, "before", ""), cmdSnapshot(101, "before", "it's one")},
		"cmdDeleteSnapshot": {cmdDeleteSnapshot(101, "before")}, "cmdRollback": {cmdRollback(101, "before")},
		"cmdDestroy":        {cmdDestroy(101, DestroyOptions{}), cmdDestroy(101, DestroyOptions{SkipLock: true, Unreferenced: true})},
		"cmdLinkedClone":    {cmdLinkedClone(NewClone{VMID: 9000, NewID: 102, Name: "web-2", Description: "it's\nmine"})},
		"cmdImportDownload": {cmdImportDownload("pve1", "local", download)},
	}
	commands = map[string][]Cmd{
		"cmdTaskFind":      {cmdTaskFind(cfg.RunDir, "create-1")},
		"cmdTaskPoll":      {cmdTaskPoll(cfg.RunDir, "k", nonce(), cfg.BootIDFile, 1<<40, pollTime, mostPause, pollLimit)},
		"cmdTaskInterrupt": {cmdTaskInterrupt(cfg.RunDir, "k", nonce(), cfg.BootIDFile)},
		"cmdTaskForget":    {cmdTaskForget(cfg.RunDir, "k", nonce(), cfg.BootIDFile)},

		"cmdMembers": {cmdMembers(cfg.PVEEtc)}, "cmdVMList": {cmdVMList(cfg.PVEEtc)}, "cmdAddresses": {cmdAddresses(cfg.PVEEtc)},
		"cmdBootID":     {cmdBootID(cfg.BootIDFile)},
		"cmdReadConfig": {cmdReadConfig(cfg.PVEEtc, "pve1", 101)}, "cmdHAResources": {cmdHAResources(cfg.PVEEtc)},
		"cmdFileExists":  {cmdFileExists(gateConfig.ImageDir + "/debian-12.qcow2")},
		"cmdImageRecord": {cmdImageRecord(gateConfig.ImageDir, "ubuntu-24.04")},
		"cmdImageKeep":   {cmdImageKeep(gateConfig.ImageDir, "rocky-9", ImageRecord{})},
		"cmdImageFiles":  {cmdImageFiles(gateConfig.ImageDir)},
		"cmdLook":        {cmdLook(gateConfig.ImageDir, "qm", "systemd-run")},

		"cmdResources": {cmdResources()}, "cmdStorages": {cmdStorages("pve1")}, "cmdVolumes": {cmdVolumes("pve1", "local-lvm")},
		"cmdNodeStatus": {cmdNodeStatus("pve1")}, "cmdNetworks": {cmdNetworks("pve1")},
		"cmdSnapshots": {cmdSnapshots("pve1", 101)}, "cmdMigrationCheck": {cmdMigrationCheck("pve1", 101, "pve2")},
		"cmdLastTask": {cmdLastTask("pve1", 101, "qmcreate")},

		"cmdStatus": {cmdStatus(101)}, "cmdStart": {cmdStart(101)}, "cmdStop": {cmdStop(101)}, "cmdAgentPing": {cmdAgentPing(101)},
		"cmdAgentInterfaces":  {cmdAgentInterfaces(101)},
		"cmdResize":           {cmdResize(101, "scsi0", 1<<40)},
		"cmdSet":              {cmdSet(101, Options{Cores: 2}), cmdSet(101, Options{Cores: 2, MemoryMB: 4096, BalloonMB: 2048, Name: "a.b", IPConfig: "ip=dhcp", Description: "x\ny", Delete: "ipconfig1,net1"})},
		"cmdDestroy":          {cmdDestroy(101, DestroyOptions{}), cmdDestroy(101, DestroyOptions{SkipLock: true, Unreferenced: true})},
		"cmdFreeVolume":       {cmdFreeVolume("local:101/vm-101-disk-0.qcow2")},
		"cmdTemplate":         {cmdTemplate(9000)},
		"cmdConfigure":        {cmdConfigure(most)},
		"cmdVolumePath":       {cmdVolumePath("local:import/ubuntu-24.04-0123456789ab.qcow2")},
		"cmdRunningDownloads": {cmdRunningDownloads("pve1")},
		"cmdStopTask":         {cmdStopTask("pve1", "UPID:pve-1:0000013D:00058A3E:6B03AB34:download:x.qcow2:root@pam:")},

		"cmdAlive":         {cmdAlive([]netip.Addr{netip.MustParseAddr("192.168.0.101"), netip.MustParseAddr("2001:db8::1")})},
		"cmdReadURL":       {cmdReadURL(cfg.PVEEtc, "https://mirror.example.org/SHA256SUMS")},
		"cmdHead":          {cmdHead(cfg.PVEEtc, "https://mirror.example.org/x.img")},
		"cmdRemoveImage":   {cmdRemoveImage(gateConfig.ImageDir, "ubuntu-24.04-0123456789ab.qcow2")},
		"cmdRemovePartial": {cmdRemovePartial(download)},
	}
	for _, cmds := range tasks {
		for _, c := range cmds {
			commands["cmdTaskStart"] = append(commands["cmdTaskStart"], cmdTaskStart(cfg.RunDir, "create-1", nonce(), cfg.BootIDFile, "/run/systemd/system", c))
		}
	}
	return commands, tasks
}

// table is the lines as Go sees them: the gate's twin.
type table struct{ commands, tasks []*regexp.Regexp }

func (cfg GateConfig) table() table {
	cfg.Config = cfg.withDefaults()
	places, texts := cfg.places(), scripts()
	compiled := func(lines []string) []*regexp.Regexp {
		patterns := make([]*regexp.Regexp, len(lines))
		for i, line := range lines {
			patterns[i] = regexp.MustCompile(compile(line,
				func(name string) string {
					at := slices.IndexFunc(places, func(p place) bool { return p.name == name })
					return "(?:" + places[at].pattern + ")"
				},
				func(name string) string { return regexp.QuoteMeta(texts[name]) }))
		}
		return patterns
	}
	return table{commands: compiled(commandLines), tasks: compiled(taskLines)}
}

// allows is what the gate decides, decided by Go.
func (t table) allows(argv []string) bool {
	return listed(t.commands, argv, func(task string) bool {
		inner, ok := unquote(task)
		return ok && listed(t.tasks, inner, func(string) bool { return false })
	})
}

func listed(list []*regexp.Regexp, argv []string, task func(string) bool) bool {
	joined := "\x00" + strings.Join(argv, "\x00")
	for _, p := range list {
		if m := p.FindStringSubmatch(joined); m != nil {
			i := p.SubexpIndex("task")
			return i < 0 || task(m[i])
		}
	}
	return false
}

// unquote is the inverse of Quote, for nothing but what Quote makes.
func unquote(line string) ([]string, bool) {
	var words []string
	for word := range strings.SplitSeq(strings.ReplaceAll(line, `'\''`, "\x00"), "' '") {
		words = append(words, strings.ReplaceAll(word, "\x00", "'"))
	}
	if len(words) > 0 {
		words[0] = strings.TrimPrefix(words[0], "'")
		words[len(words)-1] = strings.TrimSuffix(words[len(words)-1], "'")
	}
	return words, Quote(words) == line
}

// Each function of the table has its line in the gate, and each line a function.
func TestTheGateIsTheTable(t *testing.T) {
	commands, tasks := everyCommand()
	names, _ := filepath.Glob("*.go")
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "cmd") && commands[f.Name.Name] == nil && tasks[f.Name.Name] == nil {
				t.Errorf("%s: add what %s makes to everyCommand, and to gate.go the lines that let it through", name, f.Name.Name)
			}
		}
	}
	table := gateConfig.table()
	for name, cmds := range commands {
		for _, c := range cmds {
			if !table.allows(c.Argv) {
				t.Errorf("no line of gate.go lets through what %s makes: %.300q", name, c.Argv)
			}
		}
	}
	unused := func(lines []string, patterns []*regexp.Regexp, made map[string][]Cmd) {
		for i, p := range patterns {
			if !slices.ContainsFunc(slices.Concat(slices.Collect(maps.Values(made))...), func(c Cmd) bool { return p.MatchString("\x00" + strings.Join(c.Argv, "\x00")) }) {
				t.Errorf("nothing makes a command like %s", lines[i])
			}
		}
	}
	unused(commandLines, table.commands, commands)
	unused(taskLines, table.tasks, tasks)
}

// A value does not reach beyond its word.
func TestPlacesHoldOneWord(t *testing.T) {
	for _, p := range gateConfig.places() {
		re := regexp.MustCompile(`(?s)\A(?:` + p.pattern + `)\z`)
		for _, s := range []string{"a\x00b", "1\x002", "100\x00", "\x00", "ab:c\x00d", "a=b\x00", "$6$a\x00$b", "http://x\x00y", "/var/lib/pvebot/images/x\x00", "scsi0\x00", "0f5b3c0e-6d1f-4b0b-9f0e-1a2b3c4d5e6\x00"} {
			if re.MatchString(s) {
				t.Errorf("%s takes %q", p.name, s)
			}
		}
		if p.name != "TASK" && (re.MatchString("--evil") || re.MatchString("-x")) {
			t.Errorf("%s takes an option", p.name)
		}
	}
}

// watchman is the gate for real, with tools behind it that only tell what they
// were asked to do.
type watchman struct{ gate, bin string }

func newWatchman(t testing.TB) watchman {
	t.Helper()
	if _, err := exec.LookPath("/usr/bin/perl"); err != nil {
		t.Skip("perl is not installed: ", err)
	}
	dir := t.TempDir()
	w := watchman{filepath.Join(dir, "gate"), filepath.Join(dir, "bin")}
	if err := os.Mkdir(w.bin, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) {
		if err := os.WriteFile(name, data, 0o755); err != nil { //nolint:gosec // they are executed
			t.Fatal(err)
		}
	}
	write(w.gate, Gate(gateConfig))
	for _, tool := range []string{"qm", "pvesh", "pvesm", "sh", "bash", "cat", "wget", "rm", "reboot", "id"} {
		write(filepath.Join(w.bin, tool), []byte("#!/bin/sh\nprintf '%s\\0' \""+tool+"\" \"$@\"\n"))
	}
	return w
}

// ask sends a line through the gate; ran is the command that it let through.
func (w watchman) ask(t testing.TB, line string) (ran []string, refused string) {
	t.Helper()
	c := exec.Command(w.gate)
	c.Env = []string{"PATH=" + w.bin, "SSH_ORIGINAL_COMMAND=" + line}
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	switch status := c.ProcessState.ExitCode(); {
	case err == nil && errs.Len() == 0:
		return strings.Split(strings.TrimSuffix(out.String(), "\x00"), "\x00"), ""
	case status != 126 || out.Len() > 0 || !strings.HasPrefix(errs.String(), "pvebot-gate: "):
		t.Fatalf("%q: status %d, output %q, %s", line, status, &out, &errs)
	}
	return nil, errs.String()
}

func TestGateLetsTheBotThrough(t *testing.T) {
	w := newWatchman(t)
	commands, _ := everyCommand()
	for name, cmds := range commands {
		for _, c := range cmds {
			if ran, refused := w.ask(t, Quote(c.Argv)); !slices.Equal(ran, c.Argv) {
				t.Errorf("%s: ran %q, refused %q", name, ran, refused)
			}
			want := slices.Clone(c.Argv)
			want[0] = BeginOutput + want[0]
			if ran, refused := w.ask(t, BeginLine+Quote(c.Argv)); !slices.Equal(ran, want) {
				t.Errorf("%s, after a mark: ran %q, refused %q", name, ran, refused)
			}
		}
	}
}

// TestGateOfAnOlderVersion: one that does not know the mark is asked without it.
func TestGateOfAnOlderVersion(t *testing.T) {
	w := newWatchman(t)
	older := strings.Replace(string(Gate(gateConfig)), "s/\\Aecho (pvebot-begins)", "s/\\Anothing ()", 1)
	if older == string(Gate(gateConfig)) {
		t.Fatal("the gate knows no mark")
	}
	if err := os.WriteFile(w.gate, []byte(older), 0o755); err != nil { //nolint:gosec // it is executed
		t.Fatal(err)
	}
	s := sshtest.Start(t)
	s.Force(w.gate)
	r := NewSSH(SSHConfig{Addr: s.Addr, User: s.User, Signers: []ssh.Signer{s.Signer}, HostKeys: ssh.FixedHostKey(s.HostKey), Fence: true})
	defer r.Close()
	if _, err := r.Run(t.Context(), Cmd{Argv: []string{"reboot"}}); !IsRefusedByGate(err) {
		t.Errorf("reboot: %v", err)
	}
	for range 2 {
		if _, err := r.Run(t.Context(), Cmd{Argv: []string{"cat", "--", gateConfig.PVEEtc + "/.members"}}); IsRefusedByGate(err) {
			t.Error(err)
		}
	}
}

// attacks are what somebody with the bot's key would try.
func attacks() []string {
	commands, tasks := everyCommand()
	start := commands["cmdTaskStart"][0].Argv
	task := func(change func(argv []string)) string {
		argv := slices.Clone(start)
		change(argv)
		return Quote(argv)
	}
	lines := []string{
		"", " ", "id", "qm start 101", "'qm' 'start' '101'; reboot", "'qm' 'start' '101' ", " 'qm' 'start' '101'", "'qm'  'start' '101'",
		"'qm' 'start' '101'\n'reboot'", "'qm' 'start' \"101\"", "'qm' 'start' '101", "'qm' 'start' $(reboot)", "'qm' 'start' '101' '&&' 'reboot'",
		`'qm' 'start' '101'\''' 'x'`, "/usr/lib/openssh/sftp-server", "scp -t /etc", "internal-sftp",
	}
	for _, argv := range [][]string{
		{"id"}, {"reboot"}, {"bash"}, {"sh"}, {"sh", "-c", "id"}, {"qm"}, {""}, {"", "qm", "start", "101"},
		{"/tmp/qm", "start", "101"}, {"./qm", "start", "101"}, {"qm", "start", "101", "--skiplock", "1"}, {"qm", "start", "99"}, {"qm", "start", "101\n"},
		{"qm", "start", "--help"}, {"qm", "monitor", "101"}, {"qm", "terminal", "101"}, {"qm", "guest", "exec", "101", "id"}, {"qm", "guest", "passwd", "101", "root"},
		{"qm", "set", "101", "--args", "-monitor x"}, {"qm", "set", "101", "--hookscript", "local:snippets/x"}, {"qm", "set", "101", "--cores", "2", "--cores", "2"},
		{"qm", "set", "101", "--description", "--args"}, {"qm", "importdisk", "101", "/etc/shadow", "local"}, {"qm", "disk", "import", "101", "/etc/shadow", "local"},
		{"qm", "destroy", "101"}, {"qm", "destroy", "101", "--purge", "1", "--destroy-unreferenced-disks", "1", "--skiplock", "1", "--skiplock", "1"},
		{"pvesh", "get", "/access/users", "--output-format", "json"}, {"pvesh", "get", "/nodes/pve1/../../access", "--output-format", "json"},
		{"pvesh", "create", "/nodes/pve1/execute", "--commands", "[]"}, {"pvesm", "free", "--help"}, {"pvesm", "set", "local", "--content", "x"},
		{"cat", "--", "/etc/shadow"}, {"cat", "--", gateConfig.PVEEtc + "/priv/authorized_keys"}, {"cat", "--", gateConfig.PVEEtc + "/.members", "/etc/shadow"},
		{"cat", "--", gateConfig.PVEEtc + "/xmembers"}, {"sh", "-c", useProxy + readURL, "read-url", gateConfig.PVEEtc, "file:///etc/shadow"}, {"wget", "-O", "/etc/cron.d/x", "--", "https://example.org/x"},
		{"sh", "-c", useProxy + readURL, "read-url", "/tmp", "https://example.org"}, {"wget", "-qO-", "--", "https://example.org"}, {"rm", "-f", "--", "/etc/passwd.part"}, {"rm", "-f", "--", gateConfig.ImageDir + "/../../x.part"},
		{"sh", "-c", readConfig + "\nid", "read-config", gateConfig.PVEEtc, "pve1", "101"}, {"sh", "-c", readConfig, "read-config", "/root", "pve1", "101"},
		{"sh", "-c", readConfig, "read-config", gateConfig.PVEEtc, "../..", "101"}, {"sh", "-c", fileExists, "file-exists", "/root/.ssh/id_rsa"},
		{"sh", "-c", alive, "alive"}, {"sh", "-c", alive, "alive", "-f"}, {"sh", "-c", useProxy + downloadFile, "download", "/etc/cron.d", "x", "https://example.org/x", "sha256sum", "00"},
	} {
		lines = append(lines, Quote(argv))
	}
	return append(lines,
		Quote(tasks["cmdCreate"][0].Argv), // only as a task
		task(func(a []string) { a[2] += "id\n" }),
		task(func(a []string) { a[9] = "reboot" }),
		task(func(a []string) { a[9] = "'reboot'" }),
		task(func(a []string) { a[9] += "; reboot" }),
		task(func(a []string) { a[9] = Quote([]string{"qm", "start", "101"}) }), // not a task
		task(func(a []string) { a[9] = Quote(start) }),
		task(func(a []string) {
			a[9] = strings.Replace(a[9], gateConfig.ImageDir+"/debian-12.qcow2", "/etc/shadow", 1) + " '--args' 'x'"
		}),
		task(func(a []string) { a[10] = "reboot" }),
		task(func(a []string) { a[4] = "/etc/cron.d" }),
		task(func(a []string) { a[5] = "../x" }),
		task(func(a []string) { a[11] = "/tmp" }),
	)
}

func TestGateRefuses(t *testing.T) {
	w := newWatchman(t)
	for _, line := range attacks() {
		for _, line := range []string{line, BeginLine + line, BeginLine + BeginLine + line} {
			if ran, _ := w.ask(t, line); ran != nil {
				t.Errorf("%.200q: ran %q", line, ran)
			}
		}
	}
	for _, line := range []string{"echo pvebot-begins; exec ", "echo x; exec 'qm' 'start' '101'", "echo pvebot-begins; 'qm' 'start' '101'", BeginLine + BeginLine + "'qm' 'start' '101'"} {
		if ran, _ := w.ask(t, line); ran != nil {
			t.Errorf("%q: ran %q", line, ran)
		}
	}
	source := newSource(t)
	if ran, _ := w.ask(t, source); ran != nil {
		t.Errorf("an import of /etc/shadow: ran %q", ran)
	}
}

// newSource is a create that imports a file of the node's own.
func newSource(t *testing.T) string {
	t.Helper()
	_, tasks := everyCommand()
	argv := slices.Clone(tasks["cmdCreate"][1].Argv)
	i := slices.IndexFunc(argv, func(s string) bool { return strings.Contains(s, "import-from=") })
	argv[i] = "local-lvm:0,import-from=/etc/shadow,discard=on"
	cfg := gateConfig.withDefaults()
	return Quote(cmdTaskStart(cfg.RunDir, "k", nonce(), cfg.BootIDFile, "/run/systemd/system", Cmd{Argv: argv}).Argv)
}

// FuzzGate: what gets through is on the list, word by word what was asked for.
func FuzzGate(f *testing.F) {
	commands, _ := everyCommand()
	for _, cmds := range commands {
		for _, c := range cmds {
			f.Add(Quote(c.Argv))
		}
	}
	for _, line := range attacks() {
		f.Add(line)
	}
	w, table := newWatchman(f), gateConfig.table()
	f.Fuzz(func(t *testing.T, line string) {
		if strings.Contains(line, "\x00") || len(line) > maxCommandLine {
			t.Skip("no environment can hold it")
		}
		ran, _ := w.ask(t, line)
		argv, quoted := unquote(line)
		switch allowed := quoted && table.allows(argv); {
		case ran != nil && !allowed:
			t.Errorf("%q let through %q", line, ran)
		case ran != nil && !slices.Equal(ran, argv):
			t.Errorf("%q became %q", line, ran)
		case ran == nil && allowed:
			t.Errorf("%q was refused", line)
		}
	})
}
