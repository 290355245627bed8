package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func dotenv(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), ".env")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Nodes may have hyphens in their names, which are the settings' names then.
func TestNodesWithHyphens(t *testing.T) {
	c, err := readConfig(nil, dotenv(t, "MAIN_NODE=pve-1\nNODE_pve-1=192.0.2.1\nGATEWAY=192.0.2.254\nASSIGN_STORAGE=local\n"))
	if err != nil || c.Nodes["pve-1"] != "192.0.2.1" {
		t.Errorf("%+v, %v", c.Nodes, err)
	}
}

// A mistake in the file of settings is told without what else is in it: the
// journal is read by more people than the file.
func TestMistakesInSettingsShowNoSecrets(t *testing.T) {
	for _, wrong := range []string{"LOG LEVEL=info\n", "nonsense\n", "A=\"never closed\n", "A='x'y\n"} {
		_, err := readVars(nil, dotenv(t, "PORT=8080\n"+wrong+"SLACK_BOT_TOKEN=xoxb-secret\nVM_ROOT_PASSWORD=hunter22\n"))
		switch {
		case err == nil:
			t.Errorf("%q was taken", wrong)
		case strings.Contains(err.Error(), "xoxb-") || strings.Contains(err.Error(), "hunter22"):
			t.Errorf("%q: %v", wrong, err)
		case !strings.Contains(err.Error(), ".env:2: "):
			t.Errorf("%q: it does not tell where: %v", wrong, err)
		}
	}
}

// A value is what stands there, as it is for systemd and Docker, which read the
// same file.
func TestSettingsAreTakenAsTheyStand(t *testing.T) {
	got, err := readDotenv(dotenv(t, strings.Join([]string{
		"A=S3cr$ET1", "B=a#b", "C = two words  # a comment", "D=\"quoted # \\\"$x\\\"\"", "E='single $x' # why", "F=", "export G=1", "# H=2", "", "I=a=b:c",
	}, "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"A": "S3cr$ET1", "B": "a#b", "C": "two words", "D": `quoted # "$x"`, "E": "single $x", "F": "", "G": "1", "I": "a=b:c"}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %q, not %q", name, got[name], value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%q", got)
	}
	if _, err := readDotenv(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v, want %v", err, fs.ErrNotExist)
	}
}
