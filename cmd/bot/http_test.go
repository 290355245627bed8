package main

import (
	"bufio"
	"cmp"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// oldClient is a program of the older system's users, as they would have
// written it: it knows the paths, the words and the stages, and nothing else.
type oldClient struct {
	t     *testing.T
	base  string
	token string
	log   io.Writer // the transcript
}

// call sends a request, and returns the answer's body as it comes in.
func (c *oldClient) call(method, path, body string) io.ReadCloser {
	c.t.Helper()
	fmt.Fprintf(c.log, "\n> %s %s %s\n", method, path, body)
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		c.t.Fatalf("%s %s %s: %d %s", method, path, body, resp.StatusCode, text)
	}
	return resp.Body
}

// text wants an answer of one word.
func (c *oldClient) text(method, path, body, want string) {
	c.t.Helper()
	answer := c.call(method, path, body)
	defer answer.Close()
	got, err := io.ReadAll(answer)
	fmt.Fprintf(c.log, "< %s\n", got)
	if err != nil || string(got) != want {
		c.t.Fatalf("%s %s %s: %q, %v; want %q", method, path, body, got, err, want)
	}
}

// stream reads a stream to "event: close". Its last event has to be a success
// with the VM and its address, and it has to go through the stages.
func (c *oldClient) stream(path, body string, stages ...string) {
	c.t.Helper()
	answer := c.call(http.MethodPost, path, body)
	defer answer.Close()
	var last struct {
		Step, Status, Message, IP string
		VMID                      int `json:"vm_id"`
	}
	var seen []string
	lines := bufio.NewScanner(answer)
	for lines.Scan() && lines.Text() != "event: close" {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		fmt.Fprintf(c.log, "< %s\n", data)
		last.IP, last.VMID = "", 0
		if err := json.Unmarshal([]byte(data), &last); err != nil {
			c.t.Fatalf("%s: %s: %v", path, data, err)
		}
		if last.Status == "error" {
			c.t.Fatalf("%s: %s", path, data)
		}
		if len(seen) == 0 || seen[len(seen)-1] != last.Step {
			seen = append(seen, last.Step)
		}
	}
	if lines.Text() != "event: close" || !lines.Scan() || lines.Text() != "data: {}" {
		c.t.Fatalf("%s: the stream ends with %q, %v", path, lines.Text(), lines.Err())
	}
	fmt.Fprintln(c.log, "< event: close")
	if last.Status != "success" || last.VMID != 190 || last.IP != "192.168.0.190" {
		c.t.Errorf("%s: the last event is %+v", path, last)
	}
	for _, stage := range stages { // in this order
		for len(seen) > 0 && seen[0] != stage {
			seen = seen[1:]
		}
		if len(seen) == 0 {
			c.t.Errorf("%s: there is no stage %q, or it comes too early", path, stage)
		}
	}
}

// lists reports whether the list of running VMs has one that looks like this.
func (c *oldClient) lists(vmid int, name, os, node string, cpu int, memory, disk float64) bool {
	c.t.Helper()
	answer := c.call("GET", "/api/vm/list?disable=0", "")
	defer answer.Close()
	var list struct {
		Count int
		List  []struct {
			VMID, CPU      int
			Name, OS, Node string
			Running        bool
			Disk, Memory   float64
		}
		Cluster []struct{ Node string }
	}
	text, err := io.ReadAll(answer)
	fmt.Fprintf(c.log, "< %s\n", text)
	if err != nil || json.Unmarshal(text, &list) != nil || list.Count != len(list.List) || len(list.Cluster) != 3 {
		c.t.Fatalf("the list is %s, %v", text, err)
	}
	for _, vm := range list.List {
		if vm.VMID == vmid {
			return vm.Name == name && vm.OS == os && vm.Running && vm.Node == node && vm.CPU == cpu && vm.Memory == memory && vm.Disk == disk
		}
	}
	return false
}

// serveHTTP runs bot serve on a simulated cluster, with further settings, and
// returns where it is.
func serveHTTP(t *testing.T, settings ...string) (base string) {
	t.Helper()
	addr := freeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	env := append(simEnv(t), "PORT="+port)
	start(t, program{env: append(env, settings...), dotenv: os.DevNull, out: io.Discard, err: io.Discard}, "serve")
	await(t, addr)
	return "http://" + addr
}

