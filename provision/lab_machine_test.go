package provision_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"pvebot/cluster/pvesim"
	"pvebot/cluster/pvesim/simguest"
)

// qemu is a real machine behind a VM of the simulated cluster: a kernel, a disk
// that begins as the lab's image, a NoCloud drive, a network that only this
// machine sees. Its SSH port is a port of loopback.
type qemu struct {
	t     *testing.T
	cfg   pvesim.MachineConfig
	image string // folder of root.raw, vmlinuz and initrd.img
	dir   string // of its own files
	ssh   string // 127.0.0.1:port

	serving sync.WaitGroup

	mu    sync.Mutex
	run   *exec.Cmd // nil while it is off
	ended chan struct{}
}

func newQEMU(t *testing.T, image string, cfg pvesim.MachineConfig) *qemu {
	m := &qemu{t: t, cfg: cfg, image: image, dir: filepath.Join(t.TempDir(), strconv.Itoa(cfg.VMID))}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		m.ssh = l.Addr().String()
		err = l.Close()
	}
	if err == nil {
		err = os.Mkdir(m.dir, 0o755)
	}
	for name, text := range map[string]string{"user-data": cfg.UserData, "network-config": cfg.NetworkConfig, "meta-data": cfg.MetaData} {
		err = errors.Join(err, os.WriteFile(m.file(name), []byte(text), 0o600))
	}
	if err != nil {
		t.Error(err)
		return m
	}
	m.tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", filepath.Join(image, "root.raw"), m.file("disk.qcow2"), strconv.FormatInt(cfg.Disk, 10))
	m.tool("genisoimage", "-quiet", "-joliet", "-rock", "-volid", "cidata", "-o", m.file("seed.iso"), m.file("user-data"), m.file("network-config"), m.file("meta-data"))
	return m
}

func (m *qemu) file(name string) string { return filepath.Join(m.dir, name) }

func (m *qemu) tool(name string, args ...string) {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		m.t.Errorf("%s: %v\n%s", name, err, out)
	}
}

// Boot implements pvesim.Machine. The CPU is software, unless PVEBOT_LAB_ACCEL
// says kvm.
func (m *qemu) Boot() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.run != nil {
		return
	}
	cmd := exec.Command("qemu-system-x86_64",
		"-accel", cmp.Or(os.Getenv("PVEBOT_LAB_ACCEL"), "tcg"), "-nodefaults", "-no-user-config", "-display", "none", "-cpu", "max",
		"-smp", strconv.Itoa(m.cfg.Cores), "-m", strconv.FormatInt(m.cfg.Memory>>20, 10),
		"-kernel", filepath.Join(m.image, "vmlinuz"), "-initrd", filepath.Join(m.image, "initrd.img"),
		"-append", "root=LABEL=lab-root ro console=ttyS0 net.ifnames=0",
		"-drive", "file="+m.file("disk.qcow2")+",if=virtio,format=qcow2,cache=unsafe",
		// Debian's kernel for clouds has no driver for IDE.
		"-drive", "file="+m.file("seed.iso")+",if=virtio,format=raw,readonly=on",
		"-netdev", "user,id=net0,net=192.168.0.0/24,host=192.168.0.1,dns=192.168.0.3,hostfwd=tcp:"+m.ssh+"-"+m.cfg.IP.String()+":22",
		"-device", "virtio-net-pci,netdev=net0,mac="+m.cfg.MAC,
		"-device", "virtio-serial-pci",
		"-chardev", "socket,id=agent,server=on,wait=off,path="+m.file("agent"),
		"-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
		"-device", "virtio-rng-pci",
		"-serial", "file:"+m.file("console"), "-qmp", "unix:"+m.file("monitor")+",server=on,wait=off",
	)
	var log lastBytes
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		m.t.Errorf("qemu: %v", err)
		return
	}
	ended := make(chan struct{})
	m.run, m.ended = cmd, ended
	go func() {
		err := cmd.Wait()
		close(ended)
		m.mu.Lock()
		byItself := m.run == cmd
		if byItself {
			m.run = nil
		}
		m.mu.Unlock()
		if byItself { // nobody pulled the plug
			if err != nil {
				m.t.Errorf("qemu: %v\n%s", err, log.b)
			}
			m.cfg.OnPowerOff()
		}
	}()
}

// Stop implements pvesim.Machine.
func (m *qemu) Stop() {
	m.mu.Lock()
	cmd, ended := m.run, m.ended
	m.run = nil
	m.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Kill() // gone already is fine
		<-ended
	}
}

// Close implements pvesim.Machine.
func (m *qemu) Close() {
	m.Stop()
	m.serving.Wait()
	_ = os.Remove(m.file("disk.qcow2")) // the test's folder goes anyway
}

// Press implements pvesim.PowerButton, by ACPI.
func (m *qemu) Press() {
	conn, err := net.Dial("unix", m.file("monitor"))
	if err != nil {
		m.t.Errorf("qemu's monitor: %v", err)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	answers := bufio.NewReader(conn)
	for _, ask := range []string{"", `{"execute":"qmp_capabilities"}`, `{"execute":"system_powerdown"}`} {
		if _, err := io.WriteString(conn, ask); err != nil {
			m.t.Errorf("qemu's monitor: %v", err)
			return
		}
		if _, err := answers.ReadString('\n'); err != nil {
			m.t.Errorf("qemu's monitor: %v", err)
			return
		}
	}
}

// Agent implements pvesim.Machine.
func (m *qemu) Agent() bool {
	conn, err := net.Dial("unix", m.file("agent"))
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := io.WriteString(conn, `{"execute":"guest-ping"}`+"\n"); err != nil {
		return false
	}
	var answer struct {
		Return *struct{} `json:"return"`
	}
	return json.NewDecoder(conn).Decode(&answer) == nil && answer.Return != nil
}

// Serve implements pvesim.Machine.
func (m *qemu) Serve(conn net.Conn) {
	m.serving.Add(1)
	defer m.serving.Done()
	defer conn.Close()
	guest, err := net.Dial("tcp", m.ssh)
	if err != nil {
		return
	}
	defer guest.Close()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(conn, guest)
		conn.Close()
	})
	_, _ = io.Copy(guest, conn)
	guest.Close()
	back.Wait()
}

// HostKey implements pvesim.Machine: the guest makes its own.
func (m *qemu) HostKey() ssh.PublicKey { return nil }

// Disk implements pvesim.Machine: the lab copies none.
func (m *qemu) Disk() *simguest.Disk { return nil }

// PutDisk implements pvesim.Machine.
func (m *qemu) PutDisk(*simguest.Disk) {}

// console is what the guest said on its console, from somewhere on.
func (m *qemu) console(from int) string {
	text, err := os.ReadFile(m.file("console"))
	if err != nil || from > len(text) {
		return fmt.Sprint(err)
	}
	return string(text[from:])
}

// lastBytes keeps the end of what is written to it.
type lastBytes struct{ b []byte }

func (l *lastBytes) Write(p []byte) (int, error) {
	l.b = append(l.b, p...)
	l.b = l.b[max(0, len(l.b)-4096):]
	return len(p), nil
}
