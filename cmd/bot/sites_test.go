package main

import (
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"pvebot/commands"
	"pvebot/provision"
	"pvebot/provision/sqlstore/pgtest"
)

// settingsOf are enough settings for a cluster, each with a prefix.
func settingsOf(prefix string) []string {
	var all []string
	for _, s := range []string{"MAIN_NODE=pve1", "NODE_pve1=192.0.2.1", "GATEWAY=192.0.2.254", "ASSIGN_STORAGE=local"} {
		all = append(all, prefix+s)
	}
	return all
}

const onPostgres = "STORE_URL=postgres://127.0.0.1/pvebot"

func TestClusters(t *testing.T) {
	env := slices.Concat(settingsOf("TAIPEI_"), settingsOf("EU_WEST_"), []string{
		"CLUSTERS=taipei, eu-west,tokyo", onPostgres, "VM_MAX_CPU=8", "EU_WEST_VM_MAX_CPU=4", "EU_WEST_NODE_pve2=192.0.2.2", "NODE_stray=192.0.2.9",
	})
	c, err := readConfig(env, os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	all := c.offered()
	if len(all) != 3 || all[0].name != "taipei" || all[1].name != "eu-west" || all[2].name != "tokyo" {
		t.Fatalf("clusters %+v", all)
	}
	taipei, west := all[0].here, all[1].here
	if taipei == nil || taipei.Cluster != "taipei" || taipei.MaxCPU != 8 || len(taipei.Nodes) != 1 {
		t.Errorf("taipei: %+v", taipei)
	}
	if west == nil || west.Cluster != "eu-west" || west.MaxCPU != 4 || len(west.Nodes) != 2 {
		t.Errorf("eu-west: %+v", west)
	}
	if all[2].here != nil {
		t.Errorf("tokyo is worked for: %+v", all[2].here)
	}
	p := commands.Policy{Channels: map[provision.Conversation]string{{Platform: "slack", Channel: "C1"}: "tokio"}}
	if err := c.checkPolicy(p); err == nil || err.Error() != "POLICY_FILE: channels names the cluster tokio, which CLUSTERS does not have" {
		t.Errorf("a policy of another cluster: %v", err)
	}

	one, err := readConfig(settingsOf(""), os.DevNull)
	if err != nil || len(one.offered()) != 1 || one.offered()[0].name != "pve" || one.offered()[0].here.MainNode != "pve1" {
		t.Errorf("without CLUSTERS: %+v, %v", one.offered(), err)
	}
}

func TestClustersIncomplete(t *testing.T) {
	for name, tt := range map[string]struct {
		env  []string
		want string
	}{
		"half":  {[]string{"CLUSTERS=taipei", "TAIPEI_MAIN_NODE=pve1", "GATEWAY=192.0.2.254"}, "cluster taipei, whose settings begin with TAIPEI_: ASSIGN_STORAGE is not set"},
		"none":  {[]string{"CLUSTERS=taipei"}, "cluster taipei has no nodes here: set TAIPEI_MAIN_NODE and TAIPEI_NODE_<name>, or a STORE_URL on PostgreSQL"},
		"name":  {[]string{"CLUSTERS=Taipei"}, `CLUSTERS has "Taipei": names are lower-case letters`},
		"twice": {[]string{"CLUSTERS=a,a"}, "CLUSTERS has a twice"},
	} {
		if _, err := readConfig(tt.env, os.DevNull); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
}

func TestOnly(t *testing.T) {
	both := slices.Concat(settingsOf("TAIPEI_"), []string{"CLUSTERS=taipei,berlin", onPostgres})
	for name, tt := range map[string]struct {
		env  []string
		only string
		want string // "" for none
	}{
		"with a prefix":     {both, "taipei", ""},
		"without a prefix":  {append(settingsOf(""), onPostgres), "taipei", ""},
		"no nodes":          {both, "berlin", "cluster berlin has no nodes here: set BERLIN_MAIN_NODE"},
		"unknown":           {both, "tokyo", "--cluster tokyo: CLUSTERS has taipei, berlin"},
		"no shared store":   {settingsOf(""), "taipei", "STORE_URL is not postgres://...: a bot that works for one cluster shares its store"},
		"nothing set":       {[]string{onPostgres}, "taipei", "MAIN_NODE is not set"},
		"no cluster's name": {both, "Taipei", "names are lower-case letters"},
	} {
		c, err := readVars(tt.env, os.DevNull)
		if err == nil {
			err = c.only(tt.only)
		}
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %s", name, err, tt.want)
			}
			continue
		}
		if all := c.offered(); err != nil || len(all) != 1 || all[0].name != tt.only || all[0].here.Cluster != tt.only || all[0].here.MainNode != "pve1" {
			t.Errorf("%s: %+v, %v", name, all, err)
		}
	}
}

