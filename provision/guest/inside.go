package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"pvebot/cluster"
)

// inside is the guest as a node of tasks: what runs there as root, and goes on
// when the connection breaks or the bot dies. For the time of one script.
type inside struct {
	g        *Guest
	moved    time.Time       // when the script last printed something
	answered bool            // the guest has been looked at
	seen     map[string]bool // stages of a connection that was lost
	gone     error           // what Access.Watch found
}

// RunDir is where tasks live in a guest. It is gone after a reboot.
const RunDir = "/run/pvebot"

// name is how the guest is called where commands are told.
func (g *Guest) name() string { return "guest " + g.access.Addr }

func (in *inside) tasks() cluster.Tasks {
	return cluster.NewTasks(in, cluster.Config{RunDir: RunDir, Clock: in.g.access.Clock, Timeout: askTimeout})
}

// Names implements cluster.Nodes.
func (in *inside) Names() []string { return []string{in.g.name()} }

// Node implements cluster.Nodes: there is one.
func (in *inside) Node(string) (cluster.Runner, error) { return in, nil }

// Dial implements cluster.Nodes; nobody looks for a way on from a guest.
func (in *inside) Dial(context.Context, string, string) (net.Conn, error) {
	return nil, fmt.Errorf("%s: %w", in.g.name(), cluster.ErrNoNode)
}

// Close implements cluster.Nodes. The connection is the Guest's.
func (in *inside) Close() error { return nil }

// Run implements cluster.Runner, as root. What waiting does not mend is told as no
// error of the connection, so that nobody waits.
func (in *inside) Run(ctx context.Context, c cluster.Cmd) (cluster.Result, error) {
	// By now the lines of the last look have been read.
	if !c.Changes && in.answered && in.still() >= in.g.access.Stall {
		return cluster.Result{}, &StalledError{Addr: in.g.access.Addr, Stage: waitScript, For: in.still()}
	}
	c.Argv = append([]string{"sudo", "-n", "--"}, c.Argv...)
	res, err := in.g.send(ctx, c)
	if ctx.Err() != nil {
		return res, err
	}
	final := in.hopeless(ctx, err)
	switch {
	case final == nil:
		in.answered = in.answered || !c.Changes && err == nil
		return res, err
	case c.Changes && !errors.Is(err, cluster.ErrLost):
		return res, fmt.Errorf("%w: %w", cluster.ErrNotStarted, final) // nothing has run
	}
	return res, final
}

func (in *inside) still() time.Duration { return in.g.access.Clock.Now().Sub(in.moved) }

// hopeless says why it is of no use to go on after a command that ended with err.
func (in *inside) hopeless(ctx context.Context, err error) error {
	if wrong, ok := errors.AsType[*HostKeyError](err); ok {
		return wrong
	}
	if !errors.Is(err, cluster.ErrNotStarted) && !errors.Is(err, cluster.ErrLost) {
		return nil
	}
	stage := in.g.stage(err)
	if !in.seen[stage] { // a connection that comes and goes does not move
		in.seen[stage], in.moved = true, in.g.access.Clock.Now()
	}
	if in.gone = in.g.watch(ctx); in.gone != nil {
		return in.gone
	}
	if in.still() < in.g.access.Stall {
		return nil
	}
	return &StalledError{Addr: in.g.access.Addr, Stage: stage, For: in.still(), Err: err}
}
