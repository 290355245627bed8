package legacy_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pvebot/bot/web/access"
	"pvebot/bot/web/apitest"
	"pvebot/cluster/pvesim"
	"pvebot/commands"
	"pvebot/provision"
	"pvebot/provision/image"
)

// The paths and methods that the old system had, with a body that its clients
// send. Each is there, and by no other method.
var endpoints = []struct{ method, path, body string }{
	{"GET", "/api/health", ""},
	{"POST", "/api/vm/install", `{}`},
	{"GET", "/api/vm/list", ""},
	{"GET", "/api/vm/999/status", ""},
	{"POST", "/api/vm/999/start", ""},
	{"POST", "/api/vm/999/stop", ""},
	{"POST", "/api/vm/999/shutdown", ""},
	{"POST", "/api/vm/999/reboot", ""},
	{"POST", "/api/vm/999/destroy", ""},
	{"POST", "/api/vm/999/set/cpu", `{"cpu":2}`},
	{"POST", "/api/vm/999/set/memory", `{"memory":1024}`},
	{"POST", "/api/vm/999/set/disk", `{"disk":"10G"}`},
	{"POST", "/api/vm/999/set/node", `{"node":"pve2"}`},
	{"GET", "/sh/ubuntu_24.04.sh", ""},
}

// answerRE is a refusal: JSON with a reason.
var answerRE = regexp.MustCompile(`^\{"success":false,"error":"(?:[^"\\]|\\.)+","kind":"[a-z_]+"`)

func TestEndpoints(t *testing.T) {
	_, api := newAPI(t, apitest.Options{Idle: true})
	c := newClient(t, api)
	for _, e := range endpoints {
		status, text, resp := c.do(e.method, e.path, e.body)
		switch {
		case strings.Contains(e.path, "999"):
			if status != http.StatusNotFound || !answerRE.MatchString(text) {
				t.Errorf("%s %s: %d %s", e.method, e.path, status, text)
			}
		case e.body == "{}":
			if status != http.StatusBadRequest || !answerRE.MatchString(text) {
				t.Errorf("%s %s: %d %s", e.method, e.path, status, text)
			}
		case status != http.StatusOK:
			t.Errorf("%s %s: %d %s", e.method, e.path, status, text)
		}
		if kind := resp.Header.Get("Content-Type"); kind == "" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s has the headers %v", e.method, e.path, resp.Header)
		}
		other := map[string]string{"GET": "POST", "POST": "GET"}[e.method]
		if status, _, _ := c.do(other, e.path, e.body); status != http.StatusMethodNotAllowed {
			t.Errorf("%s %s: %d", other, e.path, status)
		}
	}
	for _, i := range image.Default().All() { // every system has its script
		if _, there := i.InitScript(); !there {
			continue
		}
		path := "/sh/" + i.OS + "_" + i.Version + ".sh"
		if status, text, _ := c.do("GET", path, ""); status != http.StatusOK || !strings.HasPrefix(text, "#!/bin/bash\n") {
			t.Errorf("%s: %d %.60s", path, status, text)
		}
	}
}

