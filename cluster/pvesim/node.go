package pvesim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"

	"pvebot/cluster/pvesim/shim"
)

// rootFD is the file descriptor under which every process on a node finds the
// node's root directory. /proc/self/fd/rootFD/... is a path that is the same
// on all nodes, absolute, deaf to cd, and yet leads each to its own files: a
// chroot for users who may not chroot. 20 is beyond what scripts can name, and
// beyond the low numbers that shells take for themselves.
const rootFD = 20

var rootPath = "/proc/self/fd/" + strconv.Itoa(rootFD)

// tools are what nodes have of the host, where it has them.
var tools = []string{
	"awk", "basename", "cat", "chmod", "cp", "cut", "date", "dd", "dirname", "echo", "env", "expr",
	"false", "find", "flock", "grep", "head", "id", "kill", "ln", "ls", "md5sum", "mkdir",
	"mktemp", "mv", "nohup", "od", "printf", "ps", "pwd", "readlink", "rm", "rmdir", "sed", "seq",
	"setsid", "sh", "sha1sum", "sha256sum", "sha512sum", "sleep", "sort", "stat", "sync", "tail",
	"tee", "test", "timeout", "touch", "tr", "true", "tty", "uname", "uniq", "wc", "xargs",
}

// node is a node of the cluster: a directory, an SSH server, a power switch.
type node struct {
	sim  *Sim
	name string
	id   int
	spec NodeSpec
	dir  string
	root *os.File // dir, for rootFD
	ssh  net.Listener
	born time.Time // when it booted

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]struct{}
	boot  boot
	boots int
	reset context.CancelCauseFunc // ends boot
}

// boot is the time from a node's power on to its power off.
type boot struct {
	context.Context        // ends with it
	id              string // among the node's
}

