package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"mvdan.cc/sh/v3/syntax"

	"pvebot/commands"
)

// papers are the documents whose commands are run.
func papers(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, "../../README.md", "../../README.zh-TW.md")
	all := map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimPrefix(f, "../../")] = string(text)
	}
	return all
}

var shBlock = regexp.MustCompile("(?ms)^ *```sh\n(.*?)^ *```$")

// The tools of the documents' commands: ours, played ones (they want another
// machine, or change this one), and real ones, which only touch the folder
// they are run in.
var (
	oursInDocs   = []string{"bot", "pvebot", "go"}
	playedInDocs = []string{
		"apt", "chown", "curl", "docker", "editor", "journalctl", "jq", "pct", "sqlite3", "ssh", "su", "systemctl",
	}
	realInDocs = []string{"cat", "cd", "cp", "echo", "env", "export", "openssl", "ssh-keygen"}
)

// bot as the documents' commands find it: fast, on free ports, and asked to end
// where it would run on. timeout says 124 when it had to ask.
const botInDocs = `#!/bin/sh
here=$(mktemp -d)
lasting() { env PORT=0 STORE_URL="sqlite:$here" timeout -s INT 2 "$REAL" "$@"; s=$?; [ $s = 124 ] || exit $s; }
case "$*" in
"store copy "*|"serve --cluster "*) exec "$REAL" "$@" --help ;; # they want a PostgreSQL, which their own tests have
"store restore "*) export STORE_URL="sqlite:$here/new" ;;
esac
case "$*" in
"demo --data try") lasting demo --fast --listen 127.0.0.1:0 --data try; exit ;;
esac
case "$1 $#" in
serve*|sim*) lasting "$@" ;;
doctor*) "$REAL" "$@"; [ $? -le 1 ] ;; # what it finds here is its own tests' business
"demo 1") lasting demo --fast --listen 127.0.0.1:0 ;;
demo*) shift; exec "$REAL" demo --fast "$@" ;;
*) exec "$REAL" "$@" ;;
esac
`

const (
	goInDocs = `#!/bin/sh
case "$1 $2" in "run ./cmd/bot") shift 2; exec bot "$@" ;; esac
`
	// What these would run in another place runs here.
	suInDocs     = "#!/bin/sh\nfor last; do :; done\ncd \"$HOME\" && exec sh -c \"$last\"\n"
	dockerInDocs = "#!/bin/sh\ncase \"$*\" in\n\"compose run --rm bot \"*) shift 4; exec bot \"$@\" ;;\n\"compose exec bot /bot \"*) shift 4; exec bot \"$@\" ;;\nesac\n"
)

