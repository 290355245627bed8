package web

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"pvebot/bot"
	"pvebot/provision"
)

type css = chromedp.CSS

// tab is a page in a browser.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu      sync.Mutex
	expects string // a complaint with this in it is part of the test
}

// browse opens url in headless Chromium; whatever the browser complains about
// (exceptions, failed requests, violations of the page's policy) fails the
// test.
func browse(t *testing.T, url string, width, height int64) *tab {
	t.Helper()
	if testing.Short() {
		t.Skip("no browser in short tests")
	}
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skip("no chromium found: the page was not tried in a browser")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-quic", true),
		chromedp.Flag("hide-scrollbars", true), chromedp.WindowSize(int(width), int(height)))
	if os.Getuid() == 0 {
		opts = append(opts, chromedp.NoSandbox)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	b := &tab{t: t, ctx: ctx, expects: "\x00"}
	messages := chromedp.Console(ctx)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for m, err := range messages {
			if err != nil {
				return
			}
			b.complain(m)
		}
	}()
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil && t.Context().Err() == nil {
			t.Log(err)
		}
		cancel()
		<-read
	})
	b.do(chromedp.EmulateViewport(width, height, chromedp.EmulateScale(1.5)), chromedp.Navigate(url))
	b.see(`document.querySelector("#link").dataset.state === "live"`)
	return b
}

func (b *tab) complain(m chromedp.ConsoleMessage) {
	b.mu.Lock()
	expects := b.expects
	b.mu.Unlock()
	fatal := []chromedp.ConsoleType{chromedp.ConsoleError, chromedp.ConsoleWarning, chromedp.ConsoleException}
	if slices.Contains(fatal, m.Type) && !strings.Contains(m.Text, expects) {
		b.t.Errorf("the browser complains: %s: %s (%s:%d)", m.Type, m.Text, m.URL, m.Line)
	}
}

// expect makes complaints with text in them part of the test from now on.
func (b *tab) expect(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expects = text
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) click(sel string)      { b.t.Helper(); b.do(chromedp.Click(css(sel))) }
func (b *tab) keys(sel, text string) { b.t.Helper(); b.do(chromedp.SendKeys(css(sel), text)) }

// see waits until the browser finds js true.
func (b *tab) see(js string) {
	b.t.Helper()
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var ok bool
		if ok, err = chromedp.Run(b.ctx, chromedp.Evaluate[bool]("Boolean("+js+")")); err == nil && ok {
			return
		}
	}
	b.shoot("failed")
	text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string]("window.log+document.body.innerText"))
	b.t.Fatalf("the page never came to %s (%v); it shows:\n%s", js, err, text)
}

// scheme shows the page as people see it who prefer light, or dark.
func (b *tab) scheme(scheme string) {
	b.t.Helper()
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
		b.t.Fatal(err)
	}
}

// shoot saves pictures of the tab where WEB_SCREENSHOTS says, a light one and
// a dark one.
func (b *tab) shoot(name string) {
	b.t.Helper()
	dir := os.Getenv("WEB_SCREENSHOTS")
	if dir == "" {
		return
	}
	for _, scheme := range []string{"light", "dark"} {
		b.scheme(scheme)
		b.do(chromedp.Sleep(400 * time.Millisecond)) // for the paint: pictures are for eyes, no test looks at them
		png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			b.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+"-"+scheme+".png"), png, 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
}

// stage is a handler that plays an install, one step per signal.
type stage struct {
	t    *testing.T
	web  *Web
	mem  *memory
	next chan struct{}

	mu      sync.Mutex
	inbound []bot.Inbound
}

func (s *stage) got(kind bot.InboundKind) []bot.Inbound {
	s.mu.Lock()
	defer s.mu.Unlock()
	var got []bot.Inbound
	for _, in := range s.inbound {
		if in.Kind == kind {
			got = append(got, in)
		}
	}
	return got
}

