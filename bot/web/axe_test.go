package web

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"pvebot/bot"
	"pvebot/provision"
)

// axe judges the page as it is now by the rules of axe-core: names that
// screen readers can say, contrast, order of headings, roles.
func (b *tab) axe(t *testing.T, state string) {
	t.Helper()
	const file = "testdata/axe/node_modules/axe-core/axe.min.js"
	script, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("no axe-core: npm install --prefix bot/web/testdata/axe brings it")
	}
	if err != nil {
		t.Fatal(err)
	}
	eval := func(js string) string {
		t.Helper()
		text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](js))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	eval(string(script) + `; window.axed = null; axe.run(document, {resultTypes: ["violations"]}).then(
		(r) => { window.axed = r.violations.map((v) => v.id + ": " + v.help + "\n" + v.nodes.map((n) => "    " + n.html.slice(0, 200) + "\n      " + n.failureSummary.split("\n").slice(1).join("; ")).join("\n")).join("\n"); },
		(e) => { window.axed = "axe failed: " + e; }); ""`)
	b.see(`window.axed !== null`)
	if found := eval(`window.axed`); found != "" {
		t.Errorf("%s:\n%s", state, found)
	}
}

// TestAccessible holds each state of the page to axe-core, in light and dark,
// wide and narrow.
func TestAccessible(t *testing.T) {
	s := &stage{t: t, mem: newMemory(), next: make(chan struct{})}
	w := start(t, Config{Store: s.mem, Inventory: threeNodes, Version: "v0.1.0"}, s)
	s.web = w.Web
	b := browse(t, w.url, 1440, 900)
	b.see(`document.querySelector("#panel-vms").textContent.includes("build-runner")`)
	b.do(chromedp.Sleep(500 * time.Millisecond)) // what fades in has no contrast yet
	b.axe(t, "empty")
	for _, act := range acts {
		ref, err := w.Post(t.Context(), provision.Conversation{Platform: Platform}, act.card())
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Say(t.Context(), ref, act.lines); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Post(t.Context(), provision.Conversation{Platform: Platform}, bot.Card{
		Tone: bot.Asking, Title: "Approve?", Text: "web-1 goes to pve3", Buttons: []bot.Button{{ID: "yes:1", Label: "Approve"}},
		Table: &bot.Table{Head: []string{"Node", "Status"}, Rows: [][]string{{"pve1", "online"}}},
	}); err != nil {
		t.Fatal(err)
	}
	b.see(`document.querySelectorAll(".message.bot").length === ` + strconv.Itoa(len(acts)+1))
	b.click(".message.bot .open-thread")
	b.see(`document.querySelector("#thread .line")`)
	for _, scheme := range []string{"light", "dark"} {
		b.scheme(scheme)
		b.do(chromedp.Sleep(600 * time.Millisecond))
		b.axe(t, "a full page, "+scheme)
	}
	b.keys("#line", "/vm install\r")
	b.see(`document.querySelector("#form").open`)
	b.axe(t, "a form")
	b.do(chromedp.KeyEvent("\x1b"))
	b.do(chromedp.EmulateViewport(390, 844))
	b.do(chromedp.KeyEvent("\x1b"))
	b.axe(t, "a phone")
}

// TestFilter sifts the panels, by keyboard alone.
func TestFilter(t *testing.T) {
	w := start(t, Config{}, script{})
	b := browse(t, w.url, 1440, 900)
	b.see(`document.querySelector("#panel-vms").textContent.includes("build-runner")`)
	b.do(chromedp.KeyEvent("k", chromedp.KeyModifiers(2))) // Ctrl
	b.see(`document.activeElement.id === "find"`)
	b.keys("#find", "pve2 stopped")
	b.see(`[...document.querySelectorAll("#panel-vms li:not([hidden])")].map((li) => li.textContent).join().includes("db-staging")`)
	b.see(`document.querySelectorAll("#panel-vms li:not([hidden])").length === 1 && document.querySelectorAll("#panel-nodes li:not([hidden])").length === 0`)
	b.keys("#find", " nowhere")
	b.see(`!document.querySelector("#found-none").hidden`)
	b.shoot("filter-nothing")
	b.do(chromedp.KeyEvent("\x1b"))
	b.see(`document.querySelectorAll("#panel-vms li:not([hidden])").length === 3 && document.querySelector("#found-none").hidden`)
	b.do(chromedp.KeyEvent("\x1b"))
	b.see(`document.activeElement.id === "line"`)
}
