package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pvebot/bot/discord/discordfake"
	"pvebot/bot/slack/slackfake"
	"pvebot/cluster/pvesim"
)

// haystack is what there is to read, by place.
type haystack map[string][]byte

// search fails the test for each of secrets that is somewhere.
func (f haystack) search(t *testing.T, secrets map[string]string) {
	t.Helper()
	for place, text := range f {
		if len(text) == 0 {
			t.Errorf("%s: there is nothing to search", place)
		}
		for name, secret := range secrets {
			if i := bytes.Index(text, []byte(secret)); i >= 0 {
				t.Errorf("%s has %s: ...%q...", place, name, text[max(0, i-120):min(len(text), i+len(secret)+40)])
			}
		}
	}
}

// files puts together all files under dir, but for those called keep.
func files(t *testing.T, dir string, keep ...string) []byte {
	t.Helper()
	var all []byte
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || slices.Contains(keep, d.Name()) {
			return nil // it may be gone by now
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return nil
		}
		all = append(append(all, name+"\n"...), text...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestSecrets plants secrets in every input, and then looks for them wherever
// somebody could come across them.
func TestSecrets(t *testing.T) {
	t.Parallel()
	sim, err := pvesim.New(pvesim.Options{Statd: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	}()
	secrets := map[string]string{
		"SLACK_BOT_TOKEN": slackfake.BotToken, "SLACK_APP_TOKEN": slackfake.AppToken, "DISCORD_TOKEN": discordfake.Token,
		"API_TOKENS": "s3cret-of-api-tokens-0001", "LOGIN_SECRET": "s3cret-of-the-login-of-the-page-0002", "VM_ROOT_PASSWORD": "s3cret-of-root-0003",
		"a password in a line": "s3cret-in-a-line-0004", "a password in a body": "s3cret-in-a-body-0005", "a private key": "S3cretOfAPrivateKey0006",
		"a wrong token": "s3cret-of-somebody-0007", "a private key in a form": "S3cretInAForm0008", "a password in a bad body": "s3cret-in-a-bad-body-0009",
	}
	const pem = "-----BEGIN OPENSSH PRIVATE KEY----- %s -----END OPENSSH PRIVATE KEY-----"
	key, err := os.ReadFile(sim.Access().KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	secrets["the bot's own key"] = strings.Split(string(key), "\n")[2]

	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	data := t.TempDir()
	env := append(sim.Env(), "HOME="+t.TempDir(), "STORE_URL=sqlite:"+data, "PORT="+port, "LOG_LEVEL=debug", "LOG_FORMAT=json")
	var doors []string
	for _, v := range simEnv(t, "--slack", "--discord") { // its chats, not its cluster
		name, value, _ := strings.Cut(v, "=")
		if strings.HasPrefix(name, "SLACK_") || strings.HasPrefix(name, "DISCORD_") || name == "ADMINS" {
			env = append(env, v)
		}
		if strings.HasPrefix(name, "SIM_") {
			doors = append(doors, value)
		}
	}
	env = append(env, "API_TOKENS=ci:admin:"+secrets["API_TOKENS"], "LOGIN_SECRET="+secrets["LOGIN_SECRET"], "VM_ROOT_PASSWORD="+secrets["VM_ROOT_PASSWORD"])
	for i, v := range env {
		if strings.HasPrefix(v, "ADMINS=") {
			env[i] += ",web:alice"
		}
	}

	c, err := readConfig(env, os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	seen := haystack{"the settings, printed": fmt.Appendf(nil, "%v %+v %#v", c, c, c)}
	var out, log notes
	start(t, program{env: env, dotenv: os.DevNull, out: &out, err: &log}, "serve")
	await(t, addr)

	var answers bytes.Buffer
	ask := func(client *http.Client, method, path, token, body string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		path, _, _ = strings.Cut(path, "?")
		fmt.Fprintf(&answers, "%s %s: %s %v\n%s\n", method, path, resp.Status, resp.Header, text)
	}

	// Programs.
	token := secrets["API_TOKENS"]
	install := `{"os":"ubuntu","version":"24.04","name":"web","passwd":"` + secrets["a password in a body"] + `"}`
	sim.FailOnce("qm create", 255, "no space left on device")
	for _, body := range []string{
		install, install, // the first one fails
		`{"os":"plan9","version":"4","passwd":"` + secrets["a password in a bad body"] + `"}`,
		`{"os":"ubuntu","version":"24.04","name":"a b","passwd":"` + secrets["a password in a bad body"] + `"}`,
		`{"os":"ubuntu","version":"24.04","passwd":"` + secrets["a password in a bad body"] + `\u0007"}`,
		`{"os":"ubuntu","passwd":{"is":"` + secrets["a password in a bad body"] + `"}}`,
		`{"passwd":"` + secrets["a password in a bad body"] + `"`,
		`{"os":"ubuntu","version":"24.04","pubkey":"` + fmt.Sprintf(pem, secrets["a private key"]) + `"}`,
	} {
		ask(http.DefaultClient, "POST", "/api/vm/install", token, body)
	}
	for _, body := range []string{
		`{"line":"/vm install ubuntu --password ` + secrets["a password in a line"] + `"}`,
		`{"line":"/vm install ubuntu --key '` + fmt.Sprintf(pem, secrets["a private key"]) + `'"}`,
		`{"kind":"install","spec":{"os":"ubuntu","key":"` + fmt.Sprintf(pem, secrets["a private key"]) + `"}}`,
		`{"kind":"install","spec":{"os":"ubuntu","password":"` + secrets["a password in a bad body"] + `"}}`,
		`{"kind":"install","spec":{"os":"ubuntu","password_hash":"` + secrets["a password in a bad body"] + `"}}`,
	} {
		ask(http.DefaultClient, "POST", "/api/v1/jobs", token, body)
		ask(http.DefaultClient, "POST", "/api/v1/plans", token, body)
	}
	ask(http.DefaultClient, "GET", "/api/v1/jobs", secrets["a wrong token"], "")
	ask(http.DefaultClient, "GET", "/api/vm/list", secrets["a wrong token"], "")

	// People.
	lines := []string{
		"/vm install ubuntu --password " + secrets["a password in a line"], "/vm install ubuntu passwd=" + secrets["a password in a line"],
		"/vm instal ubuntu --cipassword=" + secrets["a password in a line"], "/vm install ubuntu --key '" + fmt.Sprintf(pem, secrets["a private key"]) + "'",
		"/vm show '" + fmt.Sprintf(pem, secrets["a private key"]) + "'",
	}
	for _, door := range doors {
		g := guest{t, door}
		until(t, "the bot is there", func() bool { return g.do("/type", "line", "/vm help") == "" })
		for _, line := range lines {
			g.do("/type", "line", line)
		}
		g.do("/type", "line", "/vm install")
		g.do("/send", "os", "ubuntu", "key", fmt.Sprintf(pem, secrets["a private key in a form"]))
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	var link strings.Builder
	p := program{env: env, dotenv: os.DevNull, out: &link, err: io.Discard}
	if err := p.run(t.Context(), []string{"login", "alice"}); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(strings.TrimSpace(link.String()))
	if err != nil {
		t.Fatal(err)
	}
	secrets["a link that lets somebody in"] = u.Query().Get("ticket")
	resp, err := browser.PostForm("http://"+addr+"/login", u.Query())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	page := answers.Len()
	for i, line := range lines {
		body, err := json.Marshal(map[string]any{"id": fmt.Sprintf("interaction-%d", i), "text": line})
		if err != nil {
			t.Fatal(err)
		}
		ask(browser, "POST", "/chat/command", "", string(body))
		ask(browser, "GET", "/chat/complete?text="+url.QueryEscape(line), "", "")
	}
	ask(browser, "POST", "/chat/submit", "", `{"id":"interaction-f","form":"install","fields":{"os":"ubuntu","key":"`+fmt.Sprintf(pem, secrets["a private key in a form"])+`"}}`)
	ask(browser, "POST", "/chat/click", "", `{"id":"interaction-c","message":"0001","button":"`+secrets["a password in a line"]+`"}`)
	ask(browser, "GET", "/", "", "")
	if !strings.Contains(answers.String()[page:], "alice") {
		t.Errorf("nobody was let in:\n%s", answers.String()[page:])
	}

	// What there is to read.
	for _, path := range []string{"/api/v1/jobs", "/api/v1/jobs/1", "/api/v1/jobs/1/events", "/api/v1/jobs/2", "/api/v1/jobs/2/events", "/api/v1/vms", "/api/v1/audit", "/api/vm/list", "/readyz", "/metrics", "/api/v1/nodes"} {
		ask(http.DefaultClient, "GET", path, token, "")
	}
	for _, path := range []string{"/chat/jobs/1", "/chat/jobs/2", "/"} {
		ask(browser, "GET", path, "", "")
	}
	if !strings.Contains(answers.String(), `"state":"succeeded"`) || !strings.Contains(answers.String(), `"state":"failed"`) {
		t.Errorf("one install should have failed, and one succeeded:\n%s", answers.String())
	}
	for _, door := range doors {
		seen["what "+door+" shows"] = []byte(guest{t, door}.look())
	}
	seen["answers to requests"] = answers.Bytes()
	seen["the log"] = []byte(log.String())
	seen["the output"] = []byte(out.String())
	var argv strings.Builder
	for _, r := range sim.Ran() {
		fmt.Fprintln(&argv, r)
	}
	seen["commands on nodes"] = []byte(argv.String())
	seen["the store"] = files(t, data)
	for node := range sim.Access().Addrs {
		for _, dir := range []string{"run", "etc"} {
			seen["the nodes"] = append(seen["the nodes"], files(t, filepath.Join(sim.NodeDir(node), dir))...)
		}
	}
	seen.search(t, secrets)

	// A hash of a password is the store's and the cluster's business.
	hash := map[string]string{"a password's hash": "$6$rounds="}
	delete(seen, "the store")
	delete(seen, "commands on nodes")
	delete(seen, "the nodes")
	seen.search(t, hash)
}

// TestStorePassword: why a store can't be opened is told without its password.
func TestStorePassword(t *testing.T) {
	const secret = "s3cret-of-the-store"
	sim, err := pvesim.New(pvesim.Options{Statd: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	for _, url := range []string{
		"postgres://bot:" + secret + "@127.0.0.1:1/pvebot?connect_timeout=1", "postgres://bot:" + secret + "@127.0.0.1:port/pvebot", "postgres://bot:" + secret + "%@x",
	} {
		var out, log notes
		p := program{env: append(sim.Env(), "STORE_URL="+url, "ADMINS=web:local", "LOG_LEVEL=debug"), dotenv: os.DevNull, out: &out, err: &log}
		err := p.run(t.Context(), []string{"serve"})
		if err == nil || strings.Contains(err.Error()+out.String()+log.String(), secret) {
			t.Errorf("%s: %v\n%s%s", url, err, out.String(), log.String())
		}
	}
}
