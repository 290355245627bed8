package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

const (
	keptFile     = "cluster.json" // in the demo's data directory
	keptProtocol = 1
	endCluster   = "end" // a holder's line: nobody needs the cluster any more
)

// keptInfo is what a data directory says of the simulated cluster that belongs to
// it: a process of its own, which outlives a bot that is killed.
type keptInfo struct {
	Protocol int      `json:"protocol"`
	PID      int      `json:"pid"`
	Socket   string   `json:"socket"` // whoever is connected holds the cluster
	Env      []string `json:"env"`    // the settings with which it is driven
}

// keptCluster is a hold on the simulated cluster of a data directory.
type keptCluster struct {
	env  []string
	pid  int
	conn net.Conn
	own  *exec.Cmd // its process, where we began it
}

// holdCluster takes hold of the simulated cluster of dir, and begins it when there
// is none. Call end or letGo.
func holdCluster(ctx context.Context, dir string, fast bool) (*keptCluster, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	k, err := findCluster(ctx, dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	own, err := beginCluster(ctx, dir, fast)
	if err != nil {
		return nil, fmt.Errorf("the simulated cluster does not begin: %w", err)
	}
	if k, err = findCluster(ctx, dir); err != nil {
		return nil, err
	}
	if k.pid != own.Process.Pid { // another demo was quicker, and this one has its cluster
		return k, own.Wait()
	}
	k.own = own
	return k, nil
}

// findCluster takes hold of a cluster that runs. The error is fs.ErrNotExist when
// dir has none.
func findCluster(ctx context.Context, dir string) (*keptCluster, error) {
	name := filepath.Join(dir, keptFile)
	if of, err := os.Stat(name); err != nil {
		return nil, err
	} else if owner, ok := of.Sys().(*syscall.Stat_t); !ok || owner.Uid != uint32(os.Geteuid()) {
		return nil, fmt.Errorf("%s belongs to another user: take another directory", name)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var info keptInfo
	if err := json.Unmarshal(text, &info); err != nil || info.Protocol != keptProtocol {
		return nil, fmt.Errorf("%s is of another version of the bot: use that one, or another directory", name)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", info.Socket)
	if err != nil {
		return nil, clusterGone(dir, fmt.Sprintf("without its bot (process %d)", info.PID))
	}
	return &keptCluster{env: info.Env, pid: info.PID, conn: conn}, nil
}

// beginCluster starts the process that is the cluster, from a copy of this
// program: `go run` removes its own as soon as it ends.
func beginCluster(ctx context.Context, dir string, fast bool) (_ *exec.Cmd, err error) {
	run, err := os.MkdirTemp("", "pvebot-cluster")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(run))
		}
	}()
	program := filepath.Join(run, "bot")
	if err := copyProgram(program); err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "keep-cluster", "--run", run, fmt.Sprintf("--fast=%t", fast), dir) //nolint:gosec // it is ours
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}                                            // Ctrl-C is for the bot alone
	out, err := cmd.StdoutPipe()
	cmd.Stderr = cmd.Stdout
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	said, err := bufio.NewReader(out).ReadString('\n')
	if said = strings.TrimSpace(said); said == keptReady && ctx.Err() == nil {
		return cmd, nil
	}
	if ctx.Err() != nil {
		said = context.Cause(ctx).Error()
	}
	return nil, errors.Join(fmt.Errorf("it says %q", said), unlessEOF(err), cmd.Wait())
}

func unlessEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func copyProgram(to string) error {
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o700) //nolint:gosec // it is executed
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

// letGo leaves the cluster to whoever comes next.
func (k *keptCluster) letGo() error {
	if k.own != nil {
		_ = k.own.Process.Release()
	}
	return k.conn.Close()
}

// end ends the cluster, and waits until it has ended.
func (k *keptCluster) end() error {
	if _, err := io.WriteString(k.conn, endCluster+"\n"); err == nil {
		_, _ = io.Copy(io.Discard, k.conn) // it closes the connection at its end
	}
	err := k.conn.Close()
	if k.own != nil {
		err = errors.Join(err, k.own.Wait())
	}
	return err
}

// demoCluster is the cluster of a demo: its own, or the one of its data directory.
type demoCluster struct {
	env  []string
	sim  *pvesim.Sim  // its own; nil: kept is there
	kept *keptCluster // of dir
	dir  string
}

func openDemoCluster(ctx context.Context, o demoOptions) (*demoCluster, error) {
	if o.data == "" {
		sim, err := pvesim.New(simOptions(o.fast))
		if err != nil {
			return nil, err
		}
		return &demoCluster{env: sim.Env(), sim: sim}, nil
	}
	k, err := holdCluster(ctx, o.data, o.fast)
	if err != nil {
		return nil, err
	}
	return &demoCluster{env: k.env, kept: k, dir: o.data}, nil
}

// isNew: it has none of the VMs that an earlier demo made.
func (d *demoCluster) isNew() bool { return d.kept == nil || d.kept.own != nil }

// fits says why the cluster is not the one that the store's jobs are about.
func (d *demoCluster) fits(ctx context.Context, store provision.Store) error {
	if !d.isNew() {
		return nil
	}
	open, err := unfinished(ctx, store)
	if err == nil && open {
		err = clusterGone(d.dir, "while jobs were under way")
	}
	return err
}

// unfinished reports whether there are jobs that are not over.
func unfinished(ctx context.Context, store provision.Store) (bool, error) {
	jobs, err := store.Jobs(ctx, provision.Filter{Limit: 1, States: []provision.State{
		provision.StateWaiting, provision.StateQueued, provision.StateRunning, provision.StateParked, provision.StateUndoing,
	}})
	return len(jobs) > 0, err
}

func clusterGone(dir, when string) error {
	return fmt.Errorf("the simulated cluster of %s has ended %s, and its VMs are gone with it; begin with another directory, or remove this one", dir, when)
}

// close ends the cluster, or lets go of the one of a directory when it is not
// over.
func (d *demoCluster) close(over bool) error {
	switch {
	case d.sim != nil:
		return d.sim.Close()
	case over:
		return d.kept.end()
	}
	return d.kept.letGo()
}
