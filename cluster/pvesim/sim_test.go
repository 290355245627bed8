package pvesim_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"pvebot/cluster"
	"pvebot/cluster/pvesim"
	"pvebot/cluster/pvesim/simtest"
)

func TestMain(m *testing.M) {
	pvesim.Main()
	os.Exit(simtest.Main{M: m}.Run())
}

// shell is a client of one node.
type shell struct {
	t      testing.TB
	client *ssh.Client
}

func dial(t testing.TB, s *pvesim.Sim, node string) shell {
	t.Helper()
	a := s.Access()
	client, err := ssh.Dial("tcp", a.Addrs[node], &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(a.Signer)}, HostKeyCallback: s.HostKeys(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return shell{t, client}
}

// run runs a command with an input; status is -1 when it was lost.
func (sh shell) run(command, stdin string) (stdout, stderr string, status int) {
	sh.t.Helper()
	session, err := sh.client.NewSession()
	if err != nil {
		sh.t.Fatal(err)
	}
	defer session.Close()
	var out, errs bytes.Buffer
	session.Stdin, session.Stdout, session.Stderr = bytes.NewBufferString(stdin), &out, &errs
	err = session.Run(command)
	var exit *ssh.ExitError
	switch {
	case errors.As(err, &exit):
		status = exit.ExitStatus()
	case err != nil:
		status = -1
	}
	return out.String(), errs.String(), status
}

// TestOwnTools: where no other program is named, this one is the tools.
func TestOwnTools(t *testing.T) {
	t.Setenv(simtest.Program, "")
	sh := dial(t, pvesim.Start(t, pvesim.Options{}), "pve1")
	out, errs, status := sh.run("readlink $(command -v hostname) && hostname", "")
	if self, err := os.Executable(); err != nil || out != self+"\npve1\n" || status != 0 {
		t.Errorf("%d %q %q, %v", status, out, errs, err)
	}
}

// TestChildrenAreTheirNodes: a process that this one has just forked, and that
// has not become its program yet, has our own files. Under the number by which
// nodes know their processes there must be none of a node, or another
// simulator that ends at that moment kills it.
func TestChildrenAreTheirNodes(t *testing.T) {
	for range 4 {
		pvesim.Start(t, pvesim.Options{})
	}
	for fd := range pvesim.RootFD + 1 {
		if file, _ := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); strings.Contains(file, "/n/pve") {
			t.Errorf("file %d is a node's: %s", fd, file)
		}
	}
}

// TestInstallPath walks what an install does on a node, once.
func TestInstallPath(t *testing.T) {
	s := pvesim.Start(t, pvesim.Options{})
	a := s.Access()
	sh := dial(t, s, "pve1")
	image := a.ImageDir + "/u.img"
	for _, c := range []struct {
		command string
		status  int
		out     string // somewhere in either stream
	}{
		{"cat " + a.PVEEtc + "/.vmlist", 0, `"101":{"node":"pve1","type":"qemu"`},
		{"cat " + a.PVEEtc + "/.members", 0, `"nodename":"pve1"`},
		{"mkdir -p " + a.ImageDir + " && wget -q -O " + image + " " + pvesim.UbuntuImageURL, 0, ""},
		{"qm create 150 --name web1 --cpu x86-64-v3 --net0 virtio,bridge=vmbr0 --scsihw virtio-scsi-single" +
			" --scsi0 local-lvm:0,import-from=" + image + " --ide2 local-lvm:cloudinit" +
			" --ipconfig0 ip=192.168.0.150/24,gw=192.168.0.1 --boot order=scsi0", 0, "transferred 3.5 GiB of 3.5 GiB (100.00%)"},
		{"qm disk resize 150 scsi0 16G", 0, "successfully resized"},
		{"qm disk resize 150 scsi0 1G", 0, "shrinking disks is not supported"},
		{"cat " + a.PVEEtc + "/nodes/pve1/qemu-server/150.conf", 0, "scsi0: local-lvm:vm-150-disk-0,size=16G"},
		{"qm start 150", 0, "generating cloud-init ISO"},
		{"qm start 150", 255, "VM 150 already running"},
		{"qm status 150", 0, "status: running"},
		{"ping -c 1 -W 1 192.168.0.150", 0, "1 received"},
		{"ping -c 1 -W 1 192.168.0.77", 1, "0 received"},
		{"qm destroy 150", 25, "VM 150 is running - destroy failed"},
		{"qm stop 150", 0, ""},
		{"qm stop 150", 0, ""},
		{"qm destroy 150 --purge 1 --destroy-unreferenced-disks 1", 0, "purging VM 150"},
		{"qm config 150", 2, "Configuration file 'nodes/pve1/qemu-server/150.conf' does not exist"},
	} {
		out, errs, status := sh.run(c.command, "")
		if status != c.status || !strings.Contains(out+errs, c.out) {
			t.Errorf("%s\n%s%s=> %d, want %d and %q", c.command, out, errs, status, c.status, c.out)
		}
	}
	if left := s.Orphans(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// .members has a version of its own, which no VM changes: what is known of the
// nodes stays true.
func TestMembersVersion(t *testing.T) {
	s := pvesim.Start(t, pvesim.Options{})
	sh := dial(t, s, "pve1")
	read := func(name string) string {
		out, _, _ := sh.run("cat "+s.Access().PVEEtc+"/"+name, "")
		return out
	}
	list, members := read(".vmlist"), read(".members")
	play(sh, "qm create 150")
	if read(".vmlist") == list {
		t.Error("a new VM is not in .vmlist")
	}
	if read(".members") != members {
		t.Error("a new VM changed .members")
	}
	s.Down("pve3")
	if read(".members") == members {
		t.Error("a node that went down did not change .members")
	}
}

// Each node has its own files under the same paths, wherever a script goes.
func TestPathsAreTheNodesOwn(t *testing.T) {
	s := pvesim.Start(t, pvesim.Options{})
	a := s.Access()
	for _, node := range []string{"pve1", "pve2"} {
		sh := dial(t, s, node)
		play(sh, "mkdir -p "+a.RunDir+" && echo "+node+" >"+a.RunDir+"/who")
	}
	for _, node := range []string{"pve1", "pve2"} {
		want := "1| " + node + "\n1| " + node + "\n=> exit 0\n"
		if got := play(dial(t, s, node), "hostname; cd / && setsid sh -c 'cd /tmp && cat "+a.RunDir+"/who'"); got != want {
			t.Errorf("%s: %s", node, got)
		}
	}
}

// Commands that need no shell are those that the bot's quoting writes, and they
// have the words that a shell would find.
func TestWords(t *testing.T) {
	for _, argv := range [][]string{{"qm", "list"}, {"cat", "--", "/a b"}, {"x", "", "it's", "''", `\'`, "a\nb", "$(x)"}} {
		if got, ok := pvesim.Words(cluster.Quote(argv)); !ok || !slices.Equal(got, argv) {
			t.Errorf("%q became %q, %v", argv, got, ok)
		}
	}
	for _, line := range []string{"", "qm list", "'qm' list", "'qm'; 'x'", "'qm", "'qm'  'x'", "'qm' ", "'a'b", `'a'\'`, `'a'\'b`} {
		if got, ok := pvesim.Words(line); ok {
			t.Errorf("%q is left to no shell: %q", line, got)
		}
	}
}
