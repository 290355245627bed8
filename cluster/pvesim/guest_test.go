package pvesim_test

import (
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"pvebot/cluster/pvesim"
)

// install makes and starts VM 150 on pve1, which lets our client key in.
func install(t *testing.T, s *pvesim.Sim, sh shell) {
	t.Helper()
	a := s.Access()
	image := a.ImageDir + "/d.qcow2"
	key := string(ssh.MarshalAuthorizedKey(a.Signer.PublicKey()))
	command := "mkdir -p " + a.ImageDir + " && wget -q -O " + image + " " + pvesim.DebianImageURL +
		" && qm create 150 --name web1 --agent enabled=1 --scsi0 local-lvm:0,import-from=" + image + " --ide2 local-lvm:cloudinit" +
		" --ipconfig0 ip=192.168.0.150/24,gw=192.168.0.1 --net0 virtio,bridge=vmbr0 --ciuser alice --sshkeys /dev/stdin --boot order=scsi0 >&2 && qm start 150"
	if out, errs, status := sh.run(command, key); status != 0 {
		t.Fatal(out, errs)
	}
}

// login runs a command in the guest, through its node.
func login(t *testing.T, s *pvesim.Sim, node shell, command string) (string, error) {
	t.Helper()
	conn, err := node.client.Dial("tcp", "192.168.0.150:22")
	if err != nil {
		return "", err
	}
	defer conn.Close()
	vm, _ := s.VM(150)
	c, chans, reqs, err := ssh.NewClientConn(conn, "192.168.0.150:22", &ssh.ClientConfig{
		User: "alice", Auth: []ssh.AuthMethod{ssh.PublicKeys(s.Access().Signer)}, HostKeyCallback: ssh.FixedHostKey(vm.HostKey),
	})
	if err != nil {
		return "", err
	}
	client := ssh.NewClient(c, chans, reqs)
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return "", err
	}
	out, err := session.Output(command)
	return string(out), err
}

func TestGuest(t *testing.T) {
	s := pvesim.Start(t, pvesim.Options{})
	sh := dial(t, s, "pve1")
	install(t, s, sh)
	const bootID = "cat /proc/sys/kernel/random/boot_id"
	first, err := login(t, s, sh, bootID)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := login(t, s, sh, "hostname; id -un; cat /etc/os-release"); err != nil || !strings.Contains(out, "web1\nalice\n") || !strings.Contains(out, "debian") {
		t.Errorf("%q, %v", out, err)
	}
	if got := play(sh, "qm guest cmd 150 ping"); got != "2| QEMU guest agent is not running\n=> exit 25\n" {
		t.Errorf("%s", got)
	}
	if got := play(sh, "qm reboot 150"); got != "=> exit 0\n" && !strings.Contains(got, "generating cloud-init ISO") {
		t.Error(got)
	}
	second, err := login(t, s, sh, bootID)
	if err != nil || second == first {
		t.Errorf("boot id %q after %q, %v", second, first, err)
	}
	play(sh, "qm stop 150")
	if _, err := login(t, s, sh, "true"); err == nil || !strings.Contains(err.Error(), "No route to host") {
		t.Errorf("a stopped VM: %v", err)
	}
}

func TestForwardRefuses(t *testing.T) {
	s := pvesim.Start(t, pvesim.Options{})
	sh := dial(t, s, "pve1")
	for addr, want := range map[string]string{
		"127.0.0.1:22": "administratively prohibited", "192.168.0.77:22": "No route to host",
		"192.168.0.101:80": "Connection refused", "nowhere.invalid:22": "Name or service not known",
	} {
		conn, err := sh.client.DialContext(t.Context(), "tcp", addr)
		if err == nil {
			conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", addr, err, want)
		}
	}
}

func TestNeverBoots(t *testing.T) {
	s := pvesim.Start(t, pvesim.Options{})
	s.NeverBoot(150)
	sh := dial(t, s, "pve1")
	install(t, s, sh)
	if _, err := login(t, s, sh, "true"); err == nil {
		t.Error("a guest that never boots lets us in")
	}
	if got := play(sh, "qm shutdown 150 --timeout 0"); !strings.Contains(got, "got timeout") {
		t.Error(got)
	}
}

func TestWget(t *testing.T) {
	s := pvesim.Start(t, bare)
	s.SetWeb("https://example.org/f", []byte(strings.Repeat("0123456789", 10000)))
	sh := dial(t, s, "pve1")
	for _, x := range []struct{ command, want string }{
		{"wget -qO- https://example.org/f | wc -c", "1| 100000\n=> exit 0\n"},
		{"wget -q -O f https://example.org/nothing", "=> exit 8\n"},
		{"wget -q -O f https://nowhere.invalid/f", "=> exit 4\n"},
		{"wget -q -O nodir/f https://example.org/f", "2| nodir/f: No such file or directory\n=> exit 3\n"},
		{"head -c 60000 /dev/zero | tr '\\0' x >f; wget -qc -O f https://example.org/f; wc -c <f; head -c 60001 f | tail -c 2", "1| 100000\n1| x0\n=> exit 0\n"},
	} {
		if got := play(sh, x.command); got != x.want {
			t.Errorf("$ %s\n%s\nwant\n%s", x.command, got, x.want)
		}
	}
	s.CutDownload(50000)
	if got := play(sh, "rm -f f; wget -q -O f https://example.org/f; echo $?; [ $(wc -c <f) -lt 60000 ] && echo part"); got != "1| 4\n1| part\n=> exit 0\n" {
		t.Error(got)
	}
	if got := play(sh, "wget --progress=dot:giga -O f https://example.org/f"); !strings.Contains(got, "100% 11.2M") || !strings.Contains(got, "saved [100000/100000]") {
		t.Error(got)
	}
}