// What the client leaves out is as ever, what is above the limits is brought
// down to them, and the VM is the one that was asked for.
func TestInstallBody(t *testing.T) {
	s, api := newAPI(t, apitest.Options{
		Sim: pvesim.Options{Statd: -1},
		Settings: func(s *provision.Settings) {
			s.MaxCores, s.MaxMemoryMB, s.MaxDiskMB, s.BalloonMinMB = 4, 4096, 32<<10, 2048
		},
	})
	c := newClient(t, api)
	option := func(t *testing.T, vmid int, want map[string]string) {
		t.Helper()
		vm, there := s.Sim.VM(vmid)
		if !there {
			t.Fatalf("there is no VM %d", vmid)
		}
		for name, value := range want {
			if got := vm.Options[name]; got != value && !(strings.HasPrefix(value, "*") && strings.Contains(got, value[1:])) {
				t.Errorf("VM %d has %s %q, want %q", vmid, name, got, value)
			}
		}
	}
	has := func(t *testing.T, frames []frame, step, status, words string) {
		t.Helper()
		if !slices.ContainsFunc(frames, func(f frame) bool {
			return strings.HasSuffix(f.Step, step) && f.Status == status && strings.Contains(f.Message, words)
		}) {
			t.Errorf("the stream does not say %s of %s", words, step)
		}
	}

	frames := c.stream("/api/vm/install", `{"os":"debian","version":"12"}`)
	f := c.last(frames)
	vm, _ := s.Sim.VM(*f.VMID)
	if *f.VMID < 100 || *f.VMID > 254 || f.IP != vm.IP.String() || vm.Name != vm.IP.String()[strings.LastIndex(vm.IP.String(), ".")+1:] || vm.Node != "pve1" {
		t.Errorf("the VM is %+v", vm)
	}
	option(t, *f.VMID, map[string]string{
		"cores": "2", "memory": "2048", "scsi0": "*size=16G", "ciuser": "debian", "tags": "*debian", "ostype": "l26", "agent": "*1",
		"scsihw": "*virtio-scsi", "net0": "*bridge=vmbr0", "serial0": "socket", "ciupgrade": "0", "balloon": "",
		"ipconfig0": "ip=" + f.IP + "/24,gw=192.168.0.1", "numa": "0",
	})
	has(t, frames, "finalizing", "success", "debian")

	frames = c.stream("/api/vm/install", `{"os":"debian","version":"12","id":190,"name":"big","node":"pve2","cpu":64,"ram":999999,"disk":"500G",
		"user":"admin","passwd":"correct horse","pubkey":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIDVLWMMzYCDTWJZ7M9E6AY7NVX0SXJJRXGM7Y5KY4pc me@home","unknown":true}`)
	c.last(frames)
	option(t, 190, map[string]string{"name": "big-190", "cores": "4", "memory": "4096", "scsi0": "*size=32G", "ciuser": "admin", "cipassword": "*$6$", "sshkeys": "*me%40home"})
	option(t, 190, map[string]string{"numa": "1", "balloon": "2048"}) // RAM - min
	has(t, frames, "validating CPU and RAM", "info", "64 CPUs are more than one VM may have: it gets 4")
	has(t, frames, "validating CPU and RAM", "info", "999999 MB of memory are more than one VM may have: it gets 4096")
	has(t, frames, "validating disk size", "info", "500 GB is more than one VM may have: it gets 32")
	has(t, frames, "VM initialization > migrating VM", "success", "pve2")
	if vm, _ := s.Sim.VM(190); vm.Node != "pve2" {
		t.Errorf("VM 190 is on %s", vm.Node)
	}
	for _, ran := range s.Sim.Ran() {
		if strings.Contains(ran.String(), "correct horse") {
			t.Errorf("the password is in %s", ran)
		}
	}
	t.Run("lists", func(t *testing.T) { lists(t, &client{t, c.base, c.http}) })
	t.Run("image", func(t *testing.T) {
		c := &client{t, c.base, c.http}
		got := stages(c.stream("/api/vm/install", `{"os":"debian","version":"12","id":0,"name":"","node":"","cpu":0,"ram":0,"disk":"","user":"","passwd":"","pubkey":""}`))
		if !slices.Contains(got, "OS preparation > using OS image") || slices.Contains(got, "OS preparation > downloading OS image") {
			t.Errorf("the stages are %q", got)
		}
	})
}

// lists: the keys that clients know and those of the papers hold the same.
func lists(t *testing.T, c *client) {
	all, on, off := c.list(""), c.list("?disable=0"), c.list("?disable=1")
	nodes, _ := json.Marshal(all.Cluster)
	var named []vm
	for _, l := range []listed{all, on, off} {
		if !l.Success || l.Count != len(l.List) || !slices.Equal(l.List, l.Data) || !slices.Equal(l.List, l.VMs) || len(l.Cluster) != 3 {
			t.Errorf("the list is %+v", l)
		}
		named = append(named, l.List...)
	}
	if string(nodes) != string(all.Nodes) {
		t.Errorf("cluster is %s, nodes are %s", nodes, all.Nodes)
	}
	if on.Count+off.Count != all.Count || slices.ContainsFunc(on.List, func(v vm) bool { return !v.Running }) || slices.ContainsFunc(off.List, func(v vm) bool { return v.Running }) {
		t.Errorf("%d VMs run, %d do not, %d there are", on.Count, off.Count, all.Count)
	}
	for _, v := range named {
		if v.VMID == 190 && (v.Name != "big-190" || v.OS != "debian" || v.CPU != 4 || v.Memory != 4 || v.Disk != 32) {
			t.Errorf("VM 190 is %+v", v)
		}
	}
	if status, text, _ := c.do("GET", "/api/vm/list?disable=maybe", ""); status != http.StatusBadRequest || !answerRE.MatchString(text) {
		t.Errorf("?disable=maybe: %d %s", status, text)
	}
}

