package yamlfile_test

import (
	"testing"

	"pvebot/cluster/yamlfile"
)

type thing struct {
	Name yamlfile.Word   `yaml:"name"`
	Tags []yamlfile.Word `yaml:"tags"`
	On   bool            `yaml:"on"`
}

// TestWordsAreReadAsWritten: YAML has numbers, dates and truth values; people have
// words.
func TestWordsAreReadAsWritten(t *testing.T) {
	for text, want := range map[string]string{
		"3.20": "3.20", `"3.20"`: "3.20", "'3.20'": "3.20", "010": "010", "0x1F": "0x1F", "1_000": "1_000", "2026-12-01": "2026-12-01",
		"yes": "yes", "true": "true", "1e3": "1e3", "~": "", "": "", "a b # c": "a b", "12:30:45": "12:30:45", ".inf": ".inf",
	} {
		list, err := yamlfile.List[thing]([]byte("- name: "+text+"\n"), "things")
		if err != nil || len(list) != 1 || string(list[0].Value.Name) != want {
			t.Errorf("%s: %+v, %v", text, list, err)
		}
	}
	list, err := yamlfile.List[thing]([]byte("# things\n- name: &x 3.20\n  tags: [010, *x, 'q']\n\n- name: *x\n- name: |\n    two\n    lines\n"), "things")
	if err != nil || len(list) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	if list[0].Line != 2 || list[1].Line != 5 || list[2].Line != 6 {
		t.Errorf("lines %+v", list)
	}
	if tags := list[0].Value.Tags; len(tags) != 3 || tags[0] != "010" || tags[1] != "3.20" || tags[2] != "q" {
		t.Errorf("tags %q", tags)
	}
	if list[1].Value.Name != "3.20" || list[2].Value.Name != "two\nlines\n" {
		t.Errorf("%+v", list)
	}
}

// TestWhatIsWrongHasALine: in words that are not Go's.
func TestWhatIsWrongHasALine(t *testing.T) {
	for text, want := range map[string]string{
		"- name: a\n- name: b\n  colour: red\n": "line 3: there is no key colour here",
		"- name: a\n- name: b\n  on: perhaps\n": "line 3: this wants true or false",
		"- name: a\n- name: [b]\n":              "line 2: this wants a word",
		"- on: true\n  name:\n    b: c\n":       "line 2: this wants a word",
		"name: a\n":                             "line 1: this wants a list",
		"- a\n":                                 "line 1: this wants keys with values",
		"- name: 'a\n":                          "line 1: could not find end character of single-quoted text",
	} {
		if list, err := yamlfile.List[thing]([]byte(text), "things"); err == nil || err.Error() != want {
			t.Errorf("%q: %+v, %v; want %s", text, list, err, want)
		}
	}
	for _, text := range []string{"", "# nothing\n", "[]\n"} {
		if list, err := yamlfile.List[thing]([]byte(text), "things"); err != nil || len(list) != 0 {
			t.Errorf("%q: %+v, %v", text, list, err)
		}
	}
}

func FuzzList(f *testing.F) {
	f.Add([]byte("- name: &x 3.20\n  tags: [010, *x]\n"))
	f.Add([]byte("- name: !!binary x\n- <<: *y\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := yamlfile.List[thing](text, "things")
		if err != nil && len(list) > 0 {
			t.Errorf("both %+v and %v", list, err)
		}
	})
}
