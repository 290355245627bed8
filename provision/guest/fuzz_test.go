package guest

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// A variable reaches a real bash as it is, and nothing of it is run.
func FuzzWithEnv(f *testing.F) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		f.Skip("bash is not installed")
	}
	for _, s := range []string{"", "a", "it's", "$(id)`id`", "\\", "}\nexit 5\n{", "'\"\n", "\x80", "EOF"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		script, err := withEnv([]byte(`printf %s "$VALUE"`), map[string]string{"VALUE": value})
		if strings.Contains(value, "\x00") {
			if err == nil {
				t.Error("took a NUL")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		c := exec.Command(bash, "-s")
		c.Stdin = bytes.NewReader(script)
		if out, err := c.CombinedOutput(); err != nil || string(out) != value {
			t.Errorf("%q became %q, %v", value, out, err)
		}
	})
}

// Whatever a guest prints, people get lines that they can read.
func FuzzGuestOutput(f *testing.F) {
	f.Add("status: error\ntime: x\ndetail:\n('ssh', ProcessExecutionError())\n")
	f.Add("status: done\n\x1b[31mred\x1b[0m\r\n" + strings.Repeat("x", 300))
	f.Fuzz(func(t *testing.T, text string) {
		s := parseLong(text)
		failedModule(append(s.Errors, text))
		for _, line := range append(printable(text), s.Errors...) {
			bad := func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }
			if line == "" || !utf8.ValidString(line) || utf8.RuneCountInString(line) > 163 ||
				strings.ContainsFunc(line, bad) && !strings.ContainsRune(text, utf8.RuneError) {
				t.Errorf("%q", line)
			}
		}
	})
}

func TestParseLong(t *testing.T) {
	for text, want := range map[string]struct {
		status string
		errs   string
		module string
	}{
		"status: running\ntime: Thu, 01 Jan 1970\ndetail:\nDataSourceNoCloud [seed=/dev/sr0]": {"running", "", ""},
		"status: done\ntime: x\ndetail:\nDataSourceNoCloud [seed=/dev/sr0][dsmode=net]":       {"done", "", ""},
		"status: error\ntime: x\ndetail:\n('runcmd', RuntimeError('no'))\nsecond":             {"error", "('runcmd', RuntimeError('no'))|second", "runcmd"},
		"nonsense":        {},
		"":                {},
		"detail: status:": {},
	} {
		s := parseLong(text)
		if s.Status != want.status || strings.Join(s.Errors, "|") != want.errs || failedModule(s.Errors) != want.module {
			t.Errorf("%q: %+v", text, s)
		}
	}
}
