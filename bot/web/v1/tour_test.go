package v1_test

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pvebot/bot/web/apitest"
	v1 "pvebot/bot/web/v1"
	"pvebot/commands"
	"pvebot/provision"
)

// Every route is described, and everything described is a route.
func TestDescriptionIsComplete(t *testing.T) {
	s := apitest.Start(t, apitest.Options{Idle: true})
	api := v1.New(v1.Config{Engine: s.Engine, Store: s.Store, Clerk: s.Clerk, Gate: s.Gate})
	var described []string
	for path, item := range describe(t, api).doc["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			if method == "parameters" {
				continue
			}
			described = append(described, strings.ToUpper(method)+" "+path)
			for _, need := range []string{"operationId", "summary", "responses"} {
				if op.(map[string]any)[need] == nil {
					t.Errorf("%s %s has no %s", method, path, need)
				}
			}
		}
	}
	routes := append(v1.Routes(api), "GET /openapi.yaml", "GET /openapi.json")
	slices.Sort(described)
	slices.Sort(routes)
	if !slices.Equal(described, routes) {
		t.Errorf("described are\n%s\nthe routes are\n%s", strings.Join(described, "\n"), strings.Join(routes, "\n"))
	}
}

// A client goes through everything there is; each answer is held against the
// description.
func TestTour(t *testing.T) {
	s := apitest.Start(t, callers())
	ops, alice, guest := newCallers(t, s)

	plan := ask[struct{ Title, Digest, Rule string }](alice, http.StatusOK, "POST", "/plans", `{"line":"/vm install ubuntu --name web-1 --dry-run"}`)
	if plan.Title != "install ubuntu 26.04" || plan.Digest == "" || !strings.HasPrefix(plan.Rule, "role dev") {
		t.Errorf("the plan is %+v", plan)
	}
	hash := "$6$rounds=5000$saltsalt$" + strings.Repeat("a", 86)
	body := `{"kind":"install","spec":{"os":"ubuntu","name":"web-1","password_hash":"` + hash + `"}}`
	made := alice.order(body, "Idempotency-Key", "first")
	if again := alice.order(body, "Idempotency-Key", "first"); again.ID != made.ID {
		t.Errorf("the same key made job %d, and job %d", made.ID, again.ID)
	}
	done, events := alice.await(made.ID)
	if done.State != provision.StateSucceeded || done.Facts.Name != "web-1" || done.By.Key() != "http/alice" {
		t.Fatalf("the job is %+v: %+v", done, done.Err)
	}
	if got := kinds(events); got[0] != "job.accepted" || !slices.Contains(got, "step.done") {
		t.Errorf("the events are %q", got)
	}
	for _, e := range events {
		if strings.Contains(e.data, "saltsalt") {
			t.Errorf("the password's hash is in %s", e.data)
		}
	}
	if vm, _ := s.Sim.VM(done.Facts.VMID); vm.Options["cipassword"] != hash {
		t.Errorf("the VM's password is %q", vm.Options["cipassword"])
	}
	last := events[len(events)-2].id
	if status, _, _ := alice.do("GET", "/jobs/"+made.ID.String()+"/events", "", "Last-Event-ID", last); status != http.StatusNoContent {
		t.Errorf("who saw it all is answered with %d", status)
	}
	if _, text, _ := alice.do("GET", "/jobs/"+made.ID.String()+"/events?after=3", ""); eventsOf(t, text)[0].id != "4" {
		t.Errorf("after event 3 comes %+v", eventsOf(t, text)[0])
	}

	// Who owns what, and who may see it.
	vm := ask[struct {
		Owner provision.Actor
		Node  string
	}](alice, http.StatusOK, "GET", "/vms/web-1", "")
	if vm.Owner.Key() != "http/alice" {
		t.Errorf("web-1 is %+v", vm)
	}
	ask[provision.Problem](guest, http.StatusForbidden, "GET", "/vms/web-1", "")
	ask[provision.Problem](guest, http.StatusForbidden, "GET", "/audit", "")
	ask[map[string]any](guest, http.StatusOK, "GET", "/vms", "")
	ask[provision.Problem](guest, http.StatusForbidden, "POST", "/jobs", `{"kind":"stop","vm":"web-1"}`)
	for _, path := range []string{"/clusters", "/nodes", "/images", "/jobs?state=succeeded&limit=5&before=100", "/vms/101/snapshots", "/audit?vmid=101"} {
		ask[map[string]any](ops, http.StatusOK, "GET", path, "")
	}

	// An approval: ops may give it, the one who asked may not.
	wait := alice.order(`{"line":"/vm stop gitlab"}`)
	if wait.State != provision.StateWaiting || wait.Gate == nil || wait.Gate.Digest == "" {
		t.Fatalf("the job is %+v", wait)
	}
	vote := "/jobs/" + wait.ID.String() + "/vote"
	ask[provision.Problem](alice, http.StatusForbidden, "POST", vote, `{"yes":true,"digest":"`+wait.Gate.Digest+`"}`)
	ask[provision.Problem](ops, http.StatusBadRequest, "POST", vote, `{}`)
	ask[provision.Problem](ops, http.StatusConflict, "POST", vote, `{"yes":true,"digest":"another plan"}`)
	ask[job](ops, http.StatusOK, "POST", vote, `{"yes":true,"digest":"`+wait.Gate.Digest+`"}`)
	if stopped, _ := ops.await(wait.ID); stopped.State != provision.StateSucceeded {
		t.Errorf("the job is %+v", stopped)
	}
	ask[provision.Problem](ops, http.StatusConflict, "POST", vote, `{"yes":true,"digest":"`+wait.Gate.Digest+`"}`)
	ask[provision.Problem](ops, http.StatusConflict, "POST", "/jobs/"+wait.ID.String()+"/cancel", "")
	ask[provision.Problem](ops, http.StatusConflict, "POST", "/jobs/"+wait.ID.String()+"/resolve", `{"do":"keep"}`)

	// A failed job can be tried again.
	id := strconv.Itoa(done.Facts.VMID)
	halt := alice.order(`{"kind":"stop","vm":"web-1"}`)
	alice.await(halt.ID)
	s.Sim.FailOnce("qm start "+id, 255, "no luck")
	failed := ops.order(`{"kind":"start","spec":{"vm":{"vmid":` + id + `}}}`)
	if failed, _ = ops.await(failed.ID); failed.State != provision.StateFailed {
		t.Fatalf("the job is %+v", failed)
	}
	ask[job](ops, http.StatusOK, "POST", "/jobs/"+failed.ID.String()+"/resolve", `{"do":"retry"}`)
	if failed, _ = ops.await(failed.ID); failed.State != provision.StateSucceeded {
		t.Errorf("the job is %+v", failed)
	}

	// A waiting job can be cancelled by who asked for it.
	wait = alice.order(`{"kind":"stop","vm":"102"}`)
	if gone := ask[job](alice, http.StatusOK, "POST", "/jobs/"+wait.ID.String()+"/cancel", ""); gone.State != provision.StateCancelled {
		t.Errorf("the job is %+v", gone)
	}
	for _, method := range []string{"PUT", "DELETE", "PATCH"} {
		req, _ := http.NewRequestWithContext(t.Context(), method, ops.base+"/jobs", nil)
		req.Header.Set("Authorization", "Bearer "+opsToken)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s is answered with %d", method, resp.StatusCode)
		}
	}

	// What was done is in the audit log, with the refusals.
	log := ask[struct{ Rows []provision.AuditRow }](ops, http.StatusOK, "GET", "/audit?by=http/guest", "")
	if len(log.Rows) != 1 || log.Rows[0].What != "refused" || log.Rows[0].Verb != "stop" {
		t.Errorf("the audit log of guest is %+v", log.Rows)
	}
	if _, err := s.Store.VerifyAudit(t.Context(), ""); err != nil {
		t.Error(err)
	}
	for path, item := range ops.spec.doc["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			m := strings.ToUpper(method)
			ok := ops.spec.seen[m+" "+path+" OK"] || ops.spec.seen[m+" "+path+" Accepted"]
			if method != "parameters" && path != "/events" && !strings.HasPrefix(path, "/openapi.") && !ok {
				t.Errorf("%s %s was not tried", m, path)
			}
		}
	}
}

