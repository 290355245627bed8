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

// StalledError says that nothing was seen to move for too long.
type StalledError struct {
	Stage string        // what was waited for, as Progress says it
	For   time.Duration // how long nothing had moved
	Err   error         // what the last look met; nil when it only had to wait on
}

func (e *StalledError) Error() string {
	s := fmt.Sprintf("the guest does not get ready: %s, and nothing moved for %s", e.Stage, e.For.Round(time.Second))
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *StalledError) Unwrap() error { return e.Err }

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
// It gives up with *StalledError, *CloudInitError, *HostKeyError, or with ctx's
// cause.
func (g *Guest) Ready(ctx context.Context, after string, report func(Progress)) (State, error) {
	clock, moved, last := g.access.Clock, g.access.Clock.Now(), ""
	seen := map[string]bool{} // a guest that goes in circles does not move
	for {
		look := g.look(ctx, after)
		switch {
		case ctx.Err() != nil:
			return State{}, context.Cause(ctx)
		case look.final != nil:
			return State{}, look.final
		}
		if !seen[look.stage] {
			seen[look.stage], moved = true, clock.Now()
		}
		if look.stage != last && report != nil {
			report(Progress{Text: look.stage})
		}
		last = look.stage
		if look.ready {
			return State{BootID: look.boot, HostKey: g.HostKey(), Warnings: look.warnings}, nil
		}
		still := clock.Now().Sub(moved)
		if still >= g.access.Stall {
			return State{}, &StalledError{Stage: look.stage, For: still, Err: look.err}
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