// TestOldAPI is the whole life of a VM in the words of the older system, with
// the real program behind them. TRANSCRIPT is a file to write it down in.
func TestOldAPI(t *testing.T) {
	t.Parallel()
	log, err := os.Create(cmp.Or(os.Getenv("TRANSCRIPT"), filepath.Join(t.TempDir(), "transcript")))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	const token = "5d41402abc4b2a76b9719d911017c592"
	c := oldClient{t, serveHTTP(t, "API_TOKENS=portal:admin:"+token), token, log}

	c.text("GET", "/api/health", "", "ok")
	c.stream("/api/vm/install", `{"os":"ubuntu","version":"24.04","id":190,"name":"web","cpu":2,"ram":2048,"disk":"16G","passwd":"correct horse"}`,
		"preparation > checking VMID", "preparation > assigning IP", "preparation > validating CPU and RAM",
		"preparation > validating disk size", "preparation > setting default config values", "preparation > checking storage pool",
		"OS preparation > getting OS image", "OS preparation > validating OS image URL", "OS preparation > downloading OS image",
		"SSH preparation > checking SSH key", "VM creation > creating VM", "VM creation > importing disk image",
		"VM initialization > initializing configuration", "VM initialization > waiting for ready",
		"VM initialization > SSH initialization", "VM initialization > rebooting VM", "VM initialization > finalizing")
	c.text("GET", "/api/vm/190/status", "", "running")
	c.stream("/api/vm/190/reboot", "", "rebooting VM", "waiting for SSH", "finalizing")
	c.text("POST", "/api/vm/190/shutdown", "", "ok")
	c.text("GET", "/api/vm/190/status", "", "stopped")
	c.text("POST", "/api/vm/190/set/cpu", `{"cpu":4}`, "ok")
	c.text("POST", "/api/vm/190/set/memory", `{"memory":4096}`, "ok")
	c.text("POST", "/api/vm/190/set/disk", `{"disk":"10G"}`, "ok")
	c.stream("/api/vm/190/set/node", `{"node":"pve2"}`, "migrating", "finalizing")
	c.stream("/api/vm/190/start", "", "starting VM", "waiting for SSH", "finalizing")

	if !c.lists(190, "web-190", "ubuntu", "pve2", 4, 4, 26) {
		t.Error("the list has not what was installed and set")
	}

	c.text("POST", "/api/vm/190/stop", "", "ok")
	c.text("GET", "/api/vm/190/status", "", "stopped")
	c.text("POST", "/api/vm/190/destroy", "", "ok")
	answer := c.call("GET", "/sh/ubuntu_24.04.sh", "")
	script, err := io.ReadAll(answer)
	answer.Close()
	if err != nil || !strings.HasPrefix(string(script), "#!/bin/bash\n") {
		t.Errorf("the script is %.100s, %v", script, err)
	}
}

// What is set wrong is told before anything starts, and never with a token in
// it.
func TestWebSettings(t *testing.T) {
	good := []string{"MAIN_NODE=pve1", "NODE_pve1=192.0.2.11", "GATEWAY=192.0.2.1", "ASSIGN_STORAGE=local-lvm"}
	for _, tt := range []struct{ setting, want string }{
		{"ALLOW_IPS=10.0.0.0/40", `ALLOW_IPS: "10.0.0.0/40" is neither an address nor a network`},
		{"ALLOW_IPS=0.0.0.0 API_LEGACY_ROLE=admin", "API_LEGACY_ROLE"},
		{"TRUSTED_PROXIES=proxy", `TRUSTED_PROXIES: "proxy" is neither`},
		{"ALLOW_ORIGINS=*", `ALLOW_ORIGINS: "*" is no origin`},
		{"API_TOKENS=ci:ops:short-secret", "API_TOKENS: token 1: the token of ci is too short"},
		{"API_TOKENS=long-secret-without-a-name-or-role", "API_TOKENS: token 1: write NAME:ROLE:TOKEN"},
		{"LISTEN=0.0.0.0", "LOGIN_SECRET is not set, and LISTEN is 0.0.0.0"},
		{"LISTEN=0.0.0.0 LOGIN_SECRET=short-secret", "LOGIN_SECRET has 12 characters"},
		{"TLS_CERT=/nowhere", "TLS_CERT: /nowhere: there is no such file"},
		{"VM_ROOT_PASSWORD=" + strings.Repeat("long-secret", 20), "VM_ROOT_PASSWORD: a password has 1 to 128 bytes"},
	} {
		c, err := readConfig(append(good, strings.Fields(tt.setting)...), os.DevNull)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "-secret") {
			t.Errorf("%s: %v, want %s", tt.setting, err, tt.want)
		}
		if shown := fmt.Sprintf("%+v %#v", c, c); strings.Contains(shown, "-secret") {
			t.Errorf("%s: the settings show a secret: %s", tt.setting, shown)
		}
	}
	c, err := readConfig(append(good, "LISTEN=0.0.0.0", "LOGIN_SECRET="+strings.Repeat("s", 32),
		"API_TOKENS=ci:ops:0123456789abcdef0123", "ALLOW_IPS=10.0.0.0/8, ::1", "API_LEGACY_ROLE=ops",
		"ALLOW_ORIGINS=https://ops.example.com", "VM_ROOT_PASSWORD=correct horse"), os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.settings()
	if err != nil || !strings.HasPrefix(s.InitEnv["PVEBOT_ROOT_HASH"], "$6$") {
		t.Errorf("the init scripts get %v, %v", s.InitEnv, err)
	}
}