// The firehose begins where its reader left off, and loses nothing.
func TestFirehose(t *testing.T) {
	s := apitest.Start(t, callers())
	ops, _, _ := newCallers(t, s)
	first := ops.order(`{"kind":"snapshot","vm":"gitlab","spec":{"name":"before"}}`)
	_, events := ops.await(first.ID)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", ops.base+"/events?after=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+opsToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var text []byte
	buf := make([]byte, 4096)
	for len(eventsOf(t, text)) < len(events)-1 {
		n, err := resp.Body.Read(buf)
		text = append(text, buf[:n]...)
		if err != nil {
			t.Fatalf("%v after %s", err, text)
		}
	}
	ops.spec.hold(t, "GET", "/events", resp.StatusCode, resp.Header.Get("Content-Type"), text)
	for i, e := range eventsOf(t, text) {
		if e.data != events[i].data {
			t.Errorf("event %d is %s, in its job it was %s", i, e.data, events[i].data)
		}
	}
	ask[provision.Problem](ops, http.StatusBadRequest, "GET", "/events?after=never", "")
}

// What makes no sense is refused with a reason, and runs nothing.
func TestRefusals(t *testing.T) {
	s := apitest.Start(t, callers())
	ops, _, _ := newCallers(t, s)
	s.Sim.HoldLock(103, "backup")
	for _, tt := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/jobs", ``, 400},
		{"POST", "/jobs", `{`, 400},
		{"POST", "/jobs", `null`, 400},
		{"POST", "/jobs", `[]`, 400},
		{"POST", "/jobs", `{}`, 400},
		{"POST", "/jobs", `{"kind":"install"} {}`, 400},
		{"POST", "/jobs", `{"kind":"remind","spec":{"vm":{"vmid":101},"until":"2030-01-01T00:00:00Z"}}`, 400},
		{"POST", "/jobs", `{"kind":"explode","vm":"101"}`, 400},
		{"POST", "/jobs", `{"kind":"stop"}`, 400},
		{"POST", "/jobs", `{"kind":"stop","spec":{"do":"start","vm":{"vmid":101}}}`, 400},
		{"POST", "/jobs", `{"kind":"stop","spec":{"vm":{"vmid":101}},"vm":"102"}`, 400},
		{"POST", "/jobs", `{"kind":"stop","spec":{"vm":{"vmid":-1}}}`, 400},
		{"POST", "/jobs", `{"kind":"stop","spec":{"vm":{"vmid":99999999999999999999}}}`, 400},
		{"POST", "/jobs", `{"kind":"install","spec":{"os":"ubuntu","cpus":2}}`, 400},
		{"POST", "/jobs", `{"kind":"install","spec":{"os":"ubuntu","cores":-2}}`, 400},
		{"POST", "/jobs", `{"kind":"install","spec":{"os":"ubuntu","name":"a;reboot"}}`, 400},
		{"POST", "/jobs", `{"kind":"install","spec":{"os":"ubuntu","name":"b\u0000c"}}`, 400},
		{"POST", "/jobs", `{"kind":"install","spec":{"os":"ubuntu","user":"$(id)"}}`, 400},
		{"POST", "/jobs", `{"kind":"install","spec":{"os":"ubuntu","password_hash":"hunter2"}}`, 400},
		{"POST", "/jobs", `{"kind":"install","spec":{"os":"beos"}}`, 404},
		{"POST", "/jobs", `{"kind":"install","spec":{"os":"ubuntu","node":"pve1;id"}}`, 404},
		{"POST", "/jobs", `{"kind":"migrate","vm":"101","spec":{"to":"$(reboot)"}}`, 404},
		{"POST", "/jobs", `{"kind":"snapshot","vm":"101","spec":{"name":"a b"}}`, 400},
		{"POST", "/jobs", `{"kind":"start","vm":"dns"}`, 400},
		{"POST", "/jobs", `{"kind":"start","vm":"golden"}`, 409},
		{"POST", "/jobs", `{"kind":"start","vm":"old-wiki"}`, 409},
		{"POST", "/jobs", `{"kind":"start","vm":"no-such"}`, 404},
		{"POST", "/jobs", `{"kind":"stop","spec":{"vm":{"vmid":101,"name":"other"}}}`, 409},
		{"POST", "/jobs", `{"line":"/vm list"}`, 400},
		{"POST", "/jobs", `{"line":"/vm destory gitlab"}`, 400},
		{"POST", "/jobs", `{"line":"/vm destroy gitlab --dry-run"}`, 400},
		{"POST", "/jobs", `{"line":"/vm stop gitlab","kind":"stop"}`, 400},
		{"POST", "/jobs", `{"line":"` + strings.Repeat("a", 1<<20) + `"}`, 413},
		{"GET", "/jobs?limit=-1", ``, 400},
		{"GET", "/jobs?limit=9999999999999999999999", ``, 400},
		{"GET", "/jobs/0", ``, 400},
		{"GET", "/jobs/999", ``, 404},
		{"GET", "/jobs/x;y", ``, 400},
		{"POST", "/jobs/999/cancel", ``, 404},
		{"POST", "/jobs/1/resolve", `{"do":"explode"}`, 400},
		{"GET", "/vms/%00", ``, 400},
		{"GET", "/vms/a%0ab", ``, 400},
		{"POST", "/jobs", `{"kind":"stop","vm":"$(reboot)"}`, 400},
		{"GET", "/audit?by=nobody", ``, 400},
	} {
		p := ask[provision.Problem](ops, tt.status, tt.method, tt.path, tt.body)
		if strings.ContainsAny(p.Say, "\n\x00\x1b") || len(p.Say) > 300 {
			t.Errorf("%s %s: it says %q", tt.path, tt.body, p.Say)
		}
	}
	if ran := s.Changed(); len(ran) > 0 {
		t.Errorf("on the nodes ran %q", ran)
	}
	jobs := ask[jobList](ops, http.StatusOK, "GET", "/jobs", "")
	if len(jobs.Jobs) > 0 {
		t.Errorf("jobs were made: %+v", jobs.Jobs)
	}
}

