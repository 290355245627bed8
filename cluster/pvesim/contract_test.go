package pvesim

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// pveOption is an option as the method schemas of qemu-server have it.
type pveOption struct {
	Type       string
	Format     string
	Enum       []string
	Pattern    string
	Optional   bool
	Minimum    any
	Maximum    any
	MaxLength  int
	Requires   string
	Alias      string
	DefaultKey int                  `json:"default_key"`
	Properties map[string]pveOption `json:"properties"`
}

// The table of options is PVE's own: where its schemas are at hand, each
// command has just the options that it has there, with the same kinds and
// limits. PVE_QM_OPTIONS names the file.
func TestOptionsAreProxmoxs(t *testing.T) {
	var text []byte
	var err error
	for _, file := range []string{os.Getenv("PVE_QM_OPTIONS"), "../../../shared/pve/qm-options.json"} {
		if text, err = os.ReadFile(file); err == nil {
			break
		}
	}
	if err != nil {
		t.Skip("the schemas of qm are not here; PVE_QM_OPTIONS=FILE tells where they are")
	}
	var schema struct {
		Commands map[string]struct {
			Positional []string
			Options    map[string]pveOption
		}
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for name, cmd := range commands() {
		real, ok := schema.Commands[name]
		if !ok {
			t.Errorf("there is no command %s", name)
			continue
		}
		if !slices.Equal(cmd.positional, real.Positional) {
			t.Errorf("%s takes %v, want %v", name, cmd.positional, real.Positional)
		}
		for key, want := range real.Options {
			key = strings.Replace(key, "[n]", "0", 1)
			o := cmd.option(key)
			if o == nil {
				t.Errorf("%s has no --%s", name, key)
				continue
			}
			for _, diff := range o.unlike(want) {
				t.Errorf("%s --%s: %s", name, key, diff)
			}
			compared++
		}
		for key := range cmd.options {
			if _, ok := real.Options[key]; !ok {
				t.Errorf("%s has a --%s, which PVE has not", name, key)
			}
		}
		for _, o := range cmd.indexed {
			if _, ok := real.Options[o.name+"[n]"]; !ok {
				t.Errorf("%s has a --%s0, which PVE has not", name, o.name)
			}
		}
	}
	t.Logf("%d options of %d commands", compared, len(commands()))
}

// unlike says in what an option differs from PVE's.
func (o *option) unlike(want pveOption) (diffs []string) {
	differ := func(what string, got, want any) {
		if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
			diffs = append(diffs, fmt.Sprintf("%s is %s, want %s", what, g, w))
		}
	}
	if o.alias == "" {
		differ("type", o.typ, want.Type)
		differ("required", o.required, !want.Optional)
	}
	differ("enum", o.enum, append([]string{}, want.Enum...))
	limit := func(p *float64) any {
		if p == nil {
			return nil
		}
		return *p
	}
	differ("minimum", limit(o.min), want.Minimum)
	differ("maximum", limit(o.max), want.Maximum)
	differ("length", o.maxLen, want.MaxLength)
	keys := map[string]bool{}
	for _, k := range o.keys {
		keys[k.name] = true
		if _, ok := want.Properties[k.name]; !ok && len(want.Properties) > 0 {
			diffs = append(diffs, "it has a key "+k.name)
		}
	}
	for k := range want.Properties {
		if !keys[k] && !keys[strings.Replace(k, "[n]", "0", 1)] {
			diffs = append(diffs, "it has no key "+k)
		}
	}
	return diffs
}
