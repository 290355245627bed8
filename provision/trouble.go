package provision

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"pvebot/alloc"
	"pvebot/cluster"
)

// unreachable explains a read that failed: what does not answer, or how it
// refused. An *Error stays as it is.
func unreachable(what string, err error) error {
	if _, ok := errors.AsType[*Error](err); ok || err == nil {
		return err
	}
	// What was killed has refused nothing.
	if refused, ok := errors.AsType[*cluster.ExitError](err); ok && (refused.Status <= 128 || refused.Stderr != "") {
		return &Error{Kind: Failed, Say: fmt.Sprintf("%s refuses: %s", what, reason(refused)), Err: err}
	}
	if why := cluster.Reason(err); why != "" {
		return &Error{Kind: Unavailable, Say: what + " does not answer: " + why, Try: "bot doctor on the bot's machine looks at each node", Err: err}
	}
	return &Error{Kind: Unavailable, Say: what + " does not answer", Try: "vm nodes", Err: err}
}

// failed explains a change on a node that went wrong.
func failed(doing, node string, err error) error {
	if _, ok := errors.AsType[*Error](err); ok || err == nil {
		return err
	}
	refused, refusal := errors.AsType[*cluster.ExitError](err)
	switch {
	case errors.Is(err, cluster.ErrTaskLost):
		return &Error{Kind: Unavailable, Say: fmt.Sprintf("%s was cut off: %s restarted, or the command was killed", doing, node), Err: err}
	case errors.Is(err, cluster.ErrNotStarted):
		return &Error{Kind: Unavailable, Say: fmt.Sprintf("%s could not begin: node %s does not answer", doing, node), Try: "vm nodes", Err: err}
	case errors.Is(err, cluster.ErrLost):
		return &Error{Kind: Unavailable, Say: fmt.Sprintf("the connection to %s broke during %s", node, doing), Try: "vm nodes", Err: err}
	case !refusal:
		return &Error{Kind: Failed, Say: fmt.Sprintf("%s on %s failed: %v", doing, node, err), Err: err}
	case strings.Contains(strings.ToLower(refused.Stderr), "no space left"):
		return &Error{Kind: Full, Say: fmt.Sprintf("%s on %s failed: the storage is full", doing, node), Try: "make room on it, or use another storage", Err: err}
	}
	return &Error{Kind: Failed, Say: fmt.Sprintf("%s on %s failed: %s", doing, node, reason(refused)), Err: err}
}

// noSlot explains why no VMID and address could be had.
func noSlot(err error) error {
	if full, ok := errors.AsType[*alloc.FullError](err); ok {
		return &Error{Kind: Full, Say: full.Error(), Try: "destroy VMs that nobody needs, or widen ASSIGN_IP_START to ASSIGN_IP_END", Err: err}
	}
	if taken, ok := errors.AsType[*alloc.TakenError](err); ok {
		return &Error{Kind: Conflict, Say: taken.Error(), Try: "leave --id out, then I choose a free one", Err: err}
	}
	if out, ok := errors.AsType[*alloc.RangeError](err); ok {
		return &Error{Kind: Invalid, Say: out.Error(), Try: "leave --id out, then I choose one", Err: err}
	}
	if errors.Is(err, alloc.ErrProbe) {
		return &Error{Kind: Unavailable, Say: "it can't be told which addresses are in use: the node that probes them does not answer", Try: "vm nodes", Err: err}
	}
	return err
}

// itFailed is what PVE puts before a reason to say that it failed, and at what.
// Whoever tells the reason has said so.
var itFailed = regexp.MustCompile(`^(?:TASK ERROR: |[a-z]+ failed: |unable to (?:create|clone) (?:VM|CT) \d+ - )+`)

// usage is how PVE's tools say what they can be called with: it comes after the
// reason, and tells people nothing about it.
var usage = regexp.MustCompile(`^(?:USAGE: )?(?:qm|pvesm|pvesh)(?: [a-z][a-z-]*)* +(?:<|\[|--)`)

// reason is the last line that says something.
func reason(refused *cluster.ExitError) string {
	lines := strings.Split(strings.TrimSpace(refused.Stderr), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if l := strings.TrimSpace(lines[i]); l != "" && !usage.MatchString(l) {
			return cmp.Or(itFailed.ReplaceAllString(l, ""), l)
		}
	}
	return fmt.Sprintf("exit status %d, and no reason given", refused.Status)
}
