package legacy_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"pvebot/bot/web/access"
	"pvebot/bot/web/legacy"
	"pvebot/bot/web/orders"
	"pvebot/cluster"
	"pvebot/provision"
)

// twoVMs is a cluster with a stopped VM 101 and a running VM 102. It is also a
// clerk who writes down what is ordered, and allows nothing.
type twoVMs struct{ ordered []provision.Spec }

func (*twoVMs) VMs(context.Context) ([]provision.VM, error) {
	return []provision.VM{
		{VMRef: provision.VMRef{VMID: 101, Name: "off", Node: "pve1"}, Status: "stopped"},
		{VMRef: provision.VMRef{VMID: 102, Name: "on", Node: "pve2"}, Status: "running"},
	}, nil
}

func (c *twoVMs) FindVM(ctx context.Context, word string) (provision.VM, error) {
	vms, _ := c.VMs(ctx)
	for i, number := range []string{"101", "102"} {
		if word == number {
			return vms[i], nil
		}
	}
	return provision.VM{}, provision.Errorf(provision.NotFound, "there is no VM %s", word)
}

func (*twoVMs) Resources(context.Context) (cluster.Resources, error)  { return cluster.Resources{}, nil }
func (*twoVMs) Images(context.Context) ([]provision.Image, error)     { return nil, nil }
func (*twoVMs) Baselines(context.Context) ([]cluster.Baseline, error) { return nil, nil }

func (*twoVMs) Status(_ context.Context, _ string, vmid int) (string, error) {
	return map[int]string{101: "stopped", 102: "running"}[vmid], nil
}

func (c *twoVMs) Place(_ context.Context, o orders.Order) (provision.Job, error) {
	c.ordered = append(c.ordered, o.Spec)
	return provision.Job{}, provision.Errorf(provision.Denied, "not today")
}

func (*twoVMs) MaySee(provision.Actor, string, *provision.VM) error { return nil }

// FuzzRequest: whatever a client sends, the answer is JSON or plain text and
// never the bot's fault, and what is ordered makes sense and is about the VM
// that the path names.
func FuzzRequest(f *testing.F) {
	for action, body := range map[string]string{
		"install": `{"os":"ubuntu","version":"24.04","name":"web","cpu":4,"ram":4096,"disk":"32G","user":"u","passwd":"p","pubkey":"ssh-ed25519 x"}`,
		"start":   "", "stop": "", "shutdown": "", "reboot": "", "destroy": "", "status": "", "list": "",
		"set/cpu": `{"cpu":4}`, "set/memory": `{"memory":1024}`, "set/disk": `{"disk":"10G"}`, "set/node": `{"node":"pve2"}`,
	} {
		f.Add("POST", "101", action, body)
		f.Add("POST", "102", action, "{")
	}
	f.Add("GET", "102", "status", "")
	f.Add("POST", "102", "set/disk", `{"disk":"10G; reboot"}`)
	f.Add("POST", "102", "set/node", `{"node":"pve2$(id)"}`)
	f.Add("POST", "", "install", `{"os":"debian","version":"12","cpu":-1,"ram":1e9,"disk":"99999999T","id":-5}`)
	f.Add("POST", "%2e%2e", "stop", "")
	gate, err := access.New(access.Config{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, id, action, body string) {
		path := "/api/vm/" + url.PathEscape(id) + "/" + (&url.URL{Path: action}).EscapedPath()
		if id == "" {
			path = "/api/vm/" + (&url.URL{Path: action}).EscapedPath()
		}
		r, err := http.NewRequestWithContext(t.Context(), method, "http://localhost"+path, strings.NewReader(body))
		if err != nil {
			t.Skip("no client can send it")
		}
		r.RemoteAddr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 1).String()
		c := &twoVMs{}
		api := legacy.New(legacy.Config{Engine: c, Cluster: c, Clerk: c, Gate: gate, Settings: provision.Settings{MainNode: "pve1", MaxCores: 8, MaxMemoryMB: 8192, MaxDiskMB: 64 << 10}})
		rec := httptest.NewRecorder()
		api.ServeHTTP(rec, r)
		if rec.Code >= 500 {
			t.Errorf("%s %s %q: %d %s", method, path, body, rec.Code, rec.Body)
		}
		if kind := rec.Header().Get("Content-Type"); strings.HasPrefix(kind, "application/json") && !json.Valid(rec.Body.Bytes()) {
			t.Errorf("%s %s: no JSON: %s", method, path, rec.Body)
		}
		if len(c.ordered) > 0 && method != http.MethodPost {
			t.Errorf("%s %s ordered %+v", method, path, c.ordered)
		}
		for _, spec := range c.ordered {
			if err := spec.Validate(); err != nil {
				t.Errorf("%s %s %q ordered what makes no sense: %v", method, path, body, err)
			}
			if about, ok := spec.(provision.VMSpec); ok && about.Target().Name == "" {
				t.Errorf("%s %s is about %v", method, path, about.Target())
			}
		}
	})
}