// certificate is that of a server of httptest, for example.com and 127.0.0.1, and
// its key.
func certificate(t *testing.T, lent *httptest.Server) (cert, key string) {
	t.Helper()
	private, err := x509.MarshalPKCS8PrivateKey(lent.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	text := func(kind string, bytes []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}))
	}
	return text("CERTIFICATE", lent.Certificate().Raw), text("PRIVATE KEY", private)
}

// With a certificate all is HTTPS, and bot health still finds its bot.
func TestTLS(t *testing.T) {
	lent := httptest.NewTLSServer(nil)
	defer lent.Close()
	cert, key := certificate(t, lent)
	settings := []string{"TLS_CERT=" + scratch(t, cert), "TLS_KEY=" + scratch(t, key), "LOGIN_SECRET=" + strings.Repeat("s", 32)}
	addr := strings.TrimPrefix(serveHTTP(t, settings...), "http://")
	resp, err := lent.Client().Get("https://" + addr + "/api/health")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); string(text) != "ok" {
		t.Errorf("it answers %s %q", resp.Status, text)
	}
	_, port, _ := net.SplitHostPort(addr)
	var out strings.Builder
	p := program{env: append(settings, "PORT="+port), dotenv: os.DevNull, out: &out, err: &out}
	if err := p.run(t.Context(), []string{"health"}); err != nil || !strings.Contains(out.String(), "ok   nodes: ") {
		t.Errorf("bot health: %v\n%s", err, out.String())
	}
	out.Reset()
	if err := p.run(t.Context(), []string{"login", "alice"}); err != nil || !strings.HasPrefix(out.String(), "https://127.0.0.1:"+port+"/login?") {
		t.Errorf("bot login: %v\n%s", err, out.String())
	}
}

// Every command of docs/http.md runs, one after the other, on a simulated
// cluster, and every setting and path that it names is there.
func TestHTTPDocs(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindAllStringSubmatch(string(raw), -1) {
		script.WriteString(block[1])
	}
	if strings.Count(script.String(), "\n") < 30 {
		t.Fatalf("the commands are only\n%s", script.String())
	}
	known := settingNames()
	for _, name := range regexp.MustCompile("`([A-Z]+(?:_[A-Z]+)+)\\b").FindAllStringSubmatch(string(raw), -1) {
		if !slices.Contains(known, name[1]) {
			t.Errorf("there is no setting %s", name[1])
		}
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl found: the commands of docs/http.md were not run")
	}
	const token = "5d41402abc4b2a76b9719d911017c592"
	store := "STORE_URL=sqlite:" + t.TempDir()
	base := serveHTTP(t, store, "API_TOKENS=portal:admin:"+token)
	sh := exec.CommandContext(t.Context(), "sh", "-eux", "-c", strings.ReplaceAll(script.String(), "http://127.0.0.1:8080", base))
	sh.Dir = t.TempDir() // audit.jsonl is written there
	sh.Env = append(os.Environ(), "TOKEN="+token, store, "GORACE=atexit_sleep_ms=0")
	out, err := sh.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), `"status":"error"`) || strings.Contains(string(out), `"state":"failed"`) {
		t.Errorf("something failed:\n%s", out)
	}
}