// What can't be done is refused with a status and a reason, and nothing runs.
func TestRefusals(t *testing.T) {
	s, api := newAPI(t, apitest.Options{})
	c := newClient(t, api)
	s.Sim.HoldLock(102, "backup")
	big := `{"os":"debian","version":"12","name":"` + strings.Repeat("a", 1<<20) + `"}`
	install := func(fields string) string { return `{"os":"debian","version":"12",` + fields + `}` }
	for _, tt := range []struct {
		path, body string
		status     int
		words      string
	}{
		// The power state of old-wiki is stopped, that of gitlab running.
		{"103/stop", "", 400, "is stopped, not running"},
		{"103/shutdown", "", 400, "is stopped, not running"},
		{"103/reboot", "", 400, "is stopped, not running"},
		{"101/start", "", 400, "is running, not stopped"},
		{"101/destroy", "", 400, "is running, not stopped"},
		{"102/stop", "", 409, "locked (backup)"},
		{"120/start", "", 400, "container"},
		{"900/start", "", 400, "template"},
		{"900/set/cpu", `{"cpu":2}`, 400, "template"},

		{"99/stop", "", 400, "no VMID"},
		{"0103/stop", "", 400, "no VMID"},
		{"-1/stop", "", 400, "no VMID"},
		{"1e3/stop", "", 400, "no VMID"},
		{"99999999999999999999/stop", "", 400, "no VMID"},
		{"101%3Breboot/stop", "", 400, "no VMID"},
		{"101%00/stop", "", 400, "no VMID"},
		{"101%0Aqm%20stop%20102/stop", "", 400, "no VMID"},
		{"$(reboot)/stop", "", 400, "no VMID"},
		{"١٠١/stop", "", 400, "no VMID"},

		{"103/set/cpu", `{"cpu":0}`, 400, "1 to 32"},
		{"103/set/cpu", `{"cpu":33}`, 400, "1 to 32"},
		{"103/set/cpu", `{"cpu":-4}`, 400, "1 to 32"},
		{"103/set/cpu", `{"cpu":"4;reboot"}`, 400, "can't be string"},
		{"103/set/cpu", `{"cpu":1e99}`, 400, "can't be number"},
		{"103/set/cpu", `cpu=4`, 400, "no JSON"},
		{"103/set/memory", `{"memory":511}`, 400, "512"},
		{"103/set/memory", `{"memory":999999999}`, 400, "512"},
		{"103/set/disk", `{"disk":"-5G"}`, 400, "by how much"},
		{"103/set/disk", `{"disk":"10"}`, 400, "by how much"},
		{"103/set/disk", `{"disk":"0G"}`, 400, "by how much"},
		{"103/set/disk", `{"disk":"10G; reboot"}`, 400, "by how much"},
		{"103/set/disk", `{"disk":"10G\nreboot"}`, 400, "by how much"},
		{"103/set/disk", `{"disk":"99999999999G"}`, 400, "by how much"},
		{"103/set/node", `{"node":"pve2; reboot"}`, 400, "name of a node"},
		{"103/set/node", `{"node":"$(reboot)"}`, 400, "name of a node"},
		{"103/set/node", `{"node":"--help"}`, 400, "name of a node"},
		{"103/set/node", `{"node":"pve2\u0000"}`, 400, "name of a node"},
		{"103/set/node", `{"node":"pve9"}`, 404, "pve9"},

		{"install", `{"version":"12"}`, 400, "os is missing"},
		{"install", `{"os":"debian"}`, 400, "version is missing"},
		{"install", `{"os":"beos","version":"5"}`, 400, "beos"},
		{"install", `{"os":"debian; reboot","version":"12"}`, 400, "debian; reboot"},
		{"install", install(`"id":99`), 400, "100 to 254"},
		{"install", install(`"id":255`), 400, "100 to 254"},
		{"install", install(`"id":101`), 409, "taken"},
		{"install", install(`"id":120`), 409, "taken"},
		{"install", install(`"cpu":-1`), 400, "negative"},
		{"install", install(`"ram":256`), 400, "512"},
		{"install", install(`"disk":"8G"`), 400, "16G"},
		{"install", install(`"disk":"16G,import-from=/etc/shadow"`), 400, "16G"},
		{"install", install(`"name":"a;reboot"`), 400, "name"},
		{"install", install(`"name":"$(id)"`), 400, "name"},
		{"install", install(`"name":"wëb"`), 400, "name"},
		{"install", install(`"name":"名前"`), 400, "name"},
		{"install", install(`"name":"a\u0000b"`), 400, "invisible"},
		{"install", install(`"name":"a\nb"`), 400, "line break"},
		{"install", install(`"user":"root; id"`), 400, "login name"},
		{"install", install(`"user":"--help"`), 400, "login name"},
		{"install", install(`"passwd":"a\nb"`), 400, "line break"},
		{"install", install(`"passwd":"` + strings.Repeat("p", 200) + `"`), 400, "128"},
		{"install", install(`"pubkey":"ssh-ed25519 AAAA\nssh-rsa BBBB"`), 400, "line break"},
		{"install", install(`"pubkey":"command=\"id\" nonsense"`), 400, "key"},
		{"install", install(`"node":"pve1 && reboot"`), 400, "name of a node"},
		{"install", install(`"node":"pve9"`), 400, "pve9"},
		{"install", big, 413, "more than"},
	} {
		status, text, _ := c.do("POST", "/api/vm/"+tt.path, tt.body)
		if status != tt.status || !answerRE.MatchString(text) || !json.Valid([]byte(text)) || !strings.Contains(text, tt.words) {
			t.Errorf("%s %.80s: %d %s, want %d and %q", tt.path, tt.body, status, text, tt.status, tt.words)
		}
		if len(text) > 600 {
			t.Errorf("%s: the refusal has %d bytes", tt.path, len(text))
		}
	}
	if ran := s.Changed(); len(ran) > 0 {
		t.Errorf("on the nodes ran %q", ran)
	}
	if jobs, err := s.Store.Jobs(t.Context(), provision.Filter{}); err != nil || len(jobs) > 0 {
		t.Errorf("jobs were made: %+v, %v", jobs, err)
	}
}