func (s *stage) Triage(_ context.Context, in bot.Inbound) bot.Ack {
	s.mu.Lock()
	s.inbound = append(s.inbound, in)
	s.mu.Unlock()
	switch {
	case in.Kind == bot.Complete:
		var cs []bot.Choice
		for _, c := range []bot.Choice{
			{Value: "/vm install ubuntu", Label: "Ubuntu 24.04 LTS"},
			{Value: "/vm install debian", Label: "Debian 12"},
			{Value: "/vm list", Label: "all VMs"},
			{Value: "/vm images", Label: "what can be installed"},
		} {
			if strings.HasPrefix(c.Value, in.Text) && c.Value != in.Text {
				cs = append(cs, c)
			}
		}
		return bot.Ack{Choices: cs}
	case in.Kind == bot.Submit && in.Fields["name"] == "Bad Name":
		return bot.Ack{Errors: map[string]string{"name": "a name has letters, digits and dashes"}}
	case in.Text == "/vm install":
		return bot.Ack{Form: &bot.Form{ID: "install", Title: "Install a VM", Fields: []bot.FormField{
			{Name: "os", Label: "Operating system", Value: "ubuntu", Options: []bot.Choice{{Label: "Debian 12", Value: "debian"}, {Label: "Ubuntu 24.04 LTS", Value: "ubuntu"}}},
			{Name: "name", Label: "Name", Hint: "Letters, digits and dashes; by default the system and the VMID"},
			{Name: "cpu", Label: "CPUs", Value: "2", Required: true},
			{Name: "ram", Label: "Memory", Value: "2G", Required: true},
		}}}
	case in.Text == "/vm nope":
		return bot.Ack{Whisper: &bot.Card{Tone: bot.Bad, Title: "unknown command: nope", Text: "Did you mean /vm nodes?"}}
	}
	return bot.Ack{}
}

func (s *stage) Handle(ctx context.Context, in bot.Inbound) {
	switch {
	case in.Kind == bot.Command && strings.HasPrefix(in.Text, "/vm install ubuntu"):
		s.install(ctx, in)
	case in.Kind == bot.Command && in.Text == "/vm nodes":
		_ = s.web.Whisper(ctx, in, bot.Card{Title: "Nodes", Table: &bot.Table{
			Head: []string{"Node", "Status", "CPU", "Memory"},
			Rows: [][]string{{"pve1", "online", "23%", "21 of 64 GiB"}, {"pve2", "online", "78%", "52 of 64 GiB"}, {"pve3", "offline", "-", "-"}},
		}})
	}
}

func (s *stage) install(ctx context.Context, in bot.Inbound) {
	ref, err := s.web.Post(ctx, in.Where, acts[0].card())
	if err != nil {
		s.t.Error(err)
		return
	}
	s.mem.accept(s.t, 1, "creating VM", "starting VM")
	for i, act := range acts {
		if err := s.web.Edit(ctx, ref, act.card()); err != nil {
			s.t.Error(err)
		}
		if err := s.web.Say(ctx, ref, act.lines); err != nil {
			s.t.Error(err)
		}
		if i == len(acts)-1 {
			return
		}
		select {
		case <-s.next:
		case <-ctx.Done():
			return
		}
	}
}

