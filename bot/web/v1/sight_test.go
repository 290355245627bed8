package v1_test

import (
	"net/http"
	"strings"
	"testing"

	"pvebot/bot/web/access"
	"pvebot/bot/web/apitest"
	v1 "pvebot/bot/web/v1"
	"pvebot/commands"
)

// No route tells anything to somebody whose role has nothing in it, nor to
// somebody without a token: not even whether a VM or a job is there.
func TestNothingWithoutARole(t *testing.T) {
	o := callers()
	o.Policy.Roles = append(o.Policy.Roles, commands.Role{Name: "none"})
	const noneToken = "none-none-none-none-none"
	o.Access.Tokens = append(o.Access.Tokens, access.NewToken("none", "none", noneToken))
	s := apitest.Start(t, o)
	ops, _, none := newCallers(t, s)
	job := ops.order(`{"kind":"snapshot","vm":"gitlab","spec":{"name":"before"}}`)
	ops.await(job.ID)
	stranger := *none
	none.token, stranger.token = noneToken, ""
	routes := v1.Routes(v1.New(v1.Config{Gate: s.Gate}))
	for _, route := range routes {
		method, path, _ := strings.Cut(route, " ")
		if method != "GET" {
			continue
		}
		for vm, there := range map[string]string{"gitlab": job.ID.String(), "no-such": "999"} {
			path := strings.NewReplacer("{vm}", vm, "{id}", there).Replace(path)
			if status, text, _ := none.do("GET", path, ""); status != http.StatusForbidden || !strings.Contains(string(text), "does not include") {
				t.Errorf("%s, for a role with nothing in it: %d %s", path, status, text)
			}
			if status, text, _ := stranger.do("GET", path, ""); status != http.StatusUnauthorized || !strings.Contains(string(text), "a token is needed") {
				t.Errorf("%s, for a stranger: %d %s", path, status, text)
			}
		}
	}
}