// VMs in a state in which PVE refuses, and what the client is told.
func TestPVERefuses(t *testing.T) {
	s, api := newAPI(t, apitest.Options{})
	c := newClient(t, api)
	s.Sim.Protect(103)
	status, text, _ := c.do("POST", "/api/vm/103/destroy", "")
	if status != http.StatusConflict || !strings.Contains(text, "protect") {
		t.Errorf("destroying a protected VM: %d %s", status, text)
	}
	s.Sim.SetOption(103, "protection", "")
	s.Sim.HoldLock(103, "migrate")
	refused := func(words string, paths ...string) {
		t.Helper()
		for _, path := range paths {
			body := ""
			if strings.HasSuffix(path, "node") {
				body = `{"node":"pve1"}`
			}
			status, text, _ := c.do("POST", "/api/vm/"+path, body)
			if status != http.StatusConflict || !answerRE.MatchString(text) || !strings.Contains(text, words) {
				t.Errorf("%s: %d %s, want 409 and %q", path, status, text, words)
			}
		}
	}
	refused("locked (migrate)", "103/start", "103/destroy", "103/set/node")
	s.Sim.HoldLock(103, "")
	s.Sim.Pause(102)
	refused("is paused", "102/reboot", "102/shutdown")
	s.Sim.HAManaged(103)
	refused("high availability", "103/start", "103/destroy", "103/set/node")
	if ran := s.Changed(); len(ran) > 0 {
		t.Errorf("on the nodes ran %q", ran)
	}

	// What fails on the way ends the stream with an error that says why.
	s.Sim.FailOnce("qm set 101", 255, "can't lock file: got timeout")
	if status, text, _ := c.do("POST", "/api/vm/101/set/cpu", `{"cpu":2}`); status < 500 || !answerRE.MatchString(text) || !strings.Contains(text, "got timeout") {
		t.Errorf("a set that PVE refuses: %d %s", status, text)
	}
	s.Sim.FailOnce("qm migrate 101", 255, "ERROR: no luck today")
	_, body, _ := c.do("POST", "/api/vm/101/set/node", `{"node":"pve2"}`)
	frames, err := parse(body)
	if err != nil {
		t.Fatal(err)
	}
	if f := frames[len(frames)-1]; f.Status != "error" || !strings.Contains(f.Message, "no luck today") {
		t.Errorf("the last frame is %+v", f)
	}
}

