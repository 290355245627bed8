package metrics

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

var (
	nameIn = regexp.MustCompile(`\b(?:pvebot|process|go)_[a-z_]+\b`)
	wordIn = regexp.MustCompile(`\w+`)
	byIn   = regexp.MustCompile(`\b(?:by|on|without|ignoring) \(([^)]*)\)`)
	equals = regexp.MustCompile(`(\w+)(?:=~|!~|!=|=)"`)
)

// words are the labels that the program or a scrape sets.
var words = []string{
	"instance", "job", "le",
	"cluster", "command", "node", "platform", "reason", "result", "state", "step", "verb",
}

// checkQuery holds a query to the names that there are.
func checkQuery(t *testing.T, where, query string, names []string) {
	t.Helper()
	found := nameIn.FindAllString(query, -1)
	if len(found) == 0 && !strings.HasPrefix(query, "up{") {
		t.Errorf("%s asks for nothing of ours: %s", where, query)
	}
	for _, name := range found {
		if !slices.Contains(names, name) {
			t.Errorf("%s asks for %s, which nobody exports", where, name)
		}
	}
	for _, list := range byIn.FindAllStringSubmatch(query, -1) {
		for _, label := range wordIn.FindAllString(list[1], -1) {
			if !slices.Contains(words, label) {
				t.Errorf("%s groups by %s, which no metric has", where, label)
			}
		}
	}
	for _, m := range equals.FindAllStringSubmatch(query, -1) {
		if !slices.Contains(words, m[1]) {
			t.Errorf("%s selects by %s, which no metric has", where, m[1])
		}
	}
}

// alertFile is deploy/alerts.yaml.
type alertFile struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}

// The dashboard and the alerts ask for what is exported, and between them for
// everything.
func TestDeploy(t *testing.T) {
	names := setUp(t).names(t)
	var asked strings.Builder

	var board struct {
		Title, UID string
		Panels     []struct {
			ID      int
			Type    string
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	read(t, "../../deploy/grafana.json", func(b []byte, v any) error { return json.Unmarshal(b, v) }, &board)
	ids := map[int]bool{}
	for _, p := range board.Panels {
		if ids[p.ID] || p.Title == "" || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %d %q: its id is taken, or it has no title, or it does not fit", p.ID, p.Title)
		}
		ids[p.ID] = true
		if (p.Type == "row") != (len(p.Targets) == 0) {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			checkQuery(t, "panel "+p.Title, target.Expr, names)
			fmt.Fprintln(&asked, target.Expr)
			for _, label := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				if !slices.Contains(words, label[1]) {
					t.Errorf("the legend of %q speaks of %s", p.Title, label[1])
				}
			}
		}
	}

	var alerts alertFile
	read(t, "../../deploy/alerts.yaml", func(b []byte, v any) error { return yaml.UnmarshalWithOptions(b, v, yaml.Strict()) }, &alerts)
	for _, g := range alerts.Groups {
		for _, r := range g.Rules {
			checkQuery(t, r.Alert, r.Expr, names)
			fmt.Fprintln(&asked, r.Expr)
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Labels["severity"] == "" {
				t.Errorf("%s does not say what is wrong, what to do, or how bad it is", r.Alert)
			}
		}
	}

	for _, name := range names {
		base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count"), "_sum")
		if strings.HasPrefix(name, "pvebot_") && name != "pvebot_build_info" && !strings.Contains(asked.String(), base) {
			t.Errorf("%s is exported, and neither the dashboard nor an alert asks for it", name)
		}
	}
}

func read(t *testing.T, file string, decode func([]byte, any) error, v any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := decode(text, v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}
