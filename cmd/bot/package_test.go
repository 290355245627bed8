package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"pvebot/cluster"
)

// Beside the package's settings a command means the store, the key and the
// known hosts of the package's unit, in whatever folder it is typed: what the
// unit sets for itself, commands can't see.
func TestPackageCommandsMeanTheUnitsThings(t *testing.T) {
	c, err := readVars([]string{"HOME=/root"}, packageSettings)
	if err != nil {
		t.Fatal(err)
	}
	unit, err := os.ReadFile("../../deploy/pvebot.service")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(unit), " STORE_URL=sqlite:%S/pvebot/data ") || !strings.Contains(string(unit), "HOME=%S/pvebot ") {
		t.Error("the unit has its things somewhere else by now")
	}
	if c.StoreURL != "sqlite:/var/lib/pvebot/data" || c.keyFile() != "/var/lib/pvebot/.ssh/id_ed25519" || c.KnownHosts != "/var/lib/pvebot/.ssh/known_hosts" {
		t.Errorf("the store is %s, the key %s, known hosts are in %s", c.StoreURL, c.keyFile(), c.KnownHosts)
	}
	c, err = readVars([]string{"STORE_URL=postgres://db/pvebot"}, packageSettings)
	if err != nil || c.StoreURL != "postgres://db/pvebot" {
		t.Errorf("what is set is not taken: %s, %v", c.StoreURL, err)
	}
}

// A store that is not there is not copied: it would be made empty, and nothing
// be moved with every sign of success.
func TestNoStoreIsNotCopied(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	p := program{env: []string{"STORE_URL=sqlite:" + dir + "/from"}, dotenv: os.DevNull, out: &out, err: &out}
	if err := p.run(t.Context(), []string{"store", "copy", "--to", "sqlite:" + dir + "/to"}); err == nil {
		t.Errorf("it said: %s", &out)
	}
	if _, err := os.Stat(dir + "/from"); !os.IsNotExist(err) {
		t.Errorf("a store was made where there was none: %v", err)
	}
}

// The gate's key reaches guests in every network of NETWORKS_FILE, not only in
// the default one.
func TestGateKeyReachesAllNetworks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "networks.yaml")
	static := "- {name: dmz, cidr: 10.20.0.0/24, gateway: 10.20.0.1, range: 10.20.0.50-10.20.0.51, ids: \"5000\"}\n"
	dynamic := "- {name: office, dhcp: true, ids: 6000-6099}\n"
	key := keyOfAccess(t)
	for text, want := range map[string]string{
		static:           `permitopen="10.0.0.101:22",permitopen="10.20.0.50:22",permitopen="10.20.0.51:22" `,
		static + dynamic: `permitopen="*:22" `,
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := readConfig([]string{
			"MAIN_NODE=pve1", "NODE_pve1=10.0.0.11", "GATEWAY=10.0.0.1", "ASSIGN_STORAGE=local", "ASSIGN_IP_START=101", "ASSIGN_IP_END=101",
			"NETWORKS_FILE=" + file, "SSH_KEY=" + key,
		}, os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		if line, err := c.gateKey(gatePath); err != nil || !strings.Contains(line, want) {
			t.Errorf("of\n%s%s, %v", text, line, err)
		}
	}
}

// keyOfAccess is the file of an SSH key without a passphrase.
func keyOfAccess(t *testing.T) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// What sshd needs beside the gate's key stands where people are told to install
// it.
func TestGateServerIsDocumented(t *testing.T) {
	help, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	p := program{dotenv: os.DevNull, out: &out, err: &out}
	if err := p.run(t.Context(), []string{"gate", "--help"}); err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{"docs/operating.md": string(help), "bot gate --help": out.String()} {
		if !strings.Contains(text, "echo "+cluster.GateServer+"; }") {
			t.Errorf("%s does not have it", where)
		}
	}
}