// gated lets the addresses of ALLOW_IPS do things that others must approve.
func gated() commands.Policy {
	return commands.Policy{
		Roles: []commands.Role{
			{Name: "clients", Allow: []commands.Rule{{Verbs: []string{commands.AllVerbs}, Scope: commands.ScopeAll}}},
			{Name: "ops", Allow: []commands.Rule{{Verbs: []string{commands.AllVerbs}, Scope: commands.ScopeAll}}, People: []commands.Member{{Platform: "chat", ID: "bob"}}},
		},
		Approvals: []commands.Approval{{Verbs: []string{"start", "stop"}, Scope: commands.ScopeOthers, Need: 1, Of: []string{"ops"}}},
	}
}

// Where somebody must agree first, a stream says so and waits, and a word is
// refused with the job's number. Who goes away stops nothing.
func TestApproval(t *testing.T) {
	here, err := access.ParseAddrs("ALLOW_IPS", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	s, api := newAPI(t, apitest.Options{Policy: gated(), Access: access.Config{AllowIPs: here, LegacyRole: "clients"}})
	c := newClient(t, api)
	bob := provision.Actor{Platform: "chat", ID: "bob"}

	status, text, _ := c.do("POST", "/api/vm/101/stop", "")
	var no struct {
		Error string
		Job   provision.JobID
	}
	if err := json.Unmarshal([]byte(text), &no); err != nil || status != http.StatusForbidden || no.Job == 0 || !strings.Contains(no.Error, "waits for an approval by ops") {
		t.Fatalf("a stop that waits: %d %s", status, text)
	}
	if ran := s.Changed(); len(ran) > 0 {
		t.Errorf("on the nodes ran %q", ran)
	}

	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", c.base+"/api/vm/103/start", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	if err != nil || !strings.Contains(line, `"status":"info"`) || !strings.Contains(line, "job 2 waits for an approval by ops") {
		t.Errorf("the stream begins with %s, %v", line, err)
	}
	leave()
	job, err := s.Clerk.Vote(t.Context(), bob, 2, true, "")
	if err != nil || job.State == provision.StateWaiting {
		t.Fatalf("the vote: %+v, %v", job.State, err)
	}
	wait, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	for ev, err := range s.Store.Follow(wait, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Job == 2 && ev.Kind == provision.StepDone && ev.Step == "starting VM" {
			break
		}
	}
	c.text("GET", "/api/vm/103/status", "", "running")
}

// A token whose role has nothing in it reads nothing, not even which VMs are
// there.
func TestNothingWithoutARole(t *testing.T) {
	const token = "none-none-none-none-none"
	s, api := newAPI(t, apitest.Options{
		Idle: true, Access: access.Config{Tokens: []access.Token{access.NewToken("none", "none", token)}},
		Policy: commands.Policy{Roles: []commands.Role{{Name: "none"}}},
	})
	for _, path := range []string{"/api/vm/list", "/api/vm/101/status", "/api/vm/999/status"} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		rec := httptest.NewRecorder()
		api.ServeHTTP(rec, r)
		if rec.Code != http.StatusForbidden || !strings.Contains(rec.Body.String(), "does not include") {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
	}
	if changed := s.Changed(); len(changed) > 0 {
		t.Errorf("on the nodes ran %v", changed)
	}
}

// Who is not in ALLOW_IPS gets 403, whatever the headers say.
func TestStrangers(t *testing.T) {
	inside, err := access.ParseAddrs("ALLOW_IPS", "10.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	s, api := newAPI(t, apitest.Options{Idle: true, Access: access.Config{AllowIPs: inside}})
	for _, e := range endpoints {
		r := httptest.NewRequestWithContext(t.Context(), e.method, e.path, strings.NewReader(e.body))
		r.RemoteAddr = "192.0.2.7:4711"
		r.Header.Set("X-Forwarded-For", "10.1.2.3")
		rec := httptest.NewRecorder()
		api.ServeHTTP(rec, r)
		if rec.Code != http.StatusForbidden || !answerRE.MatchString(rec.Body.String()) {
			t.Errorf("%s %s: %d %s", e.method, e.path, rec.Code, rec.Body)
		}
	}
	if ran := s.Sim.Ran(); len(ran) > 0 {
		t.Errorf("on the nodes ran %v", ran)
	}
}