func newNode(s *Sim, id int, spec NodeSpec) (*node, error) {
	n := &node{sim: s, name: spec.Name, id: id, spec: spec, conns: map[net.Conn]struct{}{}}
	n.dir = filepath.Join(s.dir, "n", spec.Name)
	for _, d := range []string{"etc/pve", "root", "run", "tmp", "var/lib/vz", "proc/sys/kernel/random"} {
		if err := os.MkdirAll(filepath.Join(n.dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	var err error
	if n.root, err = openRoot(n.dir); err != nil {
		return nil, err
	}
	if err := n.linkClusterFiles(); err != nil {
		return n, err
	}
	if n.ssh, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return n, err
	}
	return n, n.powerOn()
}

// bin is where all nodes have their programs.
func (s *Sim) bin() string { return filepath.Join(s.dir, "bin") }

func (s *Sim) linkTools() error {
	self := os.Getenv(envProgram)
	if self == "" {
		var err error
		if self, err = os.Executable(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(s.bin(), 0o755); err != nil {
		return err
	}
	for _, t := range shim.Tools {
		if err := relink(self, filepath.Join(s.bin(), t)); err != nil {
			return err
		}
	}
	for _, t := range tools {
		path, err := exec.LookPath(t)
		if err != nil {
			continue // the shell has some of them built in; others are missed when used
		}
		if err := relink(path, filepath.Join(s.bin(), t)); err != nil {
			return err
		}
	}
	return nil
}

// openRoot opens a node's root directory, under a number above rootFD. A child
// has our own files between its birth and the start of its program: with a root
// directory at rootFD it would be taken for a process of that node.
func openRoot(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fd, _, no := syscall.Syscall(syscall.SYS_FCNTL, f.Fd(), syscall.F_DUPFD_CLOEXEC, rootFD+1)
	if no != 0 {
		return nil, os.NewSyscallError("fcntl", no)
	}
	return os.NewFile(fd, dir), nil
}

// linkClusterFiles makes /etc/pve: the cluster's common files under each
// node's own name.
func (n *node) linkClusterFiles() error {
	for _, d := range []string{"qemu-server", "lxc"} {
		if err := os.MkdirAll(filepath.Join(n.sim.dir, "pve", "nodes", n.name, d), 0o755); err != nil {
			return err
		}
	}
	ha := filepath.Join(n.sim.dir, "pve", "ha")
	if err := os.MkdirAll(ha, 0o755); err != nil {
		return err
	}
	etc := filepath.Join(n.dir, "etc/pve")
	for name, target := range map[string]string{
		"nodes": filepath.Join(n.sim.dir, "pve", "nodes"), "local": "nodes/" + n.name, "ha": ha,
		"qemu-server": "nodes/" + n.name + "/qemu-server", "lxc": "nodes/" + n.name + "/lxc",
	} {
		if err := relink(target, filepath.Join(etc, name)); err != nil {
			return err
		}
	}
	return nil
}

func relink(target, name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Symlink(target, name)
}

// powerOn gives the node a new boot id and an empty /run.
func (n *node) powerOn() error {
	run := filepath.Join(n.dir, "run")
	if err := os.RemoveAll(run); err != nil {
		return err
	}
	if err := os.Mkdir(run, 0o755); err != nil {
		return err
	}
	id := uuid.NewString() + "\n"
	if err := os.WriteFile(filepath.Join(n.dir, "proc/sys/kernel/random/boot_id"), []byte(id), 0o644); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.boots++
	n.boot.id = strconv.Itoa(n.boots)
	n.boot.Context, n.reset = context.WithCancelCause(n.sim.ctx)
	n.down = false
	n.born = n.sim.now()
	return nil
}

// powerOff drops every connection and kills every process.
func (n *node) powerOff() {
	n.mu.Lock()
	n.down = true
	n.reset(errKilled)
	n.mu.Unlock()
	n.cut()
	n.killAll()
}

func (n *node) close() {
	if n.ssh != nil {
		n.ssh.Close()
	}
	if n.reset != nil {
		n.powerOff()
	}
}

// current is the node's present boot, or the last one while it is off.
func (n *node) current() boot {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.boot
}

// start starts a process of a connection of boot b, unless that is over.
func (n *node) start(b boot, cmd *exec.Cmd) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if b.Err() != nil {
		return context.Cause(b)
	}
	return cmd.Start()
}

func (n *node) online() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.down
}

// environ is what sshd gives a session.
func (n *node) environ(b boot) []string {
	return []string{
		"PATH=" + n.sim.bin(),
		"HOME=" + filepath.Join(n.dir, "root"),
		"TMPDIR=" + filepath.Join(n.dir, "tmp"),
		"USER=root", "LOGNAME=root", "SHELL=/bin/sh", "LANG=C.UTF-8",
		shim.EnvSocket + "=" + filepath.Join(n.sim.dir, "sock"),
		shim.EnvNode + "=" + n.name,
		shim.EnvBoot + "=" + b.id,
		// A program built with the race detector otherwise sleeps for a second
		// at its end, and shims end often.
		"GORACE=atexit_sleep_ms=0",
	}
}

// extraFiles are the files of a process on the node beyond the first three.
func (n *node) extraFiles() []*os.File {
	files := make([]*os.File, rootFD-3+1)
	files[rootFD-3] = n.root
	return files
}

// killAll ends every process that was started on the node, however far it
// detached itself, and waits for its death. New ones may appear while it
// looks, so it looks until none is left.
func (n *node) killAll() {
	for {
		found := n.processes()
		if len(found) == 0 {
			return
		}
		for _, pid := range found {
			_ = syscall.Kill(pid, syscall.SIGKILL) // gone already is fine
		}
		for _, pid := range found {
			for alive(pid) {
				time.Sleep(time.Millisecond)
			}
		}
	}
}

// processes are those of the node: they are told by what they can't help
// inheriting, the node's root directory and their environment. (In the middle
// of an exec a process has no environment.)
func (n *node) processes() []int {
	socket := []byte("\x00" + shim.EnvSocket + "=" + filepath.Join(n.sim.dir, "sock") + "\x00")
	name := []byte("\x00" + shim.EnvNode + "=" + n.name + "\x00")
	var found []int
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well-formed
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() || !alive(pid) {
			continue
		}
		root, _ := os.Readlink(dir + "/fd/" + strconv.Itoa(rootFD)) // another user's, or gone
		env, _ := os.ReadFile(dir + "/environ")
		env = append([]byte{0}, env...)
		if root == n.dir || bytes.Contains(env, socket) && bytes.Contains(env, name) {
			found = append(found, pid)
		}
	}
	return found
}

// alive says whether a process has not died; a dead one may stay a zombie
// until somebody reaps it.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, state, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	return !bytes.HasPrefix(state, []byte("Z")) && !bytes.HasPrefix(state, []byte("X"))
}

func (n *node) logf(format string, args ...any) {
	n.sim.log.Debug(fmt.Sprintf(format, args...), "node", n.name)
}
