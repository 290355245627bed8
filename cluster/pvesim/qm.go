package pvesim

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// aliases of commands.
var qmAliases = map[string]string{"resize": "disk resize", "importdisk": "disk import", "agent": "guest cmd"}

// groups are commands with sub-commands.
var qmGroups = []string{"disk", "guest", "cloudinit"}

// qmCommands does the work of each command, once its arguments are checked.
var qmCommands map[string]func(*call, args) error

func init() {
	qmCommands = map[string]func(*call, args) error{
		"qm create":            (*call).qmCreate,
		"qm set":               (*call).qmSet,
		"qm start":             (*call).qmStart,
		"qm stop":              (*call).qmStop,
		"qm shutdown":          (*call).qmShutdown,
		"qm reboot":            (*call).qmReboot,
		"qm reset":             (*call).qmReset,
		"qm destroy":           (*call).qmDestroy,
		"qm config":            (*call).qmConfig,
		"qm status":            (*call).qmStatus,
		"qm list":              (*call).qmList,
		"qm disk resize":       (*call).qmResize,
		"qm disk import":       (*call).qmImportDisk,
		"qm unlock":            (*call).qmUnlock,
		"qm pending":           (*call).qmPending,
		"qm cloudinit dump":    (*call).qmCloudinitDump,
		"qm cloudinit update":  (*call).qmCloudinitUpdate,
		"qm cloudinit pending": (*call).qmCloudinitPending,
		"qm guest cmd":         (*call).qmGuestCmd,
		"qm guest exec":        (*call).qmGuestExec,
		"qm migrate":           (*call).qmMigrate,
		"qm snapshot":          (*call).qmSnapshot,
		"qm delsnapshot":       (*call).qmDelSnapshot,
		"qm listsnapshot":      (*call).qmListSnapshot,
		"qm rollback":          (*call).qmRollback,
		"qm clone":             (*call).qmClone,
		"qm template":          (*call).qmTemplate,
		"qm suspend":           (*call).qmSuspend,
		"qm resume":            (*call).qmResume,
	}
}

// qm is the command `qm`.
func (c *call) qm() error {
	if len(c.argv) > 0 && c.argv[0] == "help" {
		return c.qmHelp(c.argv[1:])
	}
	name, rest, err := expand(c.argv)
	if err != nil {
		return err
	}
	cmd := commands()[name]
	a, err := c.parse(cmd, rest)
	if err != nil {
		return err
	}
	if path, ok := a.values["sshkeys"]; ok {
		// qm takes a file's name where the API takes the text.
		text, err := c.readKeys(path)
		if err != nil {
			return err
		}
		a.values["sshkeys"] = text
	}
	if err := cmd.check(a.values, c.sim.rules()); err != nil {
		return err
	}
	return qmCommands[name](c, a)
}

// expand finds the command that words begin with; unique prefixes will do.
func expand(words []string) (name string, rest []string, err error) {
	if len(words) == 0 {
		return "", nil, fail("ERROR: no command specified\n%s", qmUsage())
	}
	first := words[0]
	if full, ok := qmAliases[first]; ok {
		return "qm " + full, words[1:], nil
	}
	var names []string
	for n := range commands() {
		sub, _, _ := strings.Cut(strings.TrimPrefix(n, "qm "), " ")
		names = append(names, sub)
	}
	word, ok := unique(first, names)
	if !ok {
		return "", nil, noCommand(first, first, names)
	}
	if !slices.Contains(qmGroups, word) {
		return "qm " + word, words[1:], nil
	}
	if len(words) == 1 {
		return "", nil, fail("ERROR: incomplete command 'qm %s'\n%s", word, qmUsage())
	}
	var subs []string
	for n := range commands() {
		if s, ok := strings.CutPrefix(n, "qm "+word+" "); ok {
			subs = append(subs, s)
		}
	}
	sub, ok := unique(words[1], subs)
	if !ok {
		return "", nil, noCommand(word+" "+words[1], words[1], subs)
	}
	return "qm " + word + " " + sub, words[2:], nil
}

