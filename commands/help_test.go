package commands

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestHelpPage(t *testing.T) {
	topics := append([]string{""}, table.names()...)
	for _, topic := range topics {
		file := filepath.Join("testdata", "help", "help-"+topic+".golden")
		if topic == "" {
			file = filepath.Join("testdata", "help", "help.golden")
		}
		got := HelpPage(topic, lab.Images).String()
		if *update {
			if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), got); d != "" {
			t.Errorf("%s (go test ./commands -update writes it anew):\n%s", file, d)
		}
	}
	if d := cmp.Diff(HelpPage("", nil), HelpPage("nonsense", nil)); d != "" {
		t.Errorf("help on nonsense: %s", d)
	}
}