// TestWorkerPort: a worker has a port where one is set for it, and not where
// it is the one of the bot that people talk to.
func TestWorkerPort(t *testing.T) {
	both := slices.Concat(settingsOf("TAIPEI_"), settingsOf("BERLIN_"), []string{"CLUSTERS=taipei,berlin", onPostgres, "PORT=1", "LISTEN=127.0.0.2"})
	for name, tt := range map[string]struct {
		env  []string
		want string // "" for none
	}{
		"none is set":            {append(settingsOf(""), onPostgres), ""},
		"set":                    {append(settingsOf(""), onPostgres, "PORT=1"), "http://127.0.0.1:1"},
		"of another bot":         {both, ""},
		"of several":             {append(both, "TAIPEI_PORT=2", "BERLIN_PORT=3"), "http://127.0.0.2:2"},
		"of several, elsewhere":  {append(both, "TAIPEI_PORT=2", "TAIPEI_LISTEN=0.0.0.0"), "http://127.0.0.1:2"},
		"of the neighbour alone": {append(both, "BERLIN_PORT=3"), ""},
	} {
		c, err := readVars(tt.env, os.DevNull)
		if err == nil {
			err = c.only("taipei")
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := ""
		if c.port {
			got = c.self()
		}
		if got != tt.want {
			t.Errorf("%s: the port is %q, want %q", name, got, tt.want)
		}
		p := program{env: tt.env, dotenv: os.DevNull, out: io.Discard, err: io.Discard}
		want := "has no port: set TAIPEI_PORT"
		switch {
		case tt.want != "":
			want = "no bot answers at " + tt.want
		case name == "none is set":
			want = "has no port: set PORT"
		}
		if err := p.run(t.Context(), []string{"health", "--cluster", "taipei"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: health says %v, want %s", name, err, want)
		}
	}
}

// TestSites: people in one chat order in two clusters. On PostgreSQL the bot
// that they talk to reaches neither, and two others work for them; on SQLite
// it works for both itself.
func TestSites(t *testing.T) {
	t.Parallel()
	taipei, berlin := simEnv(t, "--cluster", "taipei", "--slack"), simEnv(t, "--cluster", "berlin")
	env := append(slices.Clone(taipei), "CLUSTERS=taipei,berlin")
	if os.Getenv("TEST_POSTGRES_URL") == "" {
		t.Log("no TEST_POSTGRES_URL: one bot does it all")
		for _, v := range berlin {
			if strings.HasPrefix(v, "BERLIN_") {
				env = append(env, v)
			}
		}
	} else {
		store := "STORE_URL=" + pgtest.URL(t)
		_, own, err := net.SplitHostPort(freeAddr(t))
		if err != nil {
			t.Fatal(err)
		}
		taipei = append(taipei, "TAIPEI_PORT="+own)
		for name, settings := range map[string][]string{"taipei": taipei, "berlin": berlin} {
			settings = append(settings, "CLUSTERS=taipei,berlin", store)
			start(t, program{env: settings, dotenv: os.DevNull, out: io.Discard, err: io.Discard}, "serve", "--cluster", name)
		}
		var how notes
		asks := program{env: append(slices.Clone(taipei), "CLUSTERS=taipei,berlin", store), dotenv: os.DevNull, out: &how, err: io.Discard}
		until(t, "the worker is well", func() bool { return asks.run(t.Context(), []string{"health", "--cluster", "taipei"}) == nil })
		if !strings.HasSuffix(how.String(), "ok   store: answers\nok   nodes: 3 of 3 online, with quorum\n") {
			t.Errorf("the worker says %s", how.String())
		}
		resp, err := http.Get("http://127.0.0.1:" + own + "/metrics")
		if text := body(t, resp, err); !strings.Contains(text, `pvebot_workers{cluster="taipei"} 64`) || strings.Contains(text, "cards_leader") {
			t.Errorf("the worker's metrics:\n%s", text)
		}
		env = append(slices.DeleteFunc(env, func(v string) bool { return strings.HasPrefix(v, "TAIPEI_") }), store)
	}
	addr := freeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	env = append(env, "PORT="+port)
	var said, log notes
	start(t, program{env: env, dotenv: os.DevNull, out: &said, err: &log}, "serve")
	g := guest{t, lookup(taipei, "SIM_SLACK")}
	ready := func(name string) bool {
		g.do("/type", "line", "/vm nodes --cluster "+name)
		return strings.Contains(g.look(), "Nodes in "+name)
	}
	for _, name := range []string{"taipei", "berlin"} {
		until(t, name+" answers", func() bool { return ready(name) })
	}
	g.do("/type", "line", "/vm install ubuntu --name web --cluster berlin")
	g.do("/type", "line", "/vm install ubuntu --name web")
	until(t, "both have a VM", func() bool { return strings.Count(g.look(), "is ready: VMID") == 2 })
	for _, words := range []string{"in berlin", "in taipei"} {
		if !strings.Contains(g.look(), words) {
			t.Errorf("nobody says %q:\n%s", words, g.look())
		}
	}
	// Programs say it in the path; without, they mean the first.
	answer := func(path, order string) string {
		t.Helper()
		if order == "" {
			resp, err := http.Get("http://" + addr + path)
			return body(t, resp, err)
		}
		resp, err := http.Post("http://"+addr+path, "application/json", strings.NewReader(order))
		return body(t, resp, err)
	}
	ask := func(path, body, want string) {
		t.Helper()
		if got := answer(path, body); !strings.Contains(got, want) {
			t.Errorf("%s %s: %s\nwant %s", path, body, got, want)
		}
	}
	ask("/api/v1/jobs", `{"line":"/vm stop web --cluster berlin"}`, `"cluster":"berlin"`)
	ask("/clusters/taipei/api/v1/jobs", `{"line":"/vm stop web"}`, `"text":"/vm stop web --cluster taipei"`)
	until(t, "both are stopped", func() bool { return strings.Count(answer("/api/v1/jobs?state=succeeded", ""), `"kind":"stop"`) == 2 })
	ask("/clusters/berlin/api/v1/jobs", `{"kind":"start","vm":"web"}`, `"text":"start --cluster berlin"`)
	ask("/clusters/berlin/api/v1/jobs?state=succeeded", "", `{"jobs":[{"id":3,"cluster":"berlin"`)
	ask("/clusters/tokyo/api/v1/vms", "", "404")
	ask("/api/v1/clusters", "", `{"name":"taipei","default":true,"api":"/clusters/taipei/api/v1"},{"name":"berlin","default":false,`)
	ask("/clusters/taipei/api/vm/list?disable=1", "", `"name":"web"`)
	ask("/api/vm/list?disable=1", "", `"name":"web"`)
	ask("/clusters/berlin/api/vm/install", `{"os":"debian","version":"12","name":"db","id":190}`, `"vm_id":190`)
	ask("/clusters/berlin/api/vm/190/status", "", "running")
	ask("/api/vm/190/status", "", `"kind":"not_found"`)
	if strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("the log says\n%s", log.String())
	}
	if !strings.Contains(said.String(), "cluster berlin: ") {
		t.Errorf("the bot says %s", said.String())
	}
}