// unique finds the name that word is, or is the only one to begin with.
func unique(word string, names []string) (string, bool) {
	if slices.Contains(names, word) {
		return word, true
	}
	var found []string
	for _, n := range names {
		if strings.HasPrefix(n, word) && !slices.Contains(found, n) {
			found = append(found, n)
		}
	}
	if len(found) != 1 {
		return "", false
	}
	return found[0], true
}

// noCommand is the complaint about a command of which word is no name. PVE:
// the beginning of several is only incomplete.
func noCommand(full, word string, names []string) error {
	what := "unknown"
	if slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, word) }) {
		what = "incomplete"
	}
	return fail("ERROR: %s command 'qm %s'\n%s", what, full, qmUsage())
}

// qmHelp is `qm help [COMMAND]`, as far as the lines of usage.
func (c *call) qmHelp(words []string) error {
	if len(words) == 0 {
		lines := []string{qmUsage(), ""}
		for _, name := range slices.Sorted(maps.Keys(commands())) {
			lines = append(lines, "       "+strings.TrimSuffix(commands()[name].usage(), "\n"))
		}
		return c.out(strings.Join(lines, "\n"))
	}
	name, _, err := expand(words)
	if err != nil {
		return err
	}
	return c.out("USAGE: " + commands()[name].usage())
}

func qmUsage() string { return "USAGE: qm <COMMAND> [ARGS] [OPTIONS]" }

// readKeys reads, checks and encodes the file of --sshkeys.
func (c *call) readKeys(path string) (string, error) {
	data, _, reason := c.read(path, mib)
	if reason != "" {
		return "", failStatus(2, "can't open '%s' - %s", path, reason)
	}
	if _, err := parseKeys(string(data)); err != nil {
		return "", fail("SSH public key validation error")
	}
	return uriEscape(string(data)), nil
}

// find returns a VM of this node. Sim.mu must be held.
func (c *call) find(id string) (*vm, error) {
	n, _ := strconv.Atoi(id)
	v := c.sim.vms[n]
	if v == nil || v.node != c.node || v.typ != "qemu" {
		return nil, c.noConf(id)
	}
	return v, nil
}

// findHere is find for the commands that ask whether the VM runs before they
// read its conf file: they have other words for one that is not there.
func (c *call) findHere(id string) (*vm, error) {
	v, err := c.find(id)
	if err != nil {
		return nil, failStatus(2, "unable to find configuration file for VM %s on node '%s'", id, c.node.name)
	}
	return v, nil
}

func (c *call) noConf(id string) error {
	return failStatus(2, "Configuration file 'nodes/%s/qemu-server/%s.conf' does not exist", c.node.name, id)
}

// unlocked is the check before each change.
func unlocked(v *vm, a args) error {
	if lock := v.opts["lock"]; lock != "" && !a.is("skiplock") {
		return fail("VM is locked (%s)", lock)
	}
	return nil
}

func (c *call) qmConfig(a args) error {
	c.sim.mu.Lock()
	v, err := c.find(a.values["vmid"])
	var text string
	if err == nil {
		text = configText(v, a.is("current"))
	}
	c.sim.mu.Unlock()
	if err != nil {
		return err
	}
	return c.out(text)
}

// effective are the options with what is pending, unless current is asked for.
func effective(v *vm, current bool) map[string]string {
	opts := maps.Clone(v.opts)
	if !current {
		maps.Copy(opts, v.pending)
		for _, k := range splitTags(opts["delete"]) {
			delete(opts, k)
		}
		delete(opts, "delete")
	}
	if opts["cipassword"] != "" {
		opts["cipassword"] = "**********"
	}
	return opts
}

func configText(v *vm, current bool) string {
	opts := effective(v, current)
	if v.description != "" {
		opts["description"] = oneLine(v.description)
	}
	return sortedLines(opts)
}

