package main

import (
	"bufio"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// settingNames are all that the program reads from its environment.
func settingNames() []string {
	var names []string
	for _, s := range settings() {
		names = append(names, s.name)
	}
	return names
}

// TestSettingsInWords: all that is wrong is told at once, in people's words, a
// name that is misspelt among it.
func TestSettingsInWords(t *testing.T) {
	_, _, err := readHouse([]string{
		"LOG_LEVEL=loud", "POLICY_FILE=/nowhere", "PORT=abc", "VM_UPGRADE=perhaps", "GUEST_STALL=5 minutes", "VM_MAX_DISK=99999999999999999999", "MAIN_NOD=pve1",
		"CLUSTERS=", "WORKERS=", "NODE_pve1=192.0.2.1", "GATEWAY=192.0.2.254",
	}, os.DevNull)
	if err == nil {
		t.Fatal("nothing is wrong")
	}
	for _, want := range []string{
		`PORT is "abc": it is a whole number`, `VM_UPGRADE is "perhaps": it is true or false`, `GUEST_STALL is "5 minutes": it is a time such as 30s, 5m or 24h`,
		`VM_MAX_DISK is "99999999999999999999": it is a whole number`, "MAIN_NODE is not set: ", "ASSIGN_STORAGE is not set: ",
		"MAIN_NOD is no setting; do you mean MAIN_NODE?", `LOG_LEVEL is "loud": it is debug, info, warn or error`, "POLICY_FILE: /nowhere: there is no such file",
	} {
		if !strings.Contains(err.Error(), "\n  "+want) {
			t.Errorf("%q is missing from\n%v", want, err)
		}
	}
	for _, ofGo := range []string{"strconv", "parse error", "field", "time:", "int64"} {
		if strings.Contains(err.Error(), ofGo) {
			t.Errorf("%q is in\n%v", ofGo, err)
		}
	}
}

// TestSettingsOfClustersInWords: what is wrong with one cluster hides nothing of
// the others, and is told once where it is shared.
func TestSettingsOfClustersInWords(t *testing.T) {
	env := slices.Concat(settingsOf("TAIPEI_"), settingsOf("BERLIN_"), []string{
		"CLUSTERS=taipei,berlin,Tokyo,taipei", "WORKERS=many", "TAIPEI_VM_MAX_CPU=x", "BERLIN_GATEWAY=nowhere",
	})
	_, err := readConfig(env, os.DevNull)
	if err == nil {
		t.Fatal("nothing is wrong")
	}
	for _, want := range []string{
		`CLUSTERS has "Tokyo"`, "CLUSTERS has taipei twice", `WORKERS is "many"`,
		`cluster taipei, whose settings begin with TAIPEI_: VM_MAX_CPU is "x"`, "cluster berlin, whose settings begin with BERLIN_: ",
	} {
		if strings.Count(err.Error(), "\n  "+want) != 1 {
			t.Errorf("%q is not told once in\n%v", want, err)
		}
	}
}

// TestMisspeltSettings: a file of settings is for us, so that a name in it which
// is nearly a setting is one; the environment is everybody's.
func TestMisspeltSettings(t *testing.T) {
	for name, tt := range map[string]struct{ env, file string }{
		"PROT":              {"PORT", "PORT"},
		"STORAGE_URL":       {"", "STORE_URL"},
		"ASIGN_STORAGE":     {"ASSIGN_STORAGE", "ASSIGN_STORAGE"},
		"gateway":           {"GATEWAY", "GATEWAY"},
		"NODES_pve1":        {"", "NODE_pve1"},
		"TAIPEI_GATWAY":     {"TAIPEI_GATEWAY", "TAIPEI_GATEWAY"},
		"PGPORT":            {},
		"PATH":              {},
		"HOME":              {},
		"POSTGRES_PASSWORD": {},
		"NODE_PATH":         {},
		"NODE_pve1":         {},
		"TAIPEI_NODE_pve1":  {},
		"PORT":              {},
	} {
		for inFile, want := range map[bool]string{false: tt.env, true: tt.file} {
			got := misspelt(map[string]string{name: "x"}, func(string) bool { return inFile }, []string{"taipei"})
			var wanted []string
			if want != "" {
				wanted = []string{name + " is no setting; do you mean " + want + "?"}
			}
			if !slices.Equal(got, wanted) {
				t.Errorf("%s, in a file: %v: %q, want %q", name, inFile, got, wanted)
			}
		}
	}
	both := map[string]string{"PROT": "1", "PORT": "2"}
	if got := misspelt(both, func(string) bool { return false }, nil); got != nil {
		t.Errorf("beside the setting itself: %q", got)
	}
}

// TestExampleSettings: what the package and the image set is read by the
// program, and the example is complete but for the tokens.
func TestExampleSettings(t *testing.T) {
	known := settingNames()
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