// Programs confirm a new host key as people do: what they are sure of they have
// not seen yet.
func TestTrust(t *testing.T) {
	s := apitest.Start(t, callers())
	_, alice, guest := newCallers(t, s)
	made, _ := alice.await(alice.order(`{"line":"/vm install ubuntu --name web-1"}`).ID)
	if made.State != provision.StateSucceeded {
		t.Fatalf("the job is %+v: %+v", made, made.Err)
	}
	s.Sim.SetOption(made.Facts.VMID, "nameserver", "192.168.0.9")
	if stopped, _ := alice.await(alice.order(`{"kind":"reboot","vm":"web-1"}`).ID); stopped.Err == nil || !strings.HasPrefix(stopped.Err.Try, "vm trust ") {
		t.Fatalf("the reboot is %+v", stopped)
	}
	ask[provision.Problem](guest, http.StatusForbidden, "POST", "/jobs", `{"kind":"trust","vm":"web-1"}`)
	ask[provision.Problem](alice, http.StatusConflict, "POST", "/jobs", `{"kind":"trust","vm":"web-1","spec":{"host_key":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOGXQhOjRr3fqVmcFced/UGb5sm13lB1b8GfL0Qm5zoH"}}`)
	wait := alice.order(`{"kind":"trust","vm":"web-1"}`)
	if wait.State != provision.StateWaiting || wait.Gate == nil || wait.Gate.Plan == nil || !strings.HasPrefix(strings.Join(wait.Gate.Plan.Lines, "\n"), "known: SHA256:") {
		t.Fatalf("the job is %+v", wait)
	}
	vote := "/jobs/" + wait.ID.String() + "/vote"
	ask[provision.Problem](guest, http.StatusForbidden, "POST", vote, `{"yes":true,"digest":"`+wait.Gate.Digest+`"}`)
	ask[job](alice, http.StatusOK, "POST", vote, `{"yes":true,"digest":"`+wait.Gate.Digest+`"}`)
	if done, _ := alice.await(wait.ID); done.State != provision.StateSucceeded {
		t.Errorf("the job is %+v", done)
	}
	if again, _ := alice.await(alice.order(`{"kind":"reboot","vm":"web-1"}`).ID); again.State != provision.StateSucceeded {
		t.Errorf("the reboot is %+v: %+v", again, again.Err)
	}
}

