package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Root obeys no .env that somebody else wrote or can write.
func TestRootObeysItsOwnDotenvAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, c := range []struct {
		name string
		uid  int
		mode os.FileMode
		env  []string
		want string
	}{
		{"root's", 0, 0o640, nil, ""},
		{"somebody's", 4711, 0o600, nil, "belongs to the user with id 4711"},
		{"the caller's, by sudo", 4711, 0o600, []string{"SUDO_UID=4711"}, ""},
		{"somebody's, and another called sudo", 4711, 0o600, []string{"SUDO_UID=4712"}, "belongs to the user with id 4711"},
		{"everybody's", 0, 0o666, nil, "can be written by everybody"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), ".env")
			if err := os.WriteFile(file, []byte("ASSIGN_STORAGE=theirs\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(file, c.uid, 0); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(file, c.mode); err != nil {
				t.Fatal(err)
			}
			got, err := readVars(c.env, file)
			switch {
			case c.want == "" && (err != nil || got.Storage != "theirs"):
				t.Errorf("it is not read: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// The package's scripts touch what the service's user made with that user's
// rights alone.
func TestPackageWritesNothingBelowTheUsersFolder(t *testing.T) {
	script, err := os.ReadFile("../../deploy/deb/postinst")
	if err != nil {
		t.Fatal(err)
	}
	dropped := false
	for line := range strings.Lines(string(script)) {
		dropped = strings.Contains(line, "setpriv --reuid pvebot") || dropped && strings.Contains(line, "sh -c")
		if strings.Contains(line, "/var/lib/pvebot/") && !dropped {
			t.Errorf("root does this: %s", line)
		}
	}
}