// TestDocumentedCommands runs every block of shell commands in the documents.
func TestDocumentedCommands(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tools := t.TempDir()
	script := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(tools, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range playedInDocs {
		script(name, "#!/bin/sh\n")
	}
	script("bot", botInDocs)
	script("pvebot", botInDocs)
	script("go", goInDocs)
	script("su", suInDocs)
	script("docker", dockerInDocs)
	script("ssh", "#!/bin/sh\nexec cat >/dev/null\n") // takes what is piped to it
	if err := os.Mkdir(filepath.Join(tools, "real"), 0o755); err != nil {
		t.Fatal(err)
	}
	real := filepath.Join(tools, "real", "bot") // by this name the test is the program
	if err := os.Symlink(self, real); err != nil {
		t.Fatal(err)
	}

	// One bot runs all the time: for those who ask how it is.
	env := simEnv(t)
	_, port, _ := net.SplitHostPort(freeAddr(t))
	env = append(env, "PORT="+port, "LISTEN=127.0.0.1", "LOG_LEVEL=error", "GORACE=atexit_sleep_ms=0",
		"REAL="+real, "PATH="+tools+":"+os.Getenv("PATH"), "SIM_SLACK=http://127.0.0.1:1")
	start(t, program{env: env, dotenv: os.DevNull, out: new(notes), err: os.Stderr}, "serve")
	await(t, "127.0.0.1:"+port)

	seen := map[string]bool{} // the READMEs have the same ones
	for name, text := range papers(t) {
		if name == "docs/http.md" {
			continue // its commands are one after the other: TestHTTPDocs runs them
		}
		for i, m := range shBlock.FindAllStringSubmatch(text, -1) {
			if seen[m[1]] {
				continue
			}
			seen[m[1]] = true
			t.Run(fmt.Sprintf("%s/%d", name, i+1), func(t *testing.T) { t.Parallel(); runBlock(t, m[1], env) })
		}
	}
}

// runBlock runs commands in a folder with the files that the documents speak
// of.
func runBlock(t *testing.T, block string, env []string) {
	t.Helper()
	block = strings.ReplaceAll(block, "./pvebot ", "pvebot ") // what go build has made
	for _, name := range commandNames(t, block) {
		if !slices.Contains(slices.Concat(oursInDocs, playedInDocs, realInDocs), name) {
			t.Fatalf("%s is run, which this test does not know: play it, or say that it may run", name)
		}
	}
	dir, home := t.TempDir(), t.TempDir()
	for _, d := range []string{dir + "/deploy", home + "/.ssh"} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	example, err := os.ReadFile("../../deploy/pvebot.env.example")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{dir + "/deploy/pvebot.env.example", home + "/.ssh/id_ed25519.pub"} {
		if err := os.WriteFile(file, example, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The examples' nodes are not here; the simulated ones are in env.
	block = regexp.MustCompile(`(?m)^export `).ReplaceAllString(block, ": ")
	block = strings.NewReplacer("/var/lib/pvebot", home, "/var/backups", dir).Replace(block)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-euc", block)
	cmd.Dir, cmd.WaitDelay = dir, 10*time.Second
	cmd.Env = append(slices.Clone(env), "HOME="+home)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s\nsaid:\n%s", err, block, out)
	}
}

// commandNames are the programs that a script runs, those in -c words too.
func commandNames(t *testing.T, script string) []string {
	t.Helper()
	file, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(script), "")
	if err != nil {
		t.Fatalf("%v:\n%s", err, script)
	}
	var names []string
	syntax.Walk(file, func(n syntax.Node) bool {
		call, ok := n.(*syntax.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		names = append(names, call.Args[0].Lit())
		return true
	})
	return names
}

// Every line for the chat that the documents show in a block is understood.
func TestDocumentedLines(t *testing.T) {
	block := regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")
	found := 0
	for name, text := range papers(t) {
		for _, m := range block.FindAllStringSubmatch(text, -1) {
			if m[1] != "" {
				continue
			}
			for _, cell := range regexp.MustCompile(`\n|  +`).Split(m[2], -1) {
				if !strings.HasPrefix(cell, "/vm ") {
					continue
				}
				found++
				if _, err := commands.Parse(cell); err != nil {
					t.Errorf("%s: %s: %v", name, cell, err)
				}
			}
		}
	}
	if found < 5 {
		t.Errorf("only %d lines were found", found)
	}
}

// The README in Chinese has the same headings, commands, pictures, links and
// table rows as the English one, in the same order.
func TestReadmesAreInStep(t *testing.T) {
	all := papers(t)
	english, chinese := all["README.md"], all["README.zh-TW.md"]
	for what, re := range map[string]string{
		"headings":         `(?m)^(#+) `,
		"blocks":           "(?ms)^```(?:sh)?\n.*?^```$",
		"links":            `\]\(([^)]+)\)`,
		"rows of tables":   `(?m)^\| ([^|]*)\|`,
		"names of things":  "`([A-Z][A-Z0-9_]+)`",
		"points of a list": `(?m)^(- )`,
	} {
		find := func(text string) []string {
			var found []string
			for _, m := range regexp.MustCompile(re).FindAllStringSubmatch(text, -1) {
				found = append(found, m[len(m)-1])
			}
			return found
		}
		a, b := find(english), find(chinese)
		switch what {
		case "links": // each points at the other
			a, b = slices.DeleteFunc(a, isReadme), slices.DeleteFunc(b, isReadme)
		case "rows of tables":
			a, b = codesOnly(a), codesOnly(b)
		}
		for i := range max(len(a), len(b)) {
			if i >= len(a) || i >= len(b) || a[i] != b[i] {
				t.Errorf("%s: the READMEs part at %d: %q and %q", what, i+1, at(a, i), at(b, i))
				break
			}
		}
	}
}

func isReadme(link string) bool { return strings.HasPrefix(link, "README") }

// codesOnly leaves of table cells what is code: the rest is translated.
func codesOnly(cells []string) []string {
	var codes []string
	for _, c := range cells {
		codes = append(codes, strings.Join(regexp.MustCompile("`[^`]+`").FindAllString(c, -1), " "))
	}
	return codes
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return "(nothing)"
}
