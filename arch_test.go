// Package pvebot holds no code, only the tests of the house itself: which
// package may use which, where time and processes come from, and that the
// papers name what is there.
package pvebot

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// row is what a package may import of ours. Imports run one way, from cmd/bot
// down to cluster, alloc and sh; cluster/textfile and yamlfile are below all of them.
type row struct {
	uses  []string // all of its files
	tests []string // its tests, on top of uses and of the package itself
}

// rows has one row per package.
var rows = map[string]row{
	"alloc": {},
	"sh":    {tests: []string{"cluster/pvesim/simguest"}},

	"cluster":                     {uses: []string{"cluster/textfile"}, tests: []string{"cluster/internal/sshtest", "cluster/pvesim", "cluster/runnertest", "cluster/taskstest"}},
	"cluster/textfile":            {},
	"cluster/yamlfile":            {uses: []string{"cluster/textfile"}},
	"cluster/internal/sshtest":    {},
	"cluster/runnertest":          {uses: []string{"cluster"}},
	"cluster/taskstest":           {uses: []string{"cluster"}},
	"cluster/pvesim":              {uses: []string{"cluster", "cluster/pvesim/shim", "cluster/pvesim/simguest"}, tests: []string{"cluster/pvesim/simtest", "cluster/runnertest", "cluster/taskstest"}},
	"cluster/pvesim/shim":         {},
	"cluster/pvesim/shim/pvetool": {uses: []string{"cluster/pvesim/shim"}},
	"cluster/pvesim/simguest":     {uses: []string{"cluster"}},
	"cluster/pvesim/simtest":      {},

	"provision": {
		uses:  []string{"cluster", "cluster/textfile", "cluster/yamlfile", "alloc", "sh", "provision/image", "provision/guest"},
		tests: []string{"cluster/pvesim", "cluster/pvesim/simguest", "cluster/pvesim/simtest", "provision/pinned", "provision/sqlstore", "provision/sqlstore/pgtest", "provision/storetest"},
	},
	"provision/image":           {uses: []string{"cluster", "cluster/textfile", "cluster/yamlfile", "sh"}, tests: []string{"cluster/pvesim"}},
	"provision/guest":           {uses: []string{"cluster", "sh"}, tests: []string{"cluster/pvesim", "cluster/pvesim/simguest"}},
	"provision/sqlstore":        {uses: []string{"provision", "cluster"}, tests: []string{"provision/pinned", "provision/sqlstore/pgtest", "provision/storetest"}},
	"provision/sqlstore/pgtest": {},
	"provision/doctor":          {uses: []string{"alloc", "cluster", "provision/image"}, tests: []string{"cluster/pvesim", "cluster/pvesim/simtest"}},
	"provision/pinned":          {},
	"provision/storetest":       {uses: []string{"provision", "cluster"}},

	"commands": {uses: []string{"cluster/textfile", "cluster/yamlfile", "provision"}},

	"bot":            {uses: []string{"commands", "provision", "cluster"}, tests: []string{"bot/bottest", "provision/pinned", "provision/sqlstore"}},
	"bot/traces":     {uses: []string{"provision", "cluster"}, tests: []string{"provision/sqlstore"}},
	"bot/metrics":    {uses: []string{"bot", "provision", "cluster"}, tests: []string{"provision/pinned", "provision/sqlstore"}},
	"bot/bottest":    {uses: []string{"bot", "commands", "provision", "cluster"}},
	"bot/console":    {uses: []string{"bot", "commands", "provision", "cluster"}, tests: []string{"bot/bottest"}},
	"bot/web":        {uses: []string{"bot", "bot/web/access", "bot/web/feed", "commands", "provision", "cluster"}, tests: []string{"bot/bottest", "provision/pinned", "provision/sqlstore"}},
	"bot/web/access": {uses: []string{"cluster", "commands", "provision"}},
	"bot/web/feed":   {uses: []string{"cluster", "provision"}},
	"bot/web/orders": {uses: []string{"bot", "commands", "provision"}},
	"bot/web/legacy": {
		uses:  []string{"bot/web/access", "bot/web/feed", "bot/web/orders", "cluster", "commands", "provision", "sh"},
		tests: []string{"bot/web/apitest", "cluster/pvesim", "cluster/pvesim/simtest", "provision/image"},
	},
	"bot/web/v1": {
		uses:  []string{"bot", "bot/web/access", "bot/web/feed", "bot/web/orders", "cluster", "commands", "provision"},
		tests: []string{"bot/web/apitest", "cluster/pvesim", "cluster/pvesim/simtest"},
	},
	"bot/web/apitest": {uses: []string{
		"alloc", "bot", "bot/web/access", "bot/web/orders", "cluster", "cluster/pvesim", "commands", "provision", "provision/image", "provision/sqlstore",
	}},
	"bot/discord": {
		uses:  []string{"bot", "commands", "provision", "cluster"},
		tests: []string{"bot/bottest", "bot/discord/discordfake", "provision/pinned", "provision/sqlstore"},
	},
	"bot/discord/discordfake": {uses: []string{"bot/door", "cluster"}},

	"bot/slack": {
		uses:  []string{"bot", "commands", "provision", "cluster"},
		tests: []string{"bot/bottest", "bot/slack/slackfake", "provision/pinned", "provision/sqlstore"},
	},
	"bot/slack/slackfake": {uses: []string{"bot/door", "cluster"}, tests: []string{"bot/bottest"}},
	"bot/door":            {},

	"cmd/bot/torture": {uses: []string{"bot", "cluster/pvesim", "provision"}},
	"cmd/bot": {uses: []string{
		"alloc", "bot", "bot/console", "bot/discord", "bot/discord/discordfake", "bot/door", "bot/metrics", "bot/slack", "bot/slack/slackfake", "bot/traces",
		"bot/web", "bot/web/access", "bot/web/legacy", "bot/web/orders", "bot/web/v1", "cluster", "cluster/pvesim", "cluster/pvesim/simguest", "cluster/textfile",
		"commands", "provision", "provision/doctor", "provision/guest", "provision/image", "provision/sqlstore", "sh",
	}, tests: []string{"bot/bottest", "cluster/pvesim/simtest", "cmd/bot/torture", "provision/pinned", "provision/sqlstore/pgtest"}},
}

