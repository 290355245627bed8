package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pvebot/provision/doctor"
)

// TestLooseFiles: the doctor names files with secrets that others may read, with
// the command that closes them.
func TestLooseFiles(t *testing.T) {
	file := func(name string, mode os.FileMode) string {
		t.Helper()
		name = filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for what, tt := range map[string]struct {
		set  func(c *config, file string)
		mode os.FileMode
		fix  string // "": it is closed
	}{
		"settings":                   {func(c *config, f string) { c.dotenv = f }, 0o644, "chmod 640"},
		"the package's settings":     {func(c *config, f string) { c.dotenv = f }, 0o640, ""},
		"a key":                      {func(c *config, f string) { c.SSHKey = f }, 0o640, "chmod 600"},
		"a closed key":               {func(c *config, f string) { c.SSHKey = f }, 0o400, ""},
		"a TLS key":                  {func(c *config, f string) { c.Web.TLSKey = f }, 0o644, "chmod 640"},
		"a TLS key of a group":       {func(c *config, f string) { c.Web.TLSKey = f }, 0o640, ""},
		"a store":                    {func(c *config, f string) { c.StoreURL = "sqlite:" + filepath.Dir(f) }, 0o644, "chmod 640"},
		"a store that all may write": {func(c *config, f string) { c.StoreURL = "sqlite:" + filepath.Dir(f) }, 0o666, "chmod 660"},
		"none":                       {func(c *config, f string) { c.SSHKey = f + "?" }, 0o644, ""},
	} {
		c := &config{StoreURL: "sqlite:" + t.TempDir(), SSHKey: file("key", 0o600)}
		name := file("file", tt.mode)
		tt.set(c, name)
		_, err := c.probeFiles(t.Context())
		if tt.fix == "" {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			continue
		}
		loose, ok := err.(*doctor.Trouble) //nolint:errorlint // it is not wrapped
		if !ok || loose.Status != doctor.Warning || !strings.HasSuffix(loose.Say, name) || loose.Fix != tt.fix+" "+name {
			t.Errorf("%s: %+v", what, err)
		}
	}
}
