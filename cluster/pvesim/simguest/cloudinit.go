package simguest

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// cloudInitEnd is when cloud-init has finished this boot's work: a tenth of the
// time when the instance is known already.
func (g *Guest) cloudInitEnd() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	takes := g.cfg.CloudInit
	if g.boots > 1 {
		takes /= 10
	}
	return g.since.Add(g.cfg.Boot + takes)
}

func (g *Guest) cloudInitRuns() bool { return g.cfg.Clock.Now().Before(g.cloudInitEnd()) }

// The trouble that cloud-init reports, in its own spelling.
const (
	cloudInitError   = "('package_update_upgrade_install', ProcessExecutionError('Unexpected error while running command.'))"
	cloudInitWarning = "Could not match supplied host pattern, ignoring: all"
)

// cloudInitLog is /var/log/cloud-init-output.log.
func (g *Guest) cloudInitLog() []byte {
	log := fmt.Sprintf("Cloud-init v. %s running 'init' at boot. Up %.2f seconds.\n", g.image().cloudInit, g.cfg.Boot.Seconds())
	switch {
	case g.cloudInitRuns():
		return []byte(log)
	case g.cfg.CloudInitResult == "error":
		log += "E: Failed to fetch the package index: connection timed out\n" +
			"[WARNING]: Running module package_update_upgrade_install failed\n"
	case g.cfg.CloudInitResult == "degraded":
		log += "[WARNING]: " + cloudInitWarning + "\n"
	}
	return []byte(log + "Cloud-init v. " + g.image().cloudInit + " finished. Datasource DataSourceNoCloud [seed=/dev/sr0].\n")
}

// cloudInit answers `cloud-init status [--long] [--format F] [--wait]`. The
// exit status is 0 when all is well or still under way, 1 after an error and 2
// when cloud-init is done with warnings, which old ones do not tell.
func cloudInit(p *proc) int {
	set, rest, ok := p.options("lw", "long", "wait", "format:", "version")
	g := p.guest
	version := g.image().cloudInit
	if has(set, "version") {
		p.printf("cloud-init %s\n", version)
		return 0
	}
	if !ok || len(rest) != 1 || rest[0] != "status" || has(set, "format") && version < "22" {
		fmt.Fprintln(p.err, "usage: cloud-init status [-h] [--format {json,tabular,yaml}] [-l] [-w]")
		return 2
	}
	for has(set, "w", "wait") && g.cloudInitRuns() {
		if left := g.cloudInitEnd().Sub(g.cfg.Clock.Now()); !p.sleep(min(left, time.Second/4)) {
			return 143
		}
		p.printf(".")
	}
	s := g.cloudInitStatus()
	switch {
	case set["format"] == "json":
		data, err := json.MarshalIndent(s, "", "  ")
		if err != nil {
			return p.complain("%v", err)
		}
		p.printf("%s\n", data)
	case has(set, "l", "long") && version < "22":
		p.printf("status: %s\ntime: %s\ndetail:\n%s\n", s.Status, s.LastUpdate, strings.Join(append(s.Errors, s.Detail), "\n"))
	case has(set, "l", "long"):
		p.printf("status: %s\nextended_status: %s\nboot_status_code: %s\ndetail: %s\nerrors: %s\nrecoverable_errors: %s\n",
			s.Status, s.Extended, s.BootCode, s.Detail, bulleted(s.Errors, ""), bulleted(s.Warnings["WARNING"], "WARNING:\n"))
	default:
		p.printf("status: %s\n", s.Status)
	}
	switch {
	case s.Status == "error":
		return 1
	case len(s.Warnings) > 0:
		return 2
	}
	return 0
}

// cloudInitState is the status as JSON.
type cloudInitState struct {
	BootCode   string              `json:"boot_status_code"`
	Datasource string              `json:"datasource"`
	Detail     string              `json:"detail"`
	Errors     []string            `json:"errors"`
	Extended   string              `json:"extended_status,omitempty"`
	LastUpdate string              `json:"last_update"`
	Warnings   map[string][]string `json:"recoverable_errors,omitempty"`
	Status     string              `json:"status"`
}

func (g *Guest) cloudInitStatus() cloudInitState {
	s := cloudInitState{
		BootCode: "enabled-by-generator", Datasource: "nocloud", Detail: "DataSourceNoCloud [seed=/dev/sr0]",
		Errors: []string{}, Warnings: map[string][]string{}, Status: "done", Extended: "done",
		LastUpdate: g.cloudInitEnd().UTC().Format(time.RFC1123Z),
	}
	switch {
	case g.cloudInitRuns():
		s.Status, s.Extended = "running", "running"
	case g.cfg.CloudInitResult == "error":
		s.Status, s.Extended, s.Errors = "error", "error - done", []string{cloudInitError}
	case g.cfg.CloudInitResult == "degraded":
		s.Extended, s.Warnings = "degraded done", map[string][]string{"WARNING": {cloudInitWarning}}
	}
	if g.image().cloudInit < "23" { // which knows no warnings
		s.Extended, s.Warnings = "", nil
	}
	return s
}

func bulleted(list []string, heading string) string {
	if len(list) == 0 {
		if heading != "" {
			return "{}"
		}
		return "[]"
	}
	return "\n" + heading + "\t- " + strings.Join(list, "\n\t- ")
}