// Who may look at their own only, is shown that: as in a chat.
func TestAuditOfOnesOwn(t *testing.T) {
	o := callers()
	o.Idle = true
	o.Policy.Roles[1].Allow = []commands.Rule{{Verbs: []string{commands.AllVerbs}, Scope: commands.ScopeOwn}}
	s := apitest.Start(t, o)
	ops, alice, _ := newCallers(t, s)
	ops.order(`{"kind":"snapshot","vm":"gitlab","spec":{"name":"secret-merger"}}`)
	alice.order(`{"line":"/vm install ubuntu --name web-1"}`)
	type log struct{ Rows []provision.AuditRow }
	for _, row := range ask[log](alice, http.StatusOK, "GET", "/audit", "").Rows {
		if row.By.Key() != "http/alice" {
			t.Errorf("alice is shown what %s did: %s", row.By.Key(), row.Verb)
		}
	}
	if len(ask[log](alice, http.StatusOK, "GET", "/audit?by=http/alice", "").Rows) == 0 {
		t.Error("alice does not see what she did herself")
	}
	ask[provision.Problem](alice, http.StatusForbidden, "GET", "/audit?by=http/ops", "")
	if n := len(ask[log](ops, http.StatusOK, "GET", "/audit", "").Rows); n != 2 {
		t.Errorf("ops sees %d rows, want both", n)
	}
}

// Orders with the same key are one order, also when the first one is done.
func TestSameKeyLater(t *testing.T) {
	s := apitest.Start(t, callers())
	_, alice, _ := newCallers(t, s)
	for key, body := range map[string]string{
		"spec": `{"kind":"install","spec":{"os":"ubuntu","name":"web-1","vmid":190}}`,
		"line": `{"line":"/vm install ubuntu --name web-2 --id 191"}`,
	} {
		first := alice.order(body, "Idempotency-Key", key)
		if done, _ := alice.await(first.ID); done.State != provision.StateSucceeded {
			t.Fatalf("%s: %+v", body, done.Err)
		}
		status, text, _ := alice.do("POST", "/jobs", body, "Idempotency-Key", key)
		if status != http.StatusAccepted {
			t.Errorf("%s, sent again, is answered with %d %s", body, status, text)
		}
	}
	gone := alice.order(`{"kind":"destroy","vm":"190"}`, "Idempotency-Key", "gone")
	alice.await(gone.ID)
	if status, text, _ := alice.do("POST", "/jobs", `{"kind":"destroy","vm":"190"}`, "Idempotency-Key", "gone"); status != http.StatusAccepted {
		t.Errorf("a destroy, sent again, is answered with %d %s", status, text)
	}
}
