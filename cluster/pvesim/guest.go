package pvesim

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"pvebot/cluster/pvesim/simguest"
)

// guestAt finds the running guest of an address; else it says why a
// connection fails.
func (s *Sim) guestAt(ip netip.Addr) (Machine, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.vms {
		if !v.running || v.ip != ip || !v.node.online() || !s.up(v) {
			continue
		}
		if v.guest == nil || v.paused || s.now().Sub(v.booted) < s.bootTime(v) {
			return nil, "Connection refused"
		}
		return v.guest, ""
	}
	return nil, "No route to host"
}

// bootGuest boots what is on a VM's disk, from power off. Sim.mu must be held.
func (s *Sim) bootGuest(v *vm) {
	if v.guest == nil && v.hasCloudinit() && v.opts["boot"] != "" {
		v.guest = s.newGuest(v)
	}
	if v.ip = v.address(); !v.ip.IsValid() && v.opts["ipconfig0"] == "ip=dhcp" {
		v.ip = s.lease()
	}
	v.booted = s.now()
	if v.guest != nil && !s.hooks.neverBoots(v.id) {
		v.guest.Stop()
		v.guest.Boot()
	}
}

// bootTime is how long a VM takes until its sshd answers.
func (s *Sim) bootTime(v *vm) time.Duration {
	return s.opts.Latency.Boot * s.hooks.slowness(v.id)
}

// newGuest is the first boot of a cloud image: cloud-init makes it what the
// VM's options say.
func (s *Sim) newGuest(v *vm) Machine {
	halted := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		v.running, v.paused, v.pid = false, false, 0
	}
	if s.opts.Machine != nil {
		return s.opts.Machine(MachineConfig{
			VMID: v.id, IP: v.address(), MAC: v.mac(), Cores: v.cpus(), Memory: v.memory(), Disk: v.bootDisk(),
			UserData: v.userData(), NetworkConfig: v.networkConfig(), MetaData: "instance-id: " + v.instanceID() + "\n",
			OnPowerOff: halted,
		})
	}
	text, _ := url.PathUnescape(v.opts["sshkeys"])
	authorized, err := parseKeys(text)
	if err != nil {
		s.log.Error("guest keys", "vmid", v.id, "error", err)
	}
	l := s.opts.Latency
	user := v.opts["ciuser"]
	system, version := "ubuntu", "24.04"
	if st, vol := s.volume(v.node, volumeOf(v.opts["scsi0"])); st != nil && vol != nil && vol.system != "" {
		system, version, _ = strings.Cut(vol.system, " ")
	}
	if user == "" {
		user = system
	}
	return simguest.New(simguest.Config{
		Hostname: v.hostname(), User: user, AuthorizedKeys: authorized, PasswordHash: v.opts["cipassword"],
		Boot: s.bootTime(v), CloudInit: l.CloudInit, Init: l.Init,
		InstanceID: v.instanceID(), OS: system, Version: version,
		Clock: s.clock, Disk: v.disk,
		// For people who watch, so that they see the reboot.
		RebootRequired: system == "ubuntu" && l.Boot > 0,
		// Somebody ran reboot or poweroff inside.
		OnReboot: func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			v.booted = s.now()
		},
		OnPowerOff: halted,
	})
}

// discardGuest forgets a guest with its disk.
func (s *Sim) discardGuest(v *vm) {
	if g := v.guest; g != nil {
		v.guest = nil
		s.wg.Go(g.Close)
	}
}

// hostname is what cloud-init makes of the VM's name.
func (v *vm) hostname() string {
	host, _, _ := strings.Cut(v.opts["name"], ".")
	if host == "" {
		host = "VM" + strconv.Itoa(v.id)
	}
	return host
}

// lease finds an address for a VM that asks DHCP, below the usual pool.
func (s *Sim) lease() netip.Addr {
	for i := 50; i < 100; i++ {
		a := hostAddr(s.opts.Gateway, i)
		free := true
		for _, v := range s.vms {
			free = free && v.ip != a
		}
		if free {
			return a
		}
	}
	return netip.Addr{}
}

// parseKeys reads authorized_keys lines.
func parseKeys(text string) ([]ssh.PublicKey, error) {
	var out []ssh.PublicKey
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return out, fmt.Errorf("%q: %w", line, err)
		}
		out = append(out, key)
	}
	return out, nil
}

// hashPassword is what qm set makes of a password in clear; one that is hashed
// already stays.
func hashPassword(p string) string {
	if p == "" || strings.HasPrefix(p, "$") && strings.Count(p, "$") >= 3 {
		return p
	}
	sum := sha256.Sum256([]byte(p))
	return "$5$simulated$" + base64.RawStdEncoding.EncodeToString(sum[:])
}
