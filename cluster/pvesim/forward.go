package pvesim

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// forward opens a TCP connection from the node: guests can be reached, on
// their SSH port.
func (n *node) forward(nc ssh.NewChannel) {
	var p struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if ssh.Unmarshal(nc.ExtraData(), &p) != nil {
		_ = nc.Reject(ssh.ConnectionFailed, "bad request")
		return
	}
	ip, err := netip.ParseAddr(p.Host)
	if err != nil {
		_ = nc.Reject(ssh.ConnectionFailed, "Name or service not known")
		return
	}
	if ip.IsLoopback() {
		_ = nc.Reject(ssh.Prohibited, "open failed")
		return
	}
	g, reason := n.sim.guestAt(ip)
	if g == nil {
		_ = nc.Reject(ssh.ConnectionFailed, reason)
		return
	}
	if p.Port != 22 {
		_ = nc.Reject(ssh.ConnectionFailed, "Connection refused")
		return
	}
	ch, requests, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	go ssh.DiscardRequests(requests)
	// A real pair of sockets, since a pipe within the program has no buffer,
	// and SSH's two ends both write first.
	near, far, err := socketPair()
	if err != nil {
		n.logf("socketpair: %v", err)
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { g.Serve(far) })
	wg.Go(func() {
		_, _ = io.Copy(near, ch)
		_ = near.CloseWrite() // closed already is fine
	})
	_, _ = io.Copy(ch, near)
	near.Close()
	ch.Close()
	wg.Wait()
}

func socketPair() (*net.UnixConn, *net.UnixConn, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	var conns [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		c, e := net.FileConn(f)
		f.Close()
		conns[i], _ = c.(*net.UnixConn) // AF_UNIX
		err = errors.Join(err, e)
	}
	if err != nil {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
		return nil, nil, err
	}
	return conns[0], conns[1], nil
}
