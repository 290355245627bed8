package cluster_test

import (
	"net"
	"net/netip"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"

	"pvebot/cluster"
)

// The key behind the gate opens neither a port nor a Unix socket on a node with
// a real OpenSSH: as root it could put one anywhere. The guests' SSH it reaches.
func TestGatedKeyOpensNothing(t *testing.T) {
	guest := netip.MustParseAddrPort(greeter(t))
	cfg := openSSH(t, cluster.GateOptions("/bin/false", []netip.AddrPort{guest})+" ", cluster.GateServer)
	client, err := ssh.Dial("tcp", cfg.Addr, &ssh.ClientConfig{
		User: cfg.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(cfg.Signers...)}, HostKeyCallback: cfg.HostKeys,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if l, err := client.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close()
		t.Error("it opened a port of the node")
	}
	for _, host := range []string{"none", "NONE", "None", "*", "", "localhost", "127.0.0.1", "::1"} {
		for _, port := range []uint32{1, 0, 40001} {
			ok, _, err := client.SendRequest("tcpip-forward", true, ssh.Marshal(struct {
				Host string
				Port uint32
			}{host, port}))
			if ok || err != nil {
				t.Errorf("asked for %q, port %d, it says %v, %v", host, port, ok, err)
			}
		}
	}
	if l, err := client.ListenUnix(filepath.Join(t.TempDir(), "socket")); err == nil {
		l.Close()
		t.Error("it made a Unix socket on the node")
	}
	path := filepath.Join(t.TempDir(), "private")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if conn, err := client.Dial("unix", path); err == nil {
		conn.Close()
		t.Error("it reached a Unix socket of the node")
	}
	if conn, err := client.Dial("tcp", guest.String()); err != nil {
		t.Errorf("a guest: %v", err)
	} else {
		conn.Close()
	}
}

// A guest whose address DHCP gives can't be named: of all guests only the ports
// are then.
func TestGateOptionsOfDHCP(t *testing.T) {
	got := cluster.GateOptions("/gate", []netip.AddrPort{netip.MustParseAddrPort("10.0.0.101:22"), netip.AddrPortFrom(netip.Addr{}, 22)})
	if want := `restrict,command="/gate",port-forwarding,permitlisten="NONE:1",permitopen="*:22"`; got != want {
		t.Errorf("%s, not %s", got, want)
	}
}