// suites are packages that only tests use; the rules for code bind them no
// more than tests.
var suites = []string{"bot/bottest", "bot/web/apitest", "cmd/bot/torture", "cluster/internal/sshtest", "cluster/pvesim/simtest", "cluster/runnertest", "cluster/taskstest", "provision/sqlstore/pgtest", "provision/storetest"}

// ownTime may ask the machine for the time, and wait by it. Everything else
// takes a cluster.Clock.
var ownTime = map[string]string{
	"cluster/clock.go":       "is the Clock",
	"cluster/pvesim/node.go": "waits for real processes to die",
}

// ownProcesses may start processes. Everything else takes a cluster.Runner.
var ownProcesses = map[string]string{
	"cluster/local.go": "is the Runner of this machine",
	"cluster/pvesim/":  "runs the real shells of simulated nodes",
	"cmd/bot/kept.go":  "starts the demo's cluster, which outlives the bot",
}

// longFiles may have more than maxLines lines. Think twice: a long file is
// mostly two.
var longFiles = map[string]string{}

const maxLines = 400

// source is one Go file of ours.
type source struct {
	path   string // from the root, with slashes
	dir    string // its folder
	test   bool
	lines  int
	file   *ast.File
	fset   *token.FileSet
	inside []string // imports of ours, without the module's name
	others []string // imports of modules that are not ours
}

// sources reads every Go file once. It parses them here instead of asking go
// list: the test cache sees the files that a test reads, not those that its
// child does.
var sources = sync.OnceValues(func() ([]source, error) {
	var all []source
	fset := token.NewFileSet()
	err := walk(func(name string) error {
		if path.Ext(name) != ".go" {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		s, err := parse(fset, name, text)
		if err != nil {
			return err
		}
		all = append(all, s)
		return nil
	})
	return all, err
})

func parse(fset *token.FileSet, name string, text []byte) (source, error) {
	f, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return source{}, err
	}
	s := source{
		path: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"),
		lines: bytes.Count(text, []byte("\n")), file: f, fset: fset,
	}
	for _, spec := range f.Imports {
		imported := importPath(spec)
		first, rest, _ := strings.Cut(imported, "/")
		switch {
		case first == "pvebot":
			s.inside = append(s.inside, rest)
		case strings.Contains(first, "."):
			s.others = append(s.others, imported)
		}
	}
	return s, nil
}

func importPath(spec *ast.ImportSpec) string {
	unquoted, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		panic(err) // the parser has read it
	}
	return unquoted
}