// oneLine is a description as qm prints it, with encoded line breaks.
func oneLine(description string) string {
	return strings.ReplaceAll(encodeText(description), "\n", "%0A")
}

func sortedLines(opts map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(opts)) {
		fmt.Fprintf(&b, "%s: %s\n", k, opts[k])
	}
	return b.String()
}

func (c *call) qmStatus(a args) error {
	c.sim.mu.Lock()
	v, err := c.find(a.values["vmid"])
	var text string
	if err == nil {
		text = "status: " + v.qmpStatus()
		if a.is("verbose") {
			text = sortedLines(c.sim.verbose(v))
		}
	}
	c.sim.mu.Unlock()
	if err != nil {
		return err
	}
	return c.out(text)
}

// status is whether there is a process.
func (v *vm) status() string {
	if v.running {
		return "running"
	}
	return "stopped"
}

// qmpStatus is what QEMU says of itself.
func (v *vm) qmpStatus() string {
	if v.running && v.paused {
		return "paused"
	}
	return v.status()
}

func (s *Sim) verbose(v *vm) map[string]string {
	out := map[string]string{}
	for k, value := range s.current(v) {
		if k != "ha" && k != "cpu" {
			out[k] = fmt.Sprint(value)
		}
	}
	if v.running && s.release() >= 9 {
		for _, what := range []string{"cpu", "io", "memory"} {
			out["pressure"+what+"some"], out["pressure"+what+"full"] = "0", "0"
		}
	}
	return out
}

func (c *call) qmList(args) error {
	var b strings.Builder
	c.sim.mu.Lock()
	for _, v := range c.sim.sortedVMs() {
		if v.node != c.node || v.typ != "qemu" {
			continue
		}
		if b.Len() == 0 {
			fmt.Fprintf(&b, "%10s %-20s %-10s %-10s %12s %-10s\n", "VMID", "NAME", "STATUS", "MEM(MB)", "BOOTDISK(GB)", "PID")
		}
		fmt.Fprintf(&b, "%10d %-20s %-10s %-10d %12.2f %-10d\n", v.id, v.name(), v.status(),
			v.memory()/mib, float64(v.bootDisk())/float64(gib), v.pid)
	}
	c.sim.mu.Unlock()
	return c.out(b.String()) // PVE: no VMs, no header
}

func (s *Sim) sortedVMs() []*vm {
	var out []*vm
	for _, id := range slices.Sorted(maps.Keys(s.vms)) {
		out = append(out, s.vms[id])
	}
	return out
}

func (c *call) qmUnlock(a args) error {
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	v, err := c.find(a.values["vmid"])
	if err != nil {
		return err
	}
	delete(v.opts, "lock")
	c.sim.saveVM(v)
	return nil
}

func (c *call) qmPending(a args) error {
	c.sim.mu.Lock()
	v, err := c.find(a.values["vmid"])
	var b strings.Builder
	if err == nil {
		opts := effective(v, true)
		if v.description != "" {
			opts["description"] = oneLine(v.description)
		}
		keys := slices.Collect(maps.Keys(opts))
		for k := range v.pending {
			if !slices.Contains(keys, k) && k != "delete" {
				keys = append(keys, k)
			}
		}
		deleted := splitTags(v.pending["delete"])
		slices.Sort(keys)
		for _, k := range keys {
			if value, ok := opts[k]; ok {
				fmt.Fprintf(&b, "cur %s: %s\n", k, value)
			}
			if value, ok := v.pending[k]; ok {
				fmt.Fprintf(&b, "new %s: %s\n", k, value)
			}
			if slices.Contains(deleted, k) {
				fmt.Fprintf(&b, "del %s\n", k)
			}
		}
	}
	c.sim.mu.Unlock()
	if err != nil {
		return err
	}
	return c.out(b.String())
}
