package cluster

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// answers is a node that gives prepared answers to command lines, and counts
// what it was asked. Scripts are called by their name.
type answers struct {
	mu    sync.Mutex
	asked []Cmd
	reply map[string]func() (Result, error)
}

func (a *answers) Run(_ context.Context, c Cmd) (Result, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, c)
	line := strings.Join(c.Argv, " ")
	if c.Argv[0] == "sh" {
		line = strings.Join(c.Argv[3:], " ")
	}
	f, ok := a.reply[line]
	if !ok {
		return Result{}, fmt.Errorf("unexpected command: %s", line)
	}
	res, err := f()
	if refused := (*ExitError)(nil); errors.As(err, &refused) {
		refused.Argv = c.Argv
	}
	return res, err
}

func says(stdout string) func() (Result, error) {
	return func() (Result, error) { return Result{Stdout: []byte(stdout)}, nil }
}

// warns ends well with a text on standard error, as PVE does when it fails.
func warns(stderr string) func() (Result, error) {
	return func() (Result, error) { return Result{Stderr: []byte(stderr)}, nil }
}

func refuses(status int, stderr string) func() (Result, error) {
	return func() (Result, error) {
		return Result{Stderr: []byte(stderr)}, &ExitError{Status: status, Stderr: stderr}
	}
}

func fails(err error) func() (Result, error) {
	return func() (Result, error) { return Result{}, fmt.Errorf("%w: by the test", err) }
}

// inTurn gives one answer after the other, and repeats the last.
func inTurn(f ...func() (Result, error)) func() (Result, error) {
	i := -1
	return func() (Result, error) {
		i = min(i+1, len(f)-1)
		return f[i]()
	}
}

// fakeNodes are nodes with prepared answers.
type fakeNodes map[string]*answers

