package main

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestDemoPage is the demo as a newcomer meets it: the line is typed in a
// browser, the card changes and finishes, the thread tells, and a reload in
// the middle loses nothing. With README_PICTURE set it takes the picture too.
func TestDemoPage(t *testing.T) {
	t.Parallel()
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium found: the demo was not tried in a browser")
	}
	picture := os.Getenv("README_PICTURE")
	addr := freeAddr(t)
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() {
		p := program{out: io.Discard, err: os.Stderr}
		over <- p.demo(ctx, demoOptions{listen: addr, fast: picture == ""}, "")
	}()
	t.Cleanup(func() {
		stop()
		if err := <-over; err != nil {
			t.Errorf("the demo ended with %v", err)
		}
	})

	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(browser), chromedp.UserDataDir(t.TempDir()), chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-quic", true),
		chromedp.Flag("hide-scrollbars", true), chromedp.WindowSize(1440, 900))
	if os.Getuid() == 0 {
		opts = append(opts, chromedp.NoSandbox)
	}
	tab, closeBrowser := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), opts...)
	t.Cleanup(closeBrowser)
	tab, closeTab := chromedp.NewContext(tab)
	t.Cleanup(closeTab)
	do := func(actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(tab, actions...); err != nil {
			t.Fatal(err)
		}
	}
	see := func(js string) {
		t.Helper()
		for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if ok, err := chromedp.Run(tab, chromedp.Evaluate[bool]("Boolean("+js+")")); err == nil && ok {
				return
			}
		}
		text, _ := chromedp.Run(tab, chromedp.Evaluate[string]("document.body.innerText"))
		t.Fatalf("the page never came to %s; it shows:\n%s", js, text)
	}
	const live = `document.querySelector("#link")?.dataset.state === "live"`

	await(t, addr)
	do(chromedp.EmulateViewport(1440, 900, chromedp.EmulateScale(1.5)), chromedp.Navigate("http://"+addr+"/"))
	see(live)
	do(chromedp.SendKeys(chromedp.CSS("#line"), "/vm install ubuntu --name web-1"+kb.Enter))
	see(`document.querySelector("article[data-job='1'] .step")`)
	// In one go: the card is drawn anew between a look and a click.
	see(`(e => e && (e.click(), true))(document.querySelector("article[data-job='1'] .open-thread"))`)
	see(`document.querySelectorAll("#thread .line").length > 2`)
	if picture != "" {
		see(`document.querySelector("article[data-job='1'] .step.s-running progress")`)
		see(`document.querySelector("#panel-vms")?.innerText.includes("%")`)
		do(chromedp.Sleep(700 * time.Millisecond))
		png, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(picture, png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	do(chromedp.Reload()) // which opens the thread again
	see(live)
	see(`document.querySelector("article[data-job='1']").innerText.includes("web-1")`)
	see(`document.querySelector("article[data-job='1'].tone-good")?.innerText.includes("ssh ubuntu@192.168.0.")`)
	see(`document.querySelector("#messages").innerText.includes("/vm install ubuntu --name web-1")`)
	see(`document.querySelector("#panel-vms").innerText.includes("web-1")`)
	see(`document.querySelector("#thread").innerText.includes("successfully created disk")`)
}

// freeAddr is an address on loopback that nobody listens at.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// await waits until somebody listens at addr.
func await(t *testing.T, addr string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return
		}
	}
	t.Fatal("the demo did not come up")
}
