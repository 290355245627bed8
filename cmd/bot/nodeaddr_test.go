package main

import (
	"os"
	"strings"
	"testing"
)

// TestNodeAddr: what people copy from a terminal or a browser into NODE_ is told
// with the form wanted; it would else be looked up as a host's name.
func TestNodeAddr(t *testing.T) {
	for _, good := range []string{
		"192.0.2.1", "192.0.2.1:2222", "pve1", "pve1.example.com", "pve1.example.com:22", "pve_1",
		"2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:2222", "fe80::1%vmbr0",
	} {
		if got := checkNodeAddr("pve1", good); got != "" {
			t.Errorf("%s: %s", good, got)
		}
	}
	for value, want := range map[string]string{
		"root@192.0.2.1":           "write 192.0.2.1, and SSH_USER=root",
		"bot@pve1:2222":            "write pve1:2222, and SSH_USER=bot",
		"https://192.0.2.1:8006":   "the bot speaks SSH: write 192.0.2.1",
		"https://pve1:8006/":       "the bot speaks SSH: write pve1",
		"https://[2001:db8::1]/":   "the bot speaks SSH: write 2001:db8::1",
		"ssh://root@192.0.2.1":     "the bot speaks SSH: write 192.0.2.1",
		"192.0.2.1:8006":           "8006 is the port of the node's page; the bot speaks SSH: write 192.0.2.1",
		"192.0.2.1:ssh":            "a port is a number from 1 to 65535",
		"192.0.2.1:70000":          "a port is a number from 1 to 65535",
		"":                         "write the host name or address",
		"192.0.2.1 192.0.2.2":      "write the host name or address",
		"192.0.2.1,192.0.2.2":      "write the host name or address",
		"192.0.2.0/24":             "write the host name or address",
		"2001:db8::1]:22":          "write the host name or address",
		"-oProxyCommand=touch /x":  "write the host name or address",
		"root@-oProxyCommand=true": "write the host name or address",
	} {
		_, err := readConfig([]string{"MAIN_NODE=pve1", "NODE_pve1=" + value, "GATEWAY=192.0.2.254", "ASSIGN_STORAGE=local"}, os.DevNull)
		if err == nil || !strings.Contains(err.Error(), "NODE_pve1 is ") || !strings.HasSuffix(err.Error(), want) && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", value, err)
		}
	}
}
