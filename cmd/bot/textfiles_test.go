package main

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"pvebot/cluster"
)

// windows are the ways in which an editor of Windows saves a text.
var windows = map[string]func(string) string{
	"with a byte order mark": func(s string) string { return "\ufeff" + s },
	"with CRLF":              func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
	"with both":              func(s string) string { return "\ufeff" + strings.ReplaceAll(s, "\n", "\r\n") },
}

func asUTF16(s string) string {
	b := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(s)) {
		b = append(b, byte(u), byte(u>>8))
	}
	return string(b)
}

// textFiles are the settings that name text files, with what is in them. Read
// reports what is wrong, as far as the file gets.
func textFiles(t *testing.T) map[string]struct {
	text string
	read func(file string) error
} {
	t.Helper()
	lent := httptest.NewTLSServer(nil)
	defer lent.Close()
	cert, key := certificate(t, lent)
	keyFile := keyOfAccess(t)
	sshKey := content(t, keyFile)
	signers, err := cluster.LoadSigners(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	with := func(setting, file string) *config {
		c, err := readVars([]string{"GATEWAY=192.0.2.254", "NODE_pve1=192.0.2.1", setting + "=" + file}, "none")
		if err != nil {
			t.Fatal(err)
		}
		return &c
	}
	return map[string]struct {
		text string
		read func(file string) error
	}{
		"POLICY_FILE": {"roles:\n  ops:\n    members: [slack/U1]\n    allow:\n      - verbs: all\n", func(file string) error {
			_, err := with("POLICY_FILE", file).policy()
			return err
		}},
		"NETWORKS_FILE": {"- name: office\n  dhcp: true\n  ids: 6000-6099\n", func(file string) error {
			_, err := with("NETWORKS_FILE", file).settings()
			return err
		}},
		"IMAGES_FILE": {"- os: arch\n  version: \"1\"\n  url: https://a.example/a.qcow2\n  sums: https://a.example/SUMS\n", func(file string) error {
			_, err := with("IMAGES_FILE", file).catalogue()
			return err
		}},
		"SSH_KEY": {sshKey, func(file string) error {
			_, err := cluster.LoadSigners(with("SSH_KEY", file).keyFile())
			return err
		}},
		"ADMIN_KEYS_FILE": {"# us\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJEAKZKyWhwSgyUOTmOjRmcTEhbEODmU9wUfl4bqXD3N alice\n", func(file string) error {
			s, err := with("ADMIN_KEYS_FILE", file).settings()
			if err == nil && (len(s.AdminKeys) != 1 || !strings.HasPrefix(s.AdminKeys[0], "ssh-ed25519 ")) {
				t.Errorf("%q", s.AdminKeys)
			}
			return err
		}},
		"SSH_KNOWN_HOSTS": {"192.0.2.1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJEAKZKyWhwSgyUOTmOjRmcTEhbEODmU9wUfl4bqXD3N\n", func(file string) error {
			nodes, err := connect(*with("SSH_KNOWN_HOSTS", file), signers, nil, func(skipped error) { t.Error(skipped) })
			if err == nil {
				nodes.Close()
			}
			return err
		}},
		"TLS_CERT": {cert, func(file string) error {
			c := with("TLS_CERT", file)
			c.Web.TLSKey = scratch(t, key)
			_, err := c.Web.tls()
			return err
		}},
		"TLS_KEY": {key, func(file string) error {
			c := with("TLS_KEY", file)
			c.Web.TLSCert = scratch(t, cert)
			_, err := c.Web.tls()
			return err
		}},
		".env": {"# ours\nMAIN_NODE=pve1\n", func(file string) error {
			c, err := readVars(nil, file)
			if err == nil && c.MainNode != "pve1" {
				t.Errorf("MAIN_NODE is %q", c.MainNode)
			}
			return err
		}},
	}
}

func content(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func scratch(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestFilesOfAnyEditor: whatever editor saved a file, it is read; one in UTF-16
// is refused with that word, and with the name of the setting and the file.
func TestFilesOfAnyEditor(t *testing.T) {
	for name, f := range textFiles(t) {
		if err := f.read(scratch(t, f.text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for how, change := range windows {
			if err := f.read(scratch(t, change(f.text))); err != nil {
				t.Errorf("%s %s: %v", name, how, err)
			}
		}
		file := scratch(t, asUTF16(f.text))
		err := f.read(file)
		if err == nil || !strings.Contains(err.Error(), file+": this is UTF-16") || !strings.Contains(err.Error(), "save it as UTF-8") {
			t.Errorf("%s in UTF-16: %v", name, err)
		}
		if name != ".env" && name != "SSH_KEY" && err != nil && !strings.Contains(err.Error(), name) {
			t.Errorf("the complaint does not name %s: %v", name, err)
		}
	}
}

// TestAdminKeyThatIsNotWhole: a line that an editor wrapped is told at the start
// and by the doctor, with its number, and not by Proxmox VE at every install.
func TestAdminKeyThatIsNotWhole(t *testing.T) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJEAKZKyWhwSgyUOTmOjRmcTEhbEODmU9wUfl4bqXD3N"
	file := scratch(t, "# us\n"+key+" alice\n\n"+key[:40]+"\n"+key[40:]+" bob\nfrom=\"192.0.2.0/24\" "+key+"\n")
	_, err := readConfig(append(settingsOf(""), "ADMIN_KEYS_FILE="+file), os.DevNull)
	if err == nil {
		t.Fatal("the file is taken")
	}
	for n, want := range map[int]bool{2: false, 4: true, 5: true, 6: false} {
		said := fmt.Sprintf("\n  ADMIN_KEYS_FILE: %s:%d: this line wants an SSH public key", file, n)
		if strings.Contains(err.Error(), said) != want {
			t.Errorf("line %d is told: %v, want %v\n%v", n, !want, want, err)
		}
	}
}