func (n fakeNodes) Names() []string {
	var names []string
	for name := range n {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (n fakeNodes) Node(name string) (Runner, error) {
	if a, ok := n[name]; ok {
		return a, nil
	}
	return nil, fmt.Errorf("%s: %w", name, ErrNoNode)
}

func (fakeNodes) Dial(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("no")
}
func (fakeNodes) Close() error { return nil }

// fakeTasks remember what was started.
type fakeTasks struct{ started []Cmd }

func (f *fakeTasks) Start(_ context.Context, node, key string, c Cmd) (Task, error) {
	f.started = append(f.started, c)
	return Task{Node: node, Key: key}, nil
}
func (*fakeTasks) Find(context.Context, string, string) (Task, error) { return Task{}, ErrNoTask }
func (*fakeTasks) Follow(context.Context, Task, int64) iter.Seq2[Line, error] {
	return func(func(Line, error) bool) {}
}
func (*fakeTasks) Interrupt(context.Context, Task) error { return nil }
func (*fakeTasks) Forget(context.Context, Task) error    { return nil }

// one is a cluster of one node, pve1.
func one(reply map[string]func() (Result, error)) (*Cluster, *answers) {
	a := &answers{reply: reply}
	return New(fakeNodes{"pve1": a}, &fakeTasks{}, Config{PVEEtc: "/etc/pve"}), a
}

const noConf = "Configuration file 'nodes/pve1/qemu-server/101.conf' does not exist"

type replies = map[string]func() (Result, error)

func TestReadsAskTheNextNode(t *testing.T) {
	const list = `{"version":1,"ids":{"101":{"node":"pve2","type":"qemu"}}}`
	for name, test := range map[string]struct {
		first func() (Result, error)
		asked int // of the second node
	}{
		"answers":     {says(list), 0},
		"not started": {fails(ErrNotStarted), 1},
		"lost":        {fails(ErrLost), 1},
		"refuses":     {refuses(1, "cat: no such file"), 1}, // its pmxcfs is down
	} {
		a := &answers{reply: replies{"cat -- /etc/pve/.vmlist": test.first}}
		b := &answers{reply: replies{"cat -- /etc/pve/.vmlist": says(list)}}
		c := New(fakeNodes{"a": a, "b": b}, &fakeTasks{}, Config{})
		g, err := c.Locate(t.Context(), 101)
		if err != nil || g.Node != "pve2" || len(b.asked) != test.asked {
			t.Errorf("%s: %+v, %v, second node asked %d times", name, g, err, len(b.asked))
		}
	}
	c, _ := one(replies{"cat -- /etc/pve/.vmlist": says(list)})
	if _, err := c.Locate(t.Context(), 102); !errors.Is(err, ErrNoVM) {
		t.Errorf("nobody is 102: %v", err)
	}
}

// A node that the others have lost is believed only when nobody knows better.
func TestMembershipPrefersAQuorum(t *testing.T) {
	const alone, together = `{"nodename":"a","cluster":{"name":"x","quorate":0}}`, `{"nodename":"b","cluster":{"name":"x","quorate":1}}`
	a := &answers{reply: replies{"cat -- /etc/pve/.members": says(alone)}}
	b := &answers{reply: replies{"cat -- /etc/pve/.members": says(together)}}
	c := New(fakeNodes{"a": a, "b": b}, &fakeTasks{}, Config{})
	for range 2 {
		if m, err := c.Membership(t.Context()); err != nil || !m.Quorate {
			t.Errorf("%+v, %v: the other node has a quorum", m, err)
		}
	}
	if len(a.asked) != 1 {
		t.Errorf("the one that is alone was asked %d times, want once", len(a.asked))
	}
	b.reply["cat -- /etc/pve/.members"] = refuses(1, "cat: no such file")
	if m, err := c.Membership(t.Context()); err != nil || m.Quorate {
		t.Errorf("%+v, %v: nobody has a quorum", m, err)
	}
	c = New(dark{fakeNodes{"a": a, "b": b}, "b"}, &fakeTasks{}, Config{})
	synctest.Test(t, func(t *testing.T) {
		for range 2 {
			began := time.Now()
			if m, err := c.Membership(t.Context()); err != nil || m.Quorate || time.Since(began) > 2*time.Second {
				t.Errorf("%+v, %v after %v: only the one that is alone answers", m, err, time.Since(began))
			}
		}
	})
}

// A connection that breaks under a look costs a second look, no more.
func TestLooksAreRepeatedOnce(t *testing.T) {
	const list = `{"version":1,"ids":{"101":{"node":"pve2","type":"qemu"}}}`
	for name, test := range map[string]struct {
		reply func() (Result, error)
		asked int
		want  error
	}{
		"answers":          {says(list), 1, nil},
		"lost":             {inTurn(fails(ErrLost), says(list)), 2, nil},
		"lost twice":       {fails(ErrLost), 2, ErrLost},
		"lost, then away":  {inTurn(fails(ErrLost), fails(ErrNotStarted)), 2, ErrLost},
		"away":             {fails(ErrNotStarted), 1, ErrNotStarted},
		"lost and refused": {inTurn(fails(ErrLost), refuses(1, "no such file")), 2, errAny},
	} {
		c, a := one(replies{"cat -- /etc/pve/.vmlist": test.reply})
		_, err := c.Guests(t.Context())
		if test.want == errAny && err == nil || test.want != errAny && !errors.Is(err, test.want) || len(a.asked) != test.asked {
			t.Errorf("%s: %v after %d looks, want %v after %d", name, err, len(a.asked), test.want, test.asked)
		}
	}
}

func TestActionsAreNotRepeated(t *testing.T) {
	for _, kind := range []error{ErrNotStarted, ErrLost} {
		a, b := &answers{reply: replies{"qm start 101": fails(kind)}}, &answers{}
		c := New(fakeNodes{"pve1": a, "pve2": b}, &fakeTasks{}, Config{})
		if err := c.Start(t.Context(), "pve1", 101); !errors.Is(err, kind) {
			t.Errorf("got %v, want %v", err, kind)
		}
		if len(a.asked) != 1 || len(b.asked) != 0 || !a.asked[0].Changes {
			t.Errorf("asked %v and %v", a.asked, b.asked)
		}
	}
}

func TestPower(t *testing.T) {
	for name, test := range map[string]struct {
		reply replies
		do    func(c *Cluster) error
		want  error // nil: fine; errAny: some other error
	}{
		"start":         {replies{"qm start 101": says("generating cloud-init ISO\n")}, start, nil},
		"start running": {replies{"qm start 101": refuses(255, "VM 101 already running")}, start, nil},
		"start nobody":  {replies{"qm start 101": refuses(255, noConf)}, start, ErrNoVM},
		"start locked":  {replies{"qm start 101": refuses(255, "VM is locked (backup)")}, start, errAny},
		"stop":          {replies{"qm stop 101": says("")}, stop, nil},
		"stop nobody":   {replies{"qm stop 101": refuses(2, noConf)}, stop, ErrNoVM},
		"destroy":       {replies{"qm destroy 101 --purge 1 --destroy-unreferenced-disks 0": says("purging VM 101 from related configurations..\n")}, destroy, nil},
		"destroy gone":  {replies{"qm destroy 101 --purge 1 --destroy-unreferenced-disks 0": refuses(2, noConf)}, destroy, ErrNoVM},
		"destroy running": {
			replies{"qm destroy 101 --purge 1 --destroy-unreferenced-disks 0": refuses(25, "VM 101 is running - destroy failed")}, destroy, errAny,
		},
	} {
		c, a := one(test.reply)
		err := test.do(c)
		if test.want == errAny {
			if refused := (*ExitError)(nil); !errors.As(err, &refused) || errors.Is(err, ErrNoVM) {
				t.Errorf("%s: %v", name, err)
			}
		} else if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		for _, cmd := range a.asked {
			if !cmd.Changes {
				t.Errorf("%s: %v is not marked as a change", name, cmd.Argv)
			}
		}
	}
	c, a := one(replies{"qm destroy 101 --purge 1 --destroy-unreferenced-disks 1 --skiplock 1": says("")})
	if err := c.Destroy(t.Context(), "pve1", 101, DestroyOptions{SkipLock: true, Unreferenced: true}); err != nil || len(a.asked) != 1 {
		t.Error(err)
	}
}

var errAny = errors.New("any")

func start(c *Cluster) error { return c.Start(context.Background(), "pve1", 101) }
func stop(c *Cluster) error  { return c.Stop(context.Background(), "pve1", 101) }
func destroy(c *Cluster) error {
	return c.Destroy(context.Background(), "pve1", 101, DestroyOptions{})
}

func TestStatus(t *testing.T) {
	c, _ := one(replies{"qm status 101": says("status: running\n"), "qm status 102": refuses(2, strings.ReplaceAll(noConf, "101", "102"))})
	if s, err := c.Status(t.Context(), "pve1", 101); s != "running" || err != nil {
		t.Errorf("%q, %v", s, err)
	}
	if _, err := c.Status(t.Context(), "pve1", 102); !errors.Is(err, ErrNoVM) {
		t.Error(err)
	}
}

func TestVMConfigMissing(t *testing.T) {
	c, _ := one(replies{"read-config /etc/pve pve1 101": refuses(noConfigStatus, ""), "read-config /etc/pve pve1 102": refuses(1, "cat: Permission denied")})
	if _, err := c.VMConfig(t.Context(), "pve1", 101); !errors.Is(err, ErrNoVM) {
		t.Error(err)
	}
	if _, err := c.VMConfig(t.Context(), "pve1", 102); err == nil || errors.Is(err, ErrNoVM) {
		t.Errorf("a file system that is not there says nothing about VMs: %v", err)
	}
}

// A VM may go, or move to another node, between the list and its file.
func TestFindWhileTheVMGoes(t *testing.T) {
	const at1, at2, gone = `{"ids":{"101":{"node":"pve1","type":"qemu"}}}`, `{"ids":{"101":{"node":"pve2","type":"qemu"}}}`, `{"ids":{}}`
	missing := refuses(noConfigStatus, "")
	for name, test := range map[string]struct {
		lists func() (Result, error)
		node  string // "": it is gone
	}{
		"moves":          {inTurn(says(at1), says(at2)), "pve2"},
		"goes":           {inTurn(says(at1), says(gone)), ""},
		"has no file":    {says(at1), ""},
		"is a container": {says(`{"ids":{"101":{"node":"pve1","type":"lxc"}}}`), "pve1"},
	} {
		a := &answers{reply: replies{
			"cat -- /etc/pve/.vmlist": test.lists, "read-config /etc/pve pve1 101": missing, "read-config /etc/pve pve2 101": says("name: web\n"),
		}}
		c := New(fakeNodes{"pve1": a, "pve2": a}, &fakeTasks{}, Config{PVEEtc: "/etc/pve"})
		g, conf, err := c.Find(t.Context(), 101)
		if gone := test.node == ""; errors.Is(err, ErrNoVM) != gone || !gone && (err != nil || g.Node != test.node) || g.Node == "pve2" && conf.Options["name"] != "web" {
			t.Errorf("%s: %+v, %v, %v", name, g, conf, err)
		}
	}
}

// PVE: `qm disk resize` ends with 0 whatever happened.
func TestResizeJudgesByTheConfig(t *testing.T) {
	small, large := says("scsi0: local:101/d.qcow2,size=2G\n"), says("scsi0: local:101/d.qcow2,size=8G\n")
	for name, test := range map[string]struct {
		conf   func() (Result, error)
		resize func() (Result, error)
		want   string // part of the error; "" for none
	}{
		"grows":               {inTurn(small, large), says("Image resized.\n"), ""},
		"is that large":       {large, nil, ""},
		"fails quietly":       {small, warns("shrinking disks is not supported"), "shrinking disks is not supported"},
		"answer lost":         {inTurn(small, large), fails(ErrLost), ""},
		"answer lost, undone": {small, fails(ErrLost), "outcome is unknown"},
		"not started":         {small, fails(ErrNotStarted), "not started"},
		"no such disk":        {says("scsi1: local:101/d.qcow2,size=2G\n"), nil, "no disk scsi0"},
		"VM went away":        {inTurn(small, refuses(noConfigStatus, "")), warns(noConf), ErrNoVM.Error()},
	} {
		reply := replies{"read-config /etc/pve pve1 101": test.conf}
		if test.resize != nil {
			reply["qm disk resize 101 scsi0 8589934592"] = test.resize
		}
		c, _ := one(reply)
		err := c.Resize(t.Context(), "pve1", 101, "scsi0", 8<<30)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func TestFreeVolumeJudgesByTheList(t *testing.T) {
	const volume, path = "local:101/vm-101-disk-0.qcow2", "pvesh get /nodes/pve1/storage/local/content --output-format json"
	listed := says(`[{"volid":"` + volume + `","format":"qcow2","size":1,"content":"images","vmid":"101"}]`)
	for name, test := range map[string]struct {
		free, list func() (Result, error)
		ok         bool
	}{
		"freed":       {says("Removed volume"), nil, true},
		"was gone":    {refuses(255, "Failed to find logical volume"), says("[]"), true},
		"still there": {refuses(255, "lvremove error"), listed, false},
		"list fails":  {refuses(255, "lvremove error"), refuses(255, "storage is not online"), false},
		"lost":        {fails(ErrLost), nil, false},
	} {
		c, _ := one(replies{"pvesm free " + volume: test.free, path: test.list})
		if err := c.FreeVolume(t.Context(), "pve1", volume); (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIsExists(t *testing.T) {
	for text, want := range map[string]bool{
		"unable to create VM 101 - VM 101 already exists on node 'pve1'": true,
		"unable to create VM 101 - CT 101 already exists on node 'pve1'": true,
		"unable to create VM 105: config file already exists":            true,
		"unable to create VM 101 - volume 'x' already exists":            false,
		"VM is locked (backup)": false,
	} {
		if got := IsExists(fmt.Errorf("create: %w", &ExitError{Status: 255, Stderr: text})); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	if !IsExists(fmt.Errorf("slot: %w", ErrExists)) || IsExists(nil) {
		t.Error("ErrExists, or nil")
	}
}

func newVM() NewVM {
	return NewVM{
		VMID: 101, Name: "web1", Cores: 2, MemoryMB: 2048, BalloonMB: 1024, CPU: "x86-64-v2-AES", Storage: "local",
		ImportFrom: "local:import/noble.qcow2", Bridge: "vmbr0", VLAN: 7, IPConfig: "ip=10.0.0.5/24,gw=10.0.0.1",
		Nameserver: "10.0.0.1", User: "alice", PasswordHash: "$6$salt$hash", SSHKeys: "ssh-ed25519 AAAA a@b\n",
		UUID: "db9c0a66-7ceb-4e71-9b00-d6356ffa6aa6", Tags: []string{"pvebot", "web"}, Description: "job 7\nowner: alice",
	}
}

func TestStartCreate(t *testing.T) {
	tasks := &fakeTasks{}
	c := New(fakeNodes{"pve1": &answers{}}, tasks, Config{})
	if _, err := c.StartCreate(t.Context(), "pve1", "create-101", newVM()); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"qm", "create", "101", "--name", "web1", "--memory", "2048", "--cores", "2", "--cpu", "x86-64-v2-AES", "--numa", "0",
		"--ostype", "l26", "--net0", "virtio,bridge=vmbr0,tag=7", "--scsihw", "virtio-scsi-single",
		"--scsi0", "local:0,import-from=local:import/noble.qcow2,discard=on", "--ide2", "local:cloudinit", "--boot", "order=scsi0",
		"--serial0", "socket", "--vga", "serial0", "--agent", "enabled=1", "--onboot", "0", "--ciupgrade", "0",
		"--ipconfig0", "ip=10.0.0.5/24,gw=10.0.0.1", "--smbios1", "uuid=db9c0a66-7ceb-4e71-9b00-d6356ffa6aa6", "--tags", "pvebot;web",
		"--description", "job 7\nowner: alice", "--balloon", "1024", "--nameserver", "10.0.0.1", "--ciuser", "alice",
		"--cipassword", "$6$salt$hash", "--sshkeys", "/dev/stdin",
	}
	got := tasks.started[0]
	if !slices.Equal(got.Argv, want) || string(got.Stdin) != newVM().SSHKeys || !got.Changes {
		t.Errorf("started\n%q with %q, want\n%q", got.Argv, got.Stdin, want)
	}
}

func TestStartCreateRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*NewVM){
		"VMID":              func(vm *NewVM) { vm.VMID = 99 },
		"name":              func(vm *NewVM) { vm.Name = "under_score" },
		"option as name":    func(vm *NewVM) { vm.Name = "--start" },
		"clear password":    func(vm *NewVM) { vm.PasswordHash = "hunter2" },
		"cores":             func(vm *NewVM) { vm.Cores = 0 },
		"memory":            func(vm *NewVM) { vm.MemoryMB = 8 },
		"balloon":           func(vm *NewVM) { vm.BalloonMB = 4096 },
		"storage":           func(vm *NewVM) { vm.Storage = "local:8" },
		"source":            func(vm *NewVM) { vm.ImportFrom = "local:import/x,discard=off" },
		"source path":       func(vm *NewVM) { vm.ImportFrom = "/x,discard=off" },
		"no source":         func(vm *NewVM) { vm.ImportFrom = "" },
		"bridge":            func(vm *NewVM) { vm.Bridge = "vmbr0,tag=1" },
		"no address":        func(vm *NewVM) { vm.IPConfig = "" },
		"address":           func(vm *NewVM) { vm.IPConfig = "--skiplock" },
		"nameserver":        func(vm *NewVM) { vm.Nameserver = "-x" },
		"user":              func(vm *NewVM) { vm.User = "-x" },
		"uuid":              func(vm *NewVM) { vm.UUID = "x,serial=1" },
		"tag":               func(vm *NewVM) { vm.Tags = []string{"a;b"} },
		"option as comment": func(vm *NewVM) { vm.Description = "--start" },
	} {
		tasks := &fakeTasks{}
		c := New(fakeNodes{"pve1": &answers{}}, tasks, Config{})
		vm := newVM()
		spoil(&vm)
		_, err := c.StartCreate(t.Context(), "pve1", "k", vm)
		if !errors.Is(err, ErrNotStarted) || len(tasks.started) != 0 {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is in the error: %v", err)
		}
	}
}

func TestAlive(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("10.0.0.6")
	c, _ := one(replies{"alive 10.0.0.5 10.0.0.6": says("up 10.0.0.6\n")})
	if got, err := c.Alive(t.Context(), "pve1", []netip.Addr{a, b}); err != nil || !slices.Equal(got, []netip.Addr{b}) {
		t.Errorf("%v, %v", got, err)
	}
	c, _ = one(replies{"alive 10.0.0.5 10.0.0.6": says("? 10.0.0.5\n")})
	if _, err := c.Alive(t.Context(), "pve1", []netip.Addr{a, b}); err == nil {
		t.Error("an address that nobody could ask is taken for a free one")
	}
	if got, err := c.Alive(t.Context(), "pve1", nil); got != nil || err != nil {
		t.Errorf("of nobody: %v, %v", got, err)
	}
}