// walk calls see for each file of the project, named from the root with
// slashes. It leaves out test data, what begins with a dot and what .gitignore
// names.
func walk(see func(name string) error) error {
	ignored, err := os.ReadFile(".gitignore")
	if err != nil {
		return err
	}
	skip := strings.Fields(string(ignored))
	return fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if name != "." && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") || slices.Contains(skip, "/"+name+"/")) {
				return fs.SkipDir
			}
		case d.Type().IsRegular() && !slices.Contains(skip, "/"+name):
			return see(name)
		}
		return nil
	})
}

func mustSources(t *testing.T) []source {
	t.Helper()
	all, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// allows reports whether s, in the row's package, may import a package of ours.
func (r row) allows(s source, imported string) bool {
	if slices.Contains(r.uses, imported) {
		return true
	}
	return s.test && (imported == s.dir || slices.Contains(r.tests, imported))
}

// free reports whether s is a test, or a suite that tests run.
func (s source) free() bool {
	return s.test || slices.Contains(suites, s.dir)
}

// uses are the places where s says one of names of a package.
func (s source) uses(pkg string, names ...string) []token.Position {
	local := ""
	for _, spec := range s.file.Imports {
		if importPath(spec) == pkg {
			if local = path.Base(pkg); spec.Name != nil {
				local = spec.Name.Name
			}
		}
	}
	if local == "" {
		return nil
	}
	var found []token.Position
	ast.Inspect(s.file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && slices.Contains(names, sel.Sel.Name) {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == local {
				found = append(found, s.fset.Position(sel.Pos()))
			}
		}
		return true
	})
	return found
}

// listed reports whether a list of exceptions names s, or a folder above it.
func listed(list map[string]string, s source) bool {
	for name := range list {
		if name == s.path || strings.HasSuffix(name, "/") && strings.HasPrefix(s.path, name) {
			return true
		}
	}
	return false
}

// TestExceptionsExist: what is on a list of exceptions is there, and the list
// says why.
func TestExceptionsExist(t *testing.T) {
	for _, list := range []map[string]string{ownTime, ownProcesses, longFiles} {
		for name, why := range list {
			if _, err := os.Stat(name); err != nil || why == "" {
				t.Errorf("%s is an exception in arch_test.go (%q): %v", name, why, err)
			}
		}
	}
}

