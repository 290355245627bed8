package pvesim

import (
	"fmt"
	"net"
	"slices"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"pvebot/cluster"
)

// Access is how one gets at the cluster.
type Access struct {
	Addrs      map[string]string // host:port by node
	Signer     ssh.Signer        // the client key that nodes let in
	KeyFile    string            // the same, as an OpenSSH private key
	KnownHosts string            // a known_hosts file with the nodes' host keys
	PVEEtc     string            // for cluster.Config and PVE_ETC; the same path on every node
	RunDir     string            // for cluster.Config and RUN_DIR; likewise
	BootIDFile string            // for BOOT_ID_FILE; likewise
	ImageDir   string            // for IMAGE_DIR; likewise
}

// Access says how to get at the cluster.
func (s *Sim) Access() Access {
	a := Access{
		Addrs: map[string]string{}, Signer: s.keys.client, KeyFile: s.keys.clientPath, KnownHosts: s.keys.knownPath,
		PVEEtc: rootPath + "/etc/pve", RunDir: rootPath + "/run/pvebot",
		BootIDFile: rootPath + "/proc/sys/kernel/random/boot_id", ImageDir: rootPath + "/var/lib/vz/pvebot",
	}
	for _, n := range s.nodes {
		a.Addrs[n.name] = n.ssh.Addr().String()
	}
	return a
}

// ForceCommand makes the nodes' SSH servers run command instead of what clients
// ask for, as command="..." in an authorized_keys file does; they find their own
// in SSH_ORIGINAL_COMMAND.
func (s *Sim) ForceCommand(command string) { s.forced.Store(&command) }

// HostKeys checks the nodes' host keys.
func (s *Sim) HostKeys() ssh.HostKeyCallback {
	check, err := knownhosts.New(s.keys.knownPath)
	if err != nil {
		return func(string, net.Addr, ssh.PublicKey) error { return fmt.Errorf("pvesim: %w", err) }
	}
	return check
}

// Env is the environment with which `bot serve` drives the cluster, as
// NAME=value, sorted.
func (s *Sim) Env() []string {
	a := s.Access()
	env := []string{
		"CLUSTER=" + s.opts.Name,
		"MAIN_NODE=" + s.nodes[0].name,
		"GATEWAY=" + s.opts.Gateway.Addr().String(),
		"ASSIGN_STORAGE=" + s.imageStorage(),
		"SSH_KEY=" + a.KeyFile,
		"SSH_KNOWN_HOSTS=" + a.KnownHosts,
		"PVE_ETC=" + a.PVEEtc,
		"RUN_DIR=" + a.RunDir,
		"BOOT_ID_FILE=" + a.BootIDFile,
		"IMAGE_DIR=" + a.ImageDir,
		"GUEST_VIA=node",
	}
	for name, addr := range a.Addrs {
		env = append(env, "NODE_"+name+"="+addr)
	}
	slices.Sort(env)
	return env
}

// imageStorage is the first storage for VM disks.
func (s *Sim) imageStorage() string {
	for _, st := range s.opts.Storages {
		if slices.Contains(st.Content, "images") && !st.Disabled {
			return st.Name
		}
	}
	return ""
}

// NodesConfig is what cluster.Connect needs to reach the nodes.
func (s *Sim) NodesConfig() cluster.NodesConfig {
	a := s.Access()
	cfg := cluster.NodesConfig{
		User: "root", Signers: []ssh.Signer{a.Signer}, HostKeys: s.HostKeys(), Clock: s.clock,
	}
	for _, n := range s.nodes {
		cfg.Targets = append(cfg.Targets, cluster.Target{Name: n.name, Addr: a.Addrs[n.name]})
	}
	return cfg
}

// ClusterConfig says where a Cluster finds its things on the nodes.
func (s *Sim) ClusterConfig() cluster.Config {
	a := s.Access()
	return cluster.Config{Name: s.opts.Name, PVEEtc: a.PVEEtc, RunDir: a.RunDir, BootIDFile: a.BootIDFile, Clock: s.clock}
}
