package main

import (
	"bufio"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// settingNames are all that the program reads from its environment.
func settingNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		f := t.Field(i)
		if name, _, _ := strings.Cut(f.Tag.Get("env"), ","); name != "" {
			names = append(names, name)
		} else if f.Type.Kind() == reflect.Struct && f.IsExported() {
			names = append(names, settingNames(f.Type)...)
		}
	}
	return names
}

// TestExampleSettings: what the package and the image set is read by the
// program, and the example is complete but for the tokens.
func TestExampleSettings(t *testing.T) {
	known := settingNames(reflect.TypeFor[config]())
	others := []string{"HOME", "VERSION", "PGPASSFILE"} // the machine's, the build's, the database driver's
	isKnown := func(name string) bool {
		return slices.Contains(known, name) || slices.Contains(others, name) || strings.HasPrefix(name, nodePrefix)
	}

	vars, err := readDotenv("../../deploy/pvebot.env.example")
	if err != nil {
		t.Fatal(err)
	}
	var environ []string
	for name, value := range vars {
		if !isKnown(name) {
			t.Errorf("pvebot.env.example sets %s, which the program does not read", name)
		}
		environ = append(environ, name+"="+value)
	}
	if _, err := readConfig(environ, os.DevNull); err != nil {
		t.Errorf("pvebot.env.example: %v", err)
	}

	for file, re := range map[string]string{
		"../../deploy/pvebot.service": `\b([A-Z_]+)=%S|\b(LOG_FORMAT)=`,
		"../../Dockerfile":            `^(?:ENV )?\s*([A-Z_]+)=\S+(?: \\)?$`,
		"../../deploy/compose.yaml":   `^      ([A-Z_]+): \S+`,
	} {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		found := 0
		for lines := bufio.NewScanner(f); lines.Scan(); {
			for _, m := range regexp.MustCompile(re).FindAllStringSubmatch(lines.Text(), -1) {
				name := m[1] + strings.Join(m[2:], "")
				if found++; !isKnown(name) && !strings.HasPrefix(name, "POSTGRES_") {
					t.Errorf("%s sets %s, which the program does not read", file, name)
				}
			}
		}
		if found == 0 {
			t.Errorf("%s sets nothing, which can't be right", file)
		}
	}
}