func TestBrowser(t *testing.T) {
	s := &stage{t: t, mem: newMemory(), next: make(chan struct{})}
	cfg := Config{Store: s.mem, Inventory: threeNodes, Version: "v0.1.0", Listener: listener(t)}
	addr := cfg.Listener.Addr().String()
	w := start(t, cfg, s)
	s.web = w.Web
	b := browse(t, w.url, 1440, 900)
	b.see(`document.querySelector("#panel-vms").textContent.includes("build-runner")`)
	b.shoot("empty")

	// A line, with a completion.
	b.keys("#line", "/vm ins")
	b.see(`document.querySelectorAll("#choices li").length === 2`)
	b.shoot("complete")
	b.keys("#line", "\t")
	b.see(`document.querySelector("#line").value === "/vm install ubuntu "`)
	b.keys("#line", "--name web-1\r")

	// The card changes in place; its thread grows.
	b.see(`document.querySelector(".message.bot h3")?.textContent.includes("web-1")`)
	s.next <- struct{}{}
	b.see(`document.querySelector(".step.s-running progress")?.value === 40`)
	b.see(`(window.before = document.querySelector(".message.bot").id)`)
	b.click(".open-thread")
	b.see(`document.querySelectorAll("#thread .line").length === 5`)
	b.see(`/^\d+s$/.test(document.querySelector(".card-head .took").textContent)`)
	b.shoot("running")
	s.next <- struct{}{}
	b.see(`document.querySelectorAll("#thread .line").length === 7`)
	b.see(`window.before === document.querySelector(".message.bot").id`)

	// A reload in the middle loses nothing, not even the open thread.
	b.do(chromedp.Reload())
	b.see(`document.querySelectorAll("#thread .line").length === 7`)
	b.see(`document.querySelectorAll(".message").length === 2`)
	b.see(`document.querySelector("#link").dataset.state === "live"`)
	s.next <- struct{}{}
	b.see(`document.querySelector(".message.bot").dataset.tone === "good"`)
	b.see(`document.querySelectorAll("#thread .line").length === 9`)
	b.see(`document.querySelector("[data-copy]").dataset.copy === "ssh ubuntu@192.168.0.103"`)
	b.see(`document.querySelector("#panel-jobs .row").textContent.includes("/vm install ubuntu")`)
	b.shoot("done")

	// A button asks first, and reaches the handler.
	b.click("[data-button='extend:1']")
	b.see(`document.querySelector("#ask").open`)
	b.shoot("confirm")
	b.click("#ask-yes")
	eventually(t, "the click", func() bool { return len(s.got(bot.Click)) == 1 })
	if in := s.got(bot.Click)[0]; in.Button != "extend:1" || in.By.Key() != "web/local" {
		t.Errorf("the click came as %+v", in)
	}
	b.do(chromedp.KeyEvent("\x1b"))
	b.see(`document.querySelector("#thread").hidden`)

	// A bare install opens a form; a bad field says why.
	b.keys("#line", "/vm install\r")
	b.see(`document.querySelector("#form").open`)
	b.keys("#form input[name=name]", "Bad Name\r")
	b.see(`document.querySelector("[data-field=name] [data-error]").textContent.includes("dashes")`)
	b.shoot("form")
	b.do(chromedp.SetValue(css("#form input[name=name]"), "web-2"))
	b.click("#form [type=submit]")
	b.see(`!document.querySelector("#form").open && document.activeElement.id === "line"`)
	if in := s.got(bot.Submit); len(in) != 2 || in[1].Fields["name"] != "web-2" || in[1].Fields["os"] != "ubuntu" || in[1].Form != "install" {
		t.Errorf("the form came as %+v", in)
	}

	// Mistakes are whispered; arrow-up brings lines back.
	b.keys("#line", "/vm nope\r")
	b.see(`document.querySelector(".message:last-child .private")`)
	b.keys("#line", "/vm nodes\r")
	b.see(`document.querySelectorAll(".message:last-child tbody tr").length === 3`)
	b.do(chromedp.KeyEvent(kb.ArrowUp), chromedp.KeyEvent(kb.ArrowUp))
	b.see(`document.querySelector("#line").value === "/vm nope"`)
	b.shoot("answers")

	// The bot goes away and comes back at the same place; the page says so,
	// keeps what it has and goes on.
	b.expect("ERR_")
	w.stop()
	b.see(`!document.querySelector("#lost").hidden`)
	b.shoot("lost")
	again := restart(t, cfg, addr, s)
	b.see(`document.querySelector("#link").dataset.state === "live"`)
	if _, err := again.Post(t.Context(), provision.Conversation{Platform: Platform}, bot.Card{Title: "after the restart"}); err != nil {
		t.Fatal(err)
	}
	b.see(`document.querySelector(".message:last-child h3").textContent === "after the restart"`)
	b.see(`document.querySelector(".message.bot").dataset.tone === "good"`)
	b.see(`document.querySelector("#lost").hidden`)
}

// restart serves a fresh page at addr.
func restart(t *testing.T, cfg Config, addr string, h bot.Handler) *running {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listener = l
	return start(t, cfg, h)
}

// TestBrowserPhone looks at the page at a phone's width.
func TestBrowserPhone(t *testing.T) {
	w := start(t, Config{}, script{})
	for i, act := range acts {
		if i != 1 && i != len(acts)-1 {
			continue
		}
		w.room.hear(fmt.Sprint(i), provision.Actor{Platform: Platform, ID: "local"}, "/vm install ubuntu --name web-1")
		if _, err := w.Post(t.Context(), provision.Conversation{Platform: Platform}, act.card()); err != nil {
			t.Fatal(err)
		}
	}
	b := browse(t, w.url, 390, 844)
	b.see(`document.documentElement.scrollWidth <= innerWidth`)
	b.shoot("phone")
	b.click("#toggle-side")
	b.see(`document.querySelector("#panel-nodes").textContent.includes("pve3")`)
	b.see(`document.querySelector("#side").scrollWidth <= innerWidth`)
	b.shoot("phone-cluster")
}