func TestImportsRunOneWay(t *testing.T) {
	seen := make(map[string]bool)
	for _, s := range mustSources(t) {
		if s.dir == "." {
			continue
		}
		r, ok := rows[s.dir]
		if !ok {
			if !seen[s.dir] {
				t.Errorf("package %s is new: say in arch_test.go's rows what it may import, and in README's map what it is for", s.dir)
			}
			seen[s.dir] = true
			continue
		}
		seen[s.dir] = true
		for _, imported := range s.inside {
			if !r.allows(s, imported) {
				t.Errorf("%s imports pvebot/%s, which %s may not use: turn the need around (an interface, a parameter), or change its row in arch_test.go and say why", s.path, imported, s.dir)
			}
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(rows)) {
		if !seen[dir] {
			t.Errorf("there is no package %s: remove its row from arch_test.go", dir)
		}
	}
}

// TestRowsHaveNoCycle: the compiler refuses cycles in the code; this one
// refuses rows that would allow one.
func TestRowsHaveNoCycle(t *testing.T) {
	var visit func(path []string)
	visit = func(path []string) {
		last := path[len(path)-1]
		if slices.Contains(path[:len(path)-1], last) {
			t.Fatalf("the rows allow a cycle: %s", strings.Join(path, " -> "))
		}
		for _, next := range rows[last].uses {
			visit(append(slices.Clip(path), next))
		}
	}
	for dir := range rows {
		visit([]string{dir})
	}
}

func TestEveryPackageHasAComment(t *testing.T) {
	documented := make(map[string]int)
	for _, s := range mustSources(t) {
		if s.test && s.dir != "." {
			continue
		}
		documented[s.dir] += 0
		if s.file.Doc == nil {
			continue
		}
		documented[s.dir]++
		want := "Package " + s.file.Name.Name + " "
		if s.file.Name.Name == "main" {
			want = "Command " + path.Base(s.dir) + " "
		}
		if !strings.HasPrefix(s.file.Doc.Text(), want) {
			t.Errorf("%s: the package comment begins with %q", s.path, want)
		}
	}
	for dir, n := range documented {
		if n != 1 {
			t.Errorf("package %s has %d package comments, want 1: what it is for, what it promises, how to test against it", dir, n)
		}
	}
}

func TestTimeComesFromOutside(t *testing.T) {
	for _, s := range mustSources(t) {
		if s.free() || listed(ownTime, s) {
			continue
		}
		for _, at := range s.uses("time", "Now", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Since", "Until") {
			t.Errorf("%v asks the machine for the time: take a cluster.Clock", at)
		}
	}
}

func TestProcessesAreStartedInOnePlace(t *testing.T) {
	for _, s := range mustSources(t) {
		if s.free() || listed(ownProcesses, s) {
			continue
		}
		for _, at := range slices.Concat(
			s.uses("os/exec", "Cmd", "Command", "CommandContext"),
			s.uses("os", "StartProcess"),
			s.uses("syscall", "Exec", "ForkExec", "StartProcess"),
		) {
			t.Errorf("%v starts a process: take a cluster.Runner", at)
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	for _, s := range mustSources(t) {
		if !s.free() && s.lines > maxLines && !listed(longFiles, s) {
			t.Errorf("%s has %d lines: part it by what its halves are for, or justify it in arch_test.go's longFiles", s.path, s.lines)
		}
	}
}

// TestLibrariesAreChosen: each module that the code imports has its line in
// the ADR of libraries.
func TestLibrariesAreChosen(t *testing.T) {
	const adr = "docs/adr/0002-libraries.md"
	text, err := os.ReadFile(adr)
	if err != nil {
		t.Fatal(err)
	}
	var modules []string
	for _, m := range regexp.MustCompile("`([a-z0-9.-]+\\.[a-z]+/[^` ]+)`").FindAllSubmatch(text, -1) {
		modules = append(modules, string(m[1]))
	}
	used := make(map[string]bool)
	for _, s := range mustSources(t) {
		for _, imported := range s.others {
			i := slices.IndexFunc(modules, func(m string) bool { return imported == m || strings.HasPrefix(imported, m+"/") })
			if i < 0 {
				t.Errorf("%s imports %s, of a module without a line in %s: say there why we need it", s.path, imported, adr)
				continue
			}
			used[modules[i]] = true
		}
	}
	for _, m := range modules {
		if !used[m] {
			t.Errorf("%s speaks of %s, which nothing imports", adr, m)
		}
	}
}

// TestReadmeIsAMap: README names every top-level folder.
func TestReadmeIsAMap(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	folders := make(map[string]bool)
	err = walk(func(name string) error {
		if folder, _, ok := strings.Cut(name, "/"); ok {
			folders[folder] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for folder := range folders {
		if !regexp.MustCompile(`(?m)(^|[^\w/])` + regexp.QuoteMeta(folder) + `/`).Match(readme) {
			t.Errorf("README.md does not say what %s/ is for", folder)
		}
	}
}

// TestNothingIsLeftForLater: what is not done is an issue, not a comment.
func TestNothingIsLeftForLater(t *testing.T) {
	marks := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME)\b`)
	err := walk(func(name string) error {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if bytes.IndexByte(text, 0) >= 0 {
			return nil // a picture
		}
		for i, line := range bytes.Split(text, []byte("\n")) {
			if marks.Match(line) {
				t.Errorf("%s:%d: %s", name, i+1, bytes.TrimSpace(line))
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestTheRulesSee: the tests above find what they look for.
func TestTheRulesSee(t *testing.T) {
	const text = `package provision

import (
	clock "time"

	"example.com/lib"
	"pvebot/cluster"
	"pvebot/cluster/pvesim"
)

var now = clock.Now
var later = func() { <-clock.After(lib.Wait) }
var time struct{ Now int }
var fine = time.Now
`
	for name, test := range map[string]bool{"provision/plan.go": false, "provision/plan_test.go": true} {
		s, err := parse(token.NewFileSet(), name, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if at := s.uses("time", "Now", "After"); len(at) != 2 || at[0].Line != 11 || at[1].Line != 12 {
			t.Errorf("%s: uses of time: %v", name, at)
		}
		if s.free() != test || s.lines != 14 || !slices.Equal(s.others, []string{"example.com/lib"}) {
			t.Errorf("%s: %+v", name, s)
		}
		r := rows[s.dir]
		if !r.allows(s, "cluster") || r.allows(s, "cluster/pvesim") != test || r.allows(s, "bot") || r.allows(s, "provision") != test {
			t.Errorf("%s: the row allows too much or too little", name)
		}
		if listed(ownTime, s) || !listed(map[string]string{"provision/": "why"}, s) || !listed(map[string]string{name: "why"}, s) {
			t.Errorf("%s: exceptions are not told from rules", name)
		}
	}
}
