package guest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pvebot/cluster"
)

// Progress is what Ready waits for at the moment.
type Progress struct {
	Text string // "waiting for SSH", "cloud-init: running", ...
	// Moved says that the guest got further: the time until it counts as stalled
	// begins anew.
	Moved bool
}

// Waited is what somebody saw of a guest who waited for it before: the stage
// that it was in, and since when.
type Waited struct {
	Stage string    `json:"stage,omitempty"`
	Since time.Time `json:"since,omitzero"`
}

// State is a guest that is ready.
type State struct {
	BootID   string   // of the boot that is ready
	HostKey  string   // to pin: an authorized_keys line
	Warnings []string // what cloud-init finished with
}

// The stages of becoming ready, in order, as people read them.
const (
	waitTCP    = "waiting for TCP"
	waitSSH    = "waiting for SSH"
	waitLogin  = "waiting for SSH login"
	waitReboot = "waiting for the reboot"
	waitCloud  = "cloud-init: "
)

// waitScript is the stage of an init script that runs.
const waitScript = "waiting for the init script"

// StalledError says that nothing was seen to move for too long.
type StalledError struct {
	Addr  string        // of the guest
	Stage string        // what was waited for, as Progress says it
	For   time.Duration // how long nothing had moved
	Err   error         // what the last look met; nil when it only had to wait on
}

func (e *StalledError) Error() string {
	s := "the guest does not get ready: " + e.what()
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Short is Error with no more of the cause than where it began, for a card.
func (e *StalledError) Short() string {
	if !e.Closed() || e.Err == nil {
		return e.what()
	}
	return e.what() + " (" + innermost(e.Err).Error() + ")"
}

// innermost is the error that the others were made of.
func innermost(err error) error {
	switch e := err.(type) { //nolint:errorlint // each layer is taken off
	case interface{ Unwrap() []error }:
		all := e.Unwrap()
		return innermost(all[len(all)-1])
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return innermost(inner)
		}
	}
	return err
}

func (e *StalledError) what() string {
	what := "cloud-init stands still at " + strings.TrimPrefix(e.Stage, waitCloud)
	switch e.Stage {
	case waitTCP:
		what = "nothing answers at " + e.Addr
	case waitSSH:
		what = "no SSH server answers at " + e.Addr
	case waitLogin:
		what = "its SSH server does not let the bot in"
	case waitReboot:
		what = "it does not restart"
	case waitScript:
		what = "its init script prints nothing"
	}
	return fmt.Sprintf("%s, for %s", what, e.For.Round(time.Second))
}

// Closed reports whether the guest's SSH server could not be talked to at all:
// the guest may be well, and its SSH shut.
func (e *StalledError) Closed() bool { return e.Stage == waitTCP || e.Stage == waitSSH }

// The pauses between two looks. They grow with the time that a stage has taken,
// so that looking late adds little to it, and long waits cost few looks. A look
// at a guest that is not there yet is one connection that its node refuses.
const (
	leastPause = 150 * time.Millisecond
	mostPause  = 3 * time.Second
	pausePart  = 80 // of the time waited so far
)

// Ready waits until the guest can be used: it takes TCP connections, lets the
// user log in, runs under a boot id other than after (when that is not ""), and
// cloud-init has done its work. Each stage, and each step of cloud-init that
// can be seen, is reported when it begins; report may be nil.
//
// It gives up with *StalledError, *CloudInitError, *HostKeyError, what
// Access.Watch says, or with ctx's cause. Waiting in vain for Access.Stall is no
// fault of the connection: a *StalledError is never cluster.ErrNotStarted.
func (g *Guest) Ready(ctx context.Context, after string, report func(Progress)) (State, error) {
	clock, moved, last := g.access.Clock, g.access.Clock.Now(), ""
	seen := map[string]bool{} // a guest that goes in circles does not move
	if before := g.access.Waited; !before.Since.IsZero() {
		moved, seen[before.Stage] = before.Since, true
	}
	g.watched = clock.Now()
	for {
		look := g.look(ctx, after)
		switch {
		case ctx.Err() != nil:
			return State{}, context.Cause(ctx)
		case look.final != nil:
			return State{}, look.final
		}
		further := !seen[look.stage]
		if further {
			seen[look.stage], moved = true, clock.Now()
		}
		if look.stage != last && report != nil {
			report(Progress{Text: look.stage, Moved: further && !look.ready})
		}
		last = look.stage
		if look.ready {
			return State{BootID: look.boot, HostKey: g.HostKey(), Warnings: look.warnings}, nil
		}
		still := clock.Now().Sub(moved)
		if still >= g.access.Stall {
			return State{}, &StalledError{Addr: g.access.Addr, Stage: look.stage, For: still, Err: look.err}
		}
		if gone := g.watch(ctx); gone != nil {
			return State{}, gone
		}
		if err := clock.Sleep(ctx, min(max(leastPause, still/pausePart), mostPause)); err != nil {
			return State{}, err
		}
	}
}

// look is what one look at the guest found.
type look struct {
	stage    string
	err      error // why it is not further, as far as an error says so
	final    error // waiting is of no use
	ready    bool
	boot     string
	warnings []string
}

func (g *Guest) look(ctx context.Context, after string) look {
	g.reached.Store(false)
	boot, err := g.BootID(ctx)
	switch wrong, changed := errors.AsType[*HostKeyError](err); {
	case changed:
		return look{final: wrong}
	case g.bad != nil:
		return look{final: g.bad}
	case err != nil:
		return look{stage: g.stage(err), err: err}
	case boot == after:
		return look{stage: waitReboot}
	}
	l := look{boot: boot}
	g.lookAtCloudInit(ctx, &l)
	return l
}

// stage is how far a login came that ended with err.
func (g *Guest) stage(err error) string {
	switch {
	case strings.Contains(err.Error(), "unable to authenticate"):
		// The SSH library has no type for it.
		return waitLogin
	case g.reached.Load(), !errors.Is(err, cluster.ErrNotStarted):
		return waitSSH
	default:
		return waitTCP
	}
}