// fleet is an engine that knows whose VMs there are, and nothing else.
type fleet struct{ bot.Engine }

func (fleet) VMs(context.Context) ([]provision.VM, error) {
	return []provision.VM{{VMRef: provision.VMRef{VMID: 101}, Owner: &provision.Actor{Platform: Platform, ID: "a", Name: "alice"}}}, nil
}

// TestBrowserClusters: where there are several clusters each has panels of its
// own, one without a bot says so there, and one can be chosen, by keyboard
// alone and on a phone too.
func TestBrowserClusters(t *testing.T) {
	mem := newMemory()
	mem.accept(t, 1, "creating VM", "starting VM")
	none := &provision.Error{Kind: provision.Unavailable, Say: "no bot works for cluster berlin"}
	w := start(t, Config{Store: mem, Sites: bot.Sites{
		{Name: "taipei", Engine: fleet{}, Inventory: threeNodes}, {Name: "berlin", Engine: fleet{}, Inventory: still{err: none}},
	}}, script{})
	b := browse(t, w.url, 1440, 900)
	const shown = `[...document.querySelectorAll("#side .panel:not([hidden])")].map((p) => p.id).join()`
	b.see(`document.querySelector("#panel-vms-taipei").textContent.includes("alice")`)
	b.see(`document.querySelector("#panel-nodes-berlin .panel-error").textContent === "no bot works for cluster berlin"`)
	b.see(`document.querySelector("#panel-jobs .row").textContent.includes("web/local · taipei")`)
	b.see(shown + ` === "panel-jobs,panel-vms-taipei,panel-nodes-taipei,panel-vms-berlin,panel-nodes-berlin"`)
	b.shoot("clusters")
	b.do(chromedp.KeyEvent("k", chromedp.KeyModifiers(2)), chromedp.KeyEvent("\t", chromedp.KeyModifiers(8))) // Ctrl; Shift
	b.see(`document.activeElement.id === "cluster"`)
	b.do(chromedp.KeyEvent("b"))
	b.see(shown + ` === "panel-jobs,panel-vms-berlin,panel-nodes-berlin"`)
	b.see(`document.querySelectorAll("#panel-jobs li:not([hidden])").length === 0`)
	b.shoot("cluster-chosen")
	b.do(chromedp.Reload())
	b.see(shown + ` === "panel-jobs,panel-vms-berlin,panel-nodes-berlin"`)
	mem.accept(t, 2, "creating VM") // panels that change keep to the choice
	b.see(`document.querySelectorAll("#panel-jobs li").length === 2 && document.querySelectorAll("#panel-jobs li:not([hidden])").length === 0`)
	b.do(chromedp.EmulateViewport(390, 844))
	b.click("#toggle-side")
	b.see(`(e => (e.value = "taipei", e.dispatchEvent(new Event("change"))))(document.querySelector("#cluster"))`)
	b.see(shown + ` === "panel-jobs,panel-vms-taipei,panel-nodes-taipei"`)
	b.see(`document.querySelector("#side").scrollWidth <= innerWidth`)
	b.shoot("phone-clusters")
	b.do(chromedp.EmulateViewport(1440, 900))
	for _, scheme := range []string{"light", "dark"} {
		b.scheme(scheme)
		b.do(chromedp.Sleep(600 * time.Millisecond)) // what fades in has no contrast yet
		b.axe(t, "several clusters, "+scheme)
	}
}

// TestBrowserHostile shows hostile text in every place; nothing of it runs.
func TestBrowserHostile(t *testing.T) {
	w := start(t, Config{}, script{})
	w.room.hear("k", provision.Actor{Platform: Platform, ID: "x", Name: hostile}, hostile)
	ref, err := w.Post(t.Context(), provision.Conversation{Platform: Platform}, hostileCard(hostile))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Say(t.Context(), ref, []string{hostile}); err != nil {
		t.Fatal(err)
	}
	b := browse(t, w.url, 1200, 900)
	b.click(".open-thread")
	b.see(`document.querySelector("#thread .line")`)
	changed := hostileCard(hostile)
	changed.Title += "again"
	if err := w.Edit(t.Context(), ref, changed); err != nil {
		t.Fatal(err)
	}
	b.see(`document.querySelector(".message.bot h3").textContent.endsWith("again")`)
	b.see(`window.pwned === undefined && !document.querySelector(".message script, .message img, #thread script, #thread img")`)
	b.shoot("hostile")
}
