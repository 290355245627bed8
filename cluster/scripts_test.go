package cluster

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// bench is this machine as a node with some tools of the test's making.
type bench struct{ dir string }

func newBench(t *testing.T, tools map[string]string) bench {
	t.Helper()
	b := bench{t.TempDir()}
	if err := os.MkdirAll(b.path("bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, script := range tools {
		b.write(t, "bin/"+name, "#!/bin/sh\n"+script)
	}
	b.write(t, "boot_id", "first\n")
	return b
}

func (b bench) path(name string) string { return filepath.Join(b.dir, name) }

func (b bench) write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(b.path(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.path(name), []byte(content), 0o755); err != nil { //nolint:gosec // tools are executed
		t.Fatal(err)
	}
}

func (b bench) read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(b.path(name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

// Run implements Runner: its tools come first.
func (b bench) Run(ctx context.Context, c Cmd) (Result, error) {
	c.Argv = append([]string{"env", "PATH=" + b.path("bin") + ":" + os.Getenv("PATH"), "BENCH=" + b.dir}, c.Argv...)
	return NewLocal().Run(ctx, c)
}

func (b bench) Names() []string             { return []string{"pve1"} }
func (b bench) Node(string) (Runner, error) { return b, nil }
func (b bench) Close() error                { return nil }
func (b bench) Dial(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("no")
}

func (b bench) config() Config {
	return Config{PVEEtc: b.path("etc"), RunDir: b.path("run"), BootIDFile: b.path("boot_id")}
}

func (b bench) cluster() *Cluster { return New(b, NewTasks(b, b.config()), b.config()) }

func (b bench) tasks() *nodeTasks { return NewTasks(b, b.config()).(*nodeTasks) }

// follow reads a task to its end.
func follow(t *testing.T, ts Tasks, task Task) ([]string, error) {
	t.Helper()
	var lines []string
	for l, err := range ts.Follow(t.Context(), task, 0) {
		if err != nil {
			return lines, err
		}
		lines = append(lines, l.Text)
	}
	return lines, nil
}

func TestReadConfigOnTheNode(t *testing.T) {
	b := newBench(t, nil)
	if _, err := b.cluster().VMConfig(t.Context(), "pve1", 101); err == nil || errors.Is(err, ErrNoVM) {
		t.Errorf("without .members nothing can be said: %v", err)
	}
	b.write(t, "etc/.members", "{}")
	if _, err := b.cluster().VMConfig(t.Context(), "pve1", 101); !errors.Is(err, ErrNoVM) {
		t.Error(err)
	}
	b.write(t, "etc/nodes/pve1/qemu-server/101.conf", conf)
	if c, err := b.cluster().VMConfig(t.Context(), "pve1", 101); err != nil || c.Options["name"] != "web1" {
		t.Errorf("%v, %v", c, err)
	}
	if ok, err := b.cluster().FileExists(t.Context(), "pve1", b.path("boot_id")); !ok || err != nil {
		t.Error(ok, err)
	}
	if ok, err := b.cluster().FileExists(t.Context(), "pve1", b.path("nothing")); ok || err != nil {
		t.Error(ok, err)
	}
}

func TestAddressesOnTheNode(t *testing.T) {
	b := newBench(t, nil)
	if _, err := b.cluster().Addresses(t.Context()); err == nil {
		t.Error("no file system, no answer")
	}
	if err := os.MkdirAll(b.path("etc/nodes/pve1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := b.cluster().Addresses(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("an empty cluster: %v, %v", got, err)
	}
	b.write(t, "etc/nodes/pve1/qemu-server/101.conf", conf)
	b.write(t, "etc/nodes/pve2/qemu-server/102.conf", "name: x\n")
	b.write(t, "etc/nodes/pve2/lxc/200.conf", "net0: name=eth0,ip=10.0.0.8/24\n[snap]\nnet0: name=eth0,ip=10.0.0.9/24\n")
	got, err := b.cluster().Addresses(t.Context())
	want := map[netip.Addr]int{netip.MustParseAddr("10.0.0.5"): 101, netip.MustParseAddr("10.0.0.8"): 200}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}

func TestAliveOnTheNode(t *testing.T) {
	b := newBench(t, map[string]string{"ping": `case $3 in *.5) exit 0 ;; *.6) exit 1 ;; *) exit 2 ;; esac`})
	addr := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	got, err := b.cluster().Alive(t.Context(), "pve1", []netip.Addr{addr("10.0.0.6"), addr("10.0.0.5"), addr("10.0.1.5")})
	if want := []netip.Addr{addr("10.0.0.5"), addr("10.0.1.5")}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	if _, err := b.cluster().Alive(t.Context(), "pve1", []netip.Addr{addr("10.0.0.7")}); err == nil {
		t.Error("ping failed, and nobody heard")
	}
}

// wget of the test: gives $BENCH/web, goes on with a part, ends with
// $BENCH/status if there is one. It wants to be told how long to wait: by itself
// the real one waits a quarter of an hour for a silent server, twenty times.
const fakeWget = `
case " $* " in *" -T "*" -t "*) ;; *) exit 2 ;; esac
while [ $# -gt 1 ]; do
	[ "$1" != -O ] || out=$2
	[ "$1" != -qO- ] || out=-
	[ "$1" != --spider ] || exit 0
	shift
done
echo "$1" >>"$BENCH/asked"
[ "$out" != - ] || { cat "$BENCH/web"; exit; }
[ ! -e "$BENCH/status" ] || exit "$(cat "$BENCH/status")"
echo "     0K ........ ........ ........ ........ 50% 12.3M 40s" >&2
have=0
[ ! -e "$out" ] || have=$(wc -c <"$out")
tail -c "+$((have + 1))" "$BENCH/web" >>"$out"
`

func TestDownloadOnTheNode(t *testing.T) {
	const content = "the whole image\n"
	sum := fmt.Sprintf("%X", sha256.Sum256([]byte(content)))
	const partly, half = "image/f.img.part", "the whole"
	for name, test := range map[string]struct {
		file, part, web string // what is there before; "" for nothing
		status          string // of wget
		asked           int    // how often wget is called
		wantErr         string
		wantPart        string
	}{
		"fresh":           {web: content, asked: 1},
		"is there":        {file: content, asked: 0},
		"wrong one there": {file: "old", web: content, asked: 1},
		"goes on":         {part: half, web: content, asked: 1},
		"part of another": {part: "something el", web: content, asked: 2},
		"wrong checksum":  {web: "evil", asked: 1, wantErr: "checksum mismatch"},
		"still wrong":     {part: "x", web: "evil", asked: 2, wantErr: "checksum mismatch"},
		"network":         {part: half, web: content, status: "4", asked: 1, wantErr: "exit status 4", wantPart: half},
		"not found":       {web: content, status: "8", asked: 1, wantErr: "exit status 8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, map[string]string{"wget": fakeWget})
			for file, content := range map[string]string{"image/f.img": test.file, partly: test.part, "web": test.web, "status": test.status} {
				if content != "" {
					b.write(t, file, content)
				}
			}
			c := b.cluster()
			task, err := c.Download(t.Context(), "pve1", "image-f", Download{
				URL: "https://example.org/f.img", Dir: b.path("image"), File: "f.img", Algorithm: "sha256", Sum: sum,
			})
			if err != nil {
				t.Fatal(err)
			}
			lines, err := follow(t, c.Tasks(), task)
			if asked := strings.Count(b.read(t, "asked"), "https://example.org/f.img\n"); asked != test.asked {
				t.Errorf("wget was called %d times, want %d", asked, test.asked)
			}
			if got := b.read(t, partly); got != test.wantPart {
				t.Errorf("the part is %q, want %q", got, test.wantPart)
			}
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Errorf("%v, want %q", err, test.wantErr)
				}
				if got := b.read(t, "image/f.img"); got != test.file {
					t.Errorf("the file became %q", got)
				}
				return
			}
			if got := b.read(t, "image/f.img"); err != nil || got != content {
				t.Errorf("the file is %q, %v; output %q", got, err, lines)
			}
		})
	}
}

func TestDownloadRefuses(t *testing.T) {
	good := Download{URL: "https://h/f", Dir: "/d", File: "f", Algorithm: "sha256", Sum: strings.Repeat("a", 64)}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Download){
		"scheme":    func(d *Download) { d.URL = "file:///etc/shadow" },
		"option":    func(d *Download) { d.URL = "--post-file=/etc/shadow" },
		"dir":       func(d *Download) { d.Dir = "d" },
		"file":      func(d *Download) { d.File = "../f" },
		"hidden":    func(d *Download) { d.File = "-f" },
		"algorithm": func(d *Download) { d.Algorithm = "md5" },
		"no sum":    func(d *Download) { d.Sum = "" },
		"short sum": func(d *Download) { d.Algorithm = "sha512" },
	} {
		d := good
		spoil(&d)
		if err := d.check(); !errors.Is(err, ErrNotStarted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadURL(t *testing.T) {
	b := newBench(t, map[string]string{"wget": fakeWget})
	b.write(t, "web", "abc *f.img\n")
	if got, err := b.cluster().ReadURL(t.Context(), "pve1", "https://h/SHA256SUMS"); err != nil || string(got) != "abc *f.img\n" {
		t.Errorf("%q, %v", got, err)
	}
	b.write(t, "web", strings.Repeat("x", 1<<20+1))
	if _, err := b.cluster().ReadURL(t.Context(), "pve1", "https://h/SHA256SUMS"); err == nil {
		t.Error("more than 1 MiB was taken")
	}
	if _, err := b.cluster().ReadURL(t.Context(), "pve1", "-O/etc/x"); !errors.Is(err, ErrNotStarted) {
		t.Errorf("an option as address: %v", err)
	}
}

// What the bot fetches on a node goes the way of PVE's own downloads: by the
// proxy of datacenter.cfg, where there is one.
func TestFetchesByTheProxy(t *testing.T) {
	for cfg, want := range map[string]string{
		"": " \n",
		"keyboard: de\nhttp_proxy: http://bot:s3cret@proxy.lan:3128 \nmigration: insecure\n": "http://bot:s3cret@proxy.lan:3128 http://bot:s3cret@proxy.lan:3128\n",
		"keyboard: de\nhttp_proxy: http://proxy.lan:3128":                                    "http://proxy.lan:3128 http://proxy.lan:3128\n",
	} {
		b := newBench(t, map[string]string{"wget": `echo "$http_proxy $https_proxy" >>"$BENCH/by"; ` + fakeWget})
		b.write(t, "web", "x")
		if cfg != "" {
			b.write(t, "etc/datacenter.cfg", cfg)
		}
		c := b.cluster()
		if _, err := c.ReadURL(t.Context(), "pve1", "https://h/SHA256SUMS"); err != nil {
			t.Error(err)
		}
		if _, err := c.Head(t.Context(), "pve1", "https://h/x.img"); err != nil {
			t.Error(err)
		}
		task, err := c.Download(t.Context(), "pve1", "f", Download{
			URL: "https://h/x.img", Dir: b.path("image"), File: "x.img", Algorithm: "sha256", Sum: fmt.Sprintf("%x", sha256.Sum256([]byte("x"))),
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := follow(t, c.Tasks(), task); err != nil {
			t.Error(err)
		}
		if got := b.read(t, "by"); got != strings.Repeat(want, 3) {
			t.Errorf("with %q it went by %q, want three times %q", cfg, got, want)
		}
	}
}

// A task that was put in place and never began is lost after ten seconds, and
// then never begins.
func TestTaskThatNeverBegan(t *testing.T) {
	b := newBench(t, map[string]string{"setsid": "exit 0"})
	ts := b.tasks()
	task, err := ts.Start(t.Context(), "pve1", "a", Cmd{Argv: []string{"touch", b.path("ran")}})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := ts.poll(t.Context(), task, 0, 0, 1); err != nil || p.state != "waiting" {
		t.Errorf("just started: %+v, %v", p, err)
	}
	if err := ts.Forget(t.Context(), task); err == nil {
		t.Error("a task that may begin was forgotten")
	}
	b.write(t, "run/a/uptime", "-20\n")
	if _, err := follow(t, ts, task); !errors.Is(err, ErrTaskLost) {
		t.Errorf("after ten seconds: %v, want ErrTaskLost", err)
	}
	// What was launched late finds that it was given up.
	if _, err := b.Run(t.Context(), Cmd{Argv: []string{"/bin/sh", b.path("run/a/run")}}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(b.path("ran")); err == nil {
		t.Error("a task that was called lost ran after all")
	}
	if err := ts.Forget(t.Context(), task); err != nil {
		t.Error(err)
	}
}

// Interrupt before the beginning is the end.
func TestInterruptBeforeTheBeginning(t *testing.T) {
	b := newBench(t, map[string]string{"setsid": "exit 0"})
	ts := b.tasks()
	task, err := ts.Start(t.Context(), "pve1", "a", Cmd{Argv: []string{"true"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := ts.Interrupt(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	if _, err := follow(t, ts, task); !errors.Is(err, ErrTaskLost) {
		t.Errorf("%v, want ErrTaskLost", err)
	}
}

func TestTaskUnderSystemd(t *testing.T) {
	for name, tt := range map[string]struct {
		systemdRun string
		launched   int
	}{
		"launches": {`echo "$*" >"$BENCH/systemd"; shift 5; setsid "$@" &`, 1},
		"fails":    {`exit 1`, 1},
		// It failed to say so, but it did launch: the command still runs once.
		"both": {`shift 5; setsid "$@"; exit 1`, 2},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, map[string]string{
				"systemd-run": tt.systemdRun,
				"setsid":      `PATH=${PATH#*:} setsid -w "$@"; echo >>"$BENCH/ended"`,
			})
			ts := b.tasks()
			ts.systemd = b.dir
			task, err := ts.Start(t.Context(), "pve1", "a", Cmd{Argv: []string{"sh", "-c", `echo ran >>"$1"; echo out`, "sh", b.path("ran")}})
			if err != nil {
				t.Fatal(err)
			}
			if lines, err := follow(t, ts, task); err != nil || !slices.Equal(lines, []string{"out"}) {
				t.Errorf("output %q, %v", lines, err)
			}
			if got := b.read(t, "ran"); got != "ran\n" {
				t.Errorf("the command wrote %q, want one line", got)
			}
			for b.read(t, "ended") != strings.Repeat("\n", tt.launched) { // its files go with the test
				time.Sleep(10 * time.Millisecond)
			}
			asked := b.read(t, "systemd")
			if name == "launches" && !strings.Contains(asked, "--collect --unit=pvebot-a-") {
				t.Errorf("systemd-run got %q", asked)
			}
		})
	}
}

// shortInput loses the end of what it should hand on, as a connection does
// that breaks while it sends.
type shortInput struct{ bench }

func (s shortInput) Node(string) (Runner, error) { return s, nil }

func (s shortInput) Run(ctx context.Context, c Cmd) (Result, error) {
	c.Stdin = c.Stdin[:len(c.Stdin)/2]
	return s.bench.Run(ctx, c)
}

func TestTaskWithHalfAnInput(t *testing.T) {
	b := newBench(t, nil)
	ts := NewTasks(shortInput{b}, b.config())
	_, err := ts.Start(t.Context(), "pve1", "a", Cmd{Argv: []string{"cat"}, Stdin: []byte("ssh-ed25519 AAAA\n")})
	if !errors.Is(err, ErrNotStarted) || !strings.Contains(err.Error(), "did not arrive whole") {
		t.Errorf("%v, want ErrNotStarted", err)
	}
	if _, err := ts.Find(t.Context(), "pve1", "a"); !errors.Is(err, ErrNoTask) {
		t.Errorf("a task was left: %v", err)
	}
	if left, _ := os.ReadDir(b.path("run")); len(left) != 0 {
		t.Errorf("%v was left", left)
	}
}

func TestTaskFiles(t *testing.T) {
	b := newBench(t, nil)
	ts := b.tasks()
	task, err := ts.Start(t.Context(), "pve1", "a", Cmd{
		Argv: []string{"sh", "-c", `ls -l "$1/run/a/stdin"; while test -d "$1" && ! test -e "$1/gate"; do sleep 0.05; done`, "sh", b.path("")}, Stdin: []byte("secret"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for l, err := range ts.Follow(t.Context(), task, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(l.Text, "-rw-------") {
			t.Errorf("others may read the input: %s", l.Text)
		}
		b.write(t, "gate", "")
	}
	if _, err := os.Stat(b.path("run/a/stdin")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the input was not removed: %v", err)
	}
}

// A full /run may have taken the file of the status, but not the status.
func TestTaskWhoseStatusIsEmpty(t *testing.T) {
	b := newBench(t, nil)
	ts := b.tasks()
	task, err := ts.Start(t.Context(), "pve1", "a", Cmd{Argv: []string{"true"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := follow(t, ts, task); err != nil {
		t.Fatal(err)
	}
	b.write(t, "run/a/status", "")
	if _, err := follow(t, ts, task); !errors.Is(err, ErrTaskLost) {
		t.Errorf("%v, want ErrTaskLost", err)
	}
}

// The reason of a failure is what was said last, without progress.
func TestReason(t *testing.T) {
	got := reason([]byte("line\ntransferred 1.0 B of 2.0 B (50.00%)\nunable to create VM 101 - no space\nusage\n\n"))
	if want := "unable to create VM 101 - no space\nusage"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := reason(nil); got != "" {
		t.Errorf("%q of nothing", got)
	}
}

// TestConfigThatGoesWhileItIsRead: a VM that is removed at that very moment is one
// that is not there, and no cluster that refuses.
func TestConfigThatGoesWhileItIsRead(t *testing.T) {
	b := newBench(t, map[string]string{"cat": `case $1 in *.conf) rm "$1" ;; esac
exec /bin/cat "$@"
`})
	b.write(t, "pve/.members", "{}")
	b.write(t, "pve/nodes/pve1/qemu-server/101.conf", "name: web\n")
	_, err := b.Run(t.Context(), cmdReadConfig(b.path("pve"), "pve1", 101))
	if e, ok := errors.AsType[*ExitError](err); !ok || e.Status != noConfigStatus {
		t.Errorf("%v", err)
	}
}
