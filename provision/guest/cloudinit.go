package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"pvebot/cluster"
)

// CloudInitError says that cloud-init ended with errors: the guest is not what
// was ordered.
type CloudInitError struct {
	Module string   // that failed, as far as known
	Errors []string // as cloud-init puts them
	Log    []string // the last lines of its output
}

func (e *CloudInitError) Error() string {
	s := e.what()
	if detail := append(slices.Clip(e.Errors), e.Log...); len(detail) > 0 {
		s += ": " + strings.Join(detail, "; ")
	}
	return s
}

func (e *CloudInitError) what() string {
	if e.Module == "" {
		return "cloud-init failed in the guest"
	}
	return "cloud-init failed in the guest (module " + e.Module + ")"
}

// Short is Error with no more than the last lines of the log, for a card.
func (e *CloudInitError) Short() string {
	const last = 3
	s := e.what()
	if len(e.Log) == 0 {
		return s
	}
	return s + "; its log ends with: " + strings.Join(e.Log[max(0, len(e.Log)-last):], " / ")
}

const (
	cloudInitLog = "/var/log/cloud-init-output.log"
	logLines     = "12" // of it, in an error
)

// cloudStatus is what `cloud-init status` says.
type cloudStatus struct {
	Status   string              `json:"status"`          // not started, running, done, error, disabled, degraded
	Extended string              `json:"extended_status"` // error - running, degraded done; from 23.4 on
	Errors   []string            `json:"errors"`
	Warnings map[string][]string `json:"recoverable_errors"` // by log level; from 23.4 on
}

// lookAtCloudInit goes on where somebody has logged in.
func (g *Guest) lookAtCloudInit(ctx context.Context, l *look) {
	s, err := g.cloudStatus(ctx)
	switch {
	case errors.Is(err, errNoCloudInit):
		l.stage, l.ready, l.warnings = "ready", true, []string{"the guest has no cloud-init"}
		return
	case err != nil:
		l.stage, l.err = waitCloud+"not answering yet", err
		return
	}
	status := s.Status
	if strings.HasSuffix(s.Extended, "running") {
		status = "running" // an error is final only when the rest has run
	}
	l.stage = waitCloud + status
	switch status {
	case "done", "disabled", "degraded":
		l.ready = true
		for _, level := range slices.Sorted(maps.Keys(s.Warnings)) {
			l.warnings = append(l.warnings, s.Warnings[level]...)
		}
	case "error":
		log, _ := g.ask(ctx, "sudo", "-n", "tail", "-n", logLines, cloudInitLog)
		l.final = &CloudInitError{Module: failedModule(s.Errors), Errors: s.Errors, Log: printable(log)}
	default:
		line, _ := g.ask(ctx, "sudo", "-n", "tail", "-n", "1", cloudInitLog)
		if last := printable(line); len(last) > 0 {
			l.stage += " (" + last[len(last)-1] + ")"
		}
	}
}

var errNoCloudInit = errors.New("no cloud-init")

// cloudStatus asks cloud-init. Its exit status is 1 after an error, 2 when it
// is done with warnings, and also 2 when it is too old for --format.
func (g *Guest) cloudStatus(ctx context.Context) (cloudStatus, error) {
	out, err := g.ask(ctx, "cloud-init", "status", "--format", "json")
	exit, ran := errors.AsType[*cluster.ExitError](err)
	switch {
	case ran && exit.Status == 127:
		return cloudStatus{}, errNoCloudInit
	case err != nil && !ran:
		return cloudStatus{}, err
	}
	var s cloudStatus
	if json.Unmarshal([]byte(out), &s) == nil && s.Status != "" {
		return s, nil
	}
	if !ran {
		return s, fmt.Errorf("cloud-init answers %.80q", out)
	}
	out, err = g.ask(ctx, "cloud-init", "status", "--long")
	if _, ran := errors.AsType[*cluster.ExitError](err); err != nil && !ran {
		return s, err
	}
	if s = parseLong(out); s.Status == "" {
		return s, fmt.Errorf("cloud-init answers %.80q", out)
	}
	return s, nil
}

// parseLong reads the text of `cloud-init status --long` before 22.4: keys and
// values, where the detail is on the lines after its key.
func parseLong(text string) cloudStatus {
	var s cloudStatus
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		key, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); {
		case key == "status" && s.Status == "":
			s.Status = value
		case key == "detail" && s.Status == "error":
			s.Errors = printable(strings.Join(append([]string{value}, lines[i+1:]...), "\n"))
		}
	}
	return s
}

var moduleName = regexp.MustCompile(`^\(?'([\w.-]+)',`)

// failedModule finds the module in errors like ('ssh', ProcessExecutionError(...)).
func failedModule(errs []string) string {
	for _, e := range errs {
		if m := moduleName.FindStringSubmatch(e); m != nil {
			return m[1]
		}
	}
	return ""
}

// printable are the lines of text that say something, each cut to what a
// person reads. Guests may print anything.
func printable(text string) []string {
	const width = 160
	var out []string
	for line := range strings.Lines(strings.ToValidUTF8(text, "?")) {
		line = strings.TrimSpace(strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return ' '
			}
			return r
		}, line))
		if runes := []rune(line); len(runes) > width {
			line = string(runes[:width]) + "..."
		}
		if line != "" {
			out = append(out, line)
		}
	}
	return out
}
