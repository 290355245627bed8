package legacy_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"pvebot/bot/web/apitest"
)

// installStages are the old system's, in its order.
var installStages = []string{
	"preparation > checking VMID",
	"preparation > assigning IP",
	"preparation > validating CPU and RAM",
	"preparation > validating disk size",
	"preparation > setting default config values",
	"preparation > checking storage pool",
	"OS preparation > getting OS image",
	"OS preparation > validating OS image URL",
	"OS preparation > downloading OS image",
	"SSH preparation > checking SSH key",
	"VM creation > creating VM",
	"VM creation > importing disk image",
	"VM initialization > initializing configuration",
	"VM initialization > waiting for ready",
	"VM initialization > SSH initialization",
	"VM initialization > rebooting VM",
	"VM initialization > finalizing",
}

// A VM's whole life, driven by a client that knows nothing but the old API.
func TestTour(t *testing.T) {
	s, api := newAPI(t, apitest.Options{})
	c := newClient(t, api)
	c.text("GET", "/api/health", "", "ok")

	frames := c.stream("/api/vm/install", `{"os":"debian","version":"12","id":190,"name":"web","cpu":2,"ram":2048,"disk":"16G","passwd":"correct horse"}`)
	if got := stages(frames); !slices.Equal(got, installStages) {
		t.Errorf("the stages are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(installStages, "\n"))
	}
	if f := c.last(frames); *f.VMID != 190 || f.IP != "192.168.0.190" {
		t.Errorf("the last frame is %+v", f)
	}
	c.text("GET", "/api/vm/190/status", "", "running")
	if on := c.list("?disable=0"); !slices.ContainsFunc(on.List, func(v vm) bool { return v.VMID == 190 && v.Name == "web-190" && v.OS == "debian" && v.Running }) {
		t.Errorf("the list is %+v", on)
	}

	step := func(name string, do func(t *testing.T, c *client)) {
		t.Run(name, func(t *testing.T) { do(t, &client{t, c.base, c.http}) })
	}
	step("reboot", func(t *testing.T, c *client) {
		frames := c.stream("/api/vm/190/reboot", "")
		if got := stages(frames); !slices.Equal(got, []string{"rebooting VM", "waiting for SSH", "finalizing"}) {
			t.Errorf("the stages are %q", got)
		}
		if f := c.last(frames); *f.VMID != 190 || f.IP != "192.168.0.190" {
			t.Errorf("the last frame is %+v", f)
		}
	})
	step("shutdown", func(t *testing.T, c *client) {
		c.text("POST", "/api/vm/190/shutdown", "", "ok")
		c.text("GET", "/api/vm/190/status", "", "stopped")
	})
	step("set", func(t *testing.T, c *client) {
		c.text("POST", "/api/vm/190/set/cpu", `{"cpu":4}`, "ok")
		c.text("POST", "/api/vm/190/set/memory", `{"memory":4096}`, "ok")
		c.text("POST", "/api/vm/190/set/disk", `{"disk":"10G"}`, "ok")
		v, _ := s.Sim.VM(190)
		if v.Options["cores"] != "4" || v.Options["memory"] != "4096" || !strings.Contains(v.Options["scsi0"], "size=26G") {
			t.Errorf("the VM is %v", v.Options)
		}
	})
	step("set node", func(t *testing.T, c *client) {
		frames := c.stream("/api/vm/190/set/node", `{"node":"pve2"}`)
		if got := stages(frames); !slices.Equal(got, []string{"migrating", "finalizing"}) {
			t.Errorf("the stages are %q", got)
		}
		c.last(frames)
		if v, _ := s.Sim.VM(190); v.Node != "pve2" {
			t.Errorf("the VM is on %s", v.Node)
		}
	})
	step("start", func(t *testing.T, c *client) {
		frames := c.stream("/api/vm/190/start", "")
		if got := stages(frames); !slices.Equal(got, []string{"starting VM", "waiting for SSH", "finalizing"}) {
			t.Errorf("the stages are %q", got)
		}
		if f := c.last(frames); *f.VMID != 190 || f.IP != "192.168.0.190" {
			t.Errorf("the last frame is %+v", f)
		}
		c.text("GET", "/api/vm/190/status", "", "running")
	})
	step("stop", func(t *testing.T, c *client) {
		c.text("POST", "/api/vm/190/stop", "", "ok")
		c.text("GET", "/api/vm/190/status", "", "stopped")
	})
	step("destroy", func(t *testing.T, c *client) {
		c.text("POST", "/api/vm/190/destroy", "", "ok")
		if _, there := s.Sim.VM(190); there {
			t.Error("the VM is still there")
		}
		if status, _, _ := c.do("GET", "/api/vm/190/status", ""); status != http.StatusNotFound {
			t.Errorf("its status is answered with %d", status)
		}
		if left := s.Sim.Orphans(); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}
