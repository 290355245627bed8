package textfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"
)

func write(t *testing.T, data string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// encode16 is what Windows calls Unicode.
func encode16(s string, big bool) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		lo, hi := byte(u), byte(u>>8)
		if big {
			lo, hi = hi, lo
		}
		b.WriteByte(lo)
		b.WriteByte(hi)
	}
	return b.String()
}

func TestTextOfAnyEditor(t *testing.T) {
	const want = "roles:\n  ops: 值\n"
	for name, data := range map[string]string{
		"plain":     want,
		"a BOM":     "\ufeff" + want,
		"CRLF":      strings.ReplaceAll(want, "\n", "\r\n"),
		"BOM, CRLF": "\ufeff" + strings.ReplaceAll(want, "\n", "\r\n"),
		"CR":        strings.ReplaceAll(want, "\n", "\r"),
	} {
		if got, err := Read(write(t, data)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got, err := Read(write(t, "")); err != nil || len(got) > 0 {
		t.Errorf("an empty file: %q, %v", got, err)
	}
}

func TestWhatIsNoTextIsNamed(t *testing.T) {
	const text = "a: 1\nb: 2\n"
	for data, want := range map[string]string{
		"\xff\xfe" + encode16(text, false):     "UTF-16",
		"\xfe\xff" + encode16(text, true):      "UTF-16",
		encode16(text, false):                  "UTF-16LE",
		encode16(text, true):                   "UTF-16BE",
		"\xff\xfe\x00\x00a\x00\x00\x00":        "UTF-32",
		"\x7fELF\x02\x01\x01\x00\x00\x00":      "NUL",
		text + "c\x00d\n":                      ":3: ",
		strings.Repeat("a line\n", Most/7+100): "more than 16 MiB",
	} {
		name := write(t, data)
		_, err := Read(name)
		if wrong, ok := errors.AsType[*Error](err); !ok || wrong.File != name || wrong.Try == "" || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, and not %q", data, err, want)
		}
	}
}

func TestFilesThatCantBeRead(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) || !strings.HasSuffix(err.Error(), "none: there is no such file") {
		t.Errorf("no file: %v", err)
	}
	if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), "this is a folder") {
		t.Errorf("a folder: %v", err)
	}
}

func TestUTF8NamesTheLine(t *testing.T) {
	if text, err := ReadUTF8(write(t, "a\nB\u00fcro\n")); err != nil || len(text) != 8 {
		t.Error(err)
	}
	latin := write(t, "a\nB\xfcro\n")
	if _, err := Read(latin); err != nil {
		t.Errorf("a comment may be in any encoding: %v", err)
	}
	if _, err := ReadUTF8(latin); err == nil || !strings.Contains(err.Error(), latin+":2: ") {
		t.Errorf("Latin-1: %v", err)
	}
}

func TestLinesAreNumbered(t *testing.T) {
	var got []string
	for n, line := range Lines([]byte("one\n\n  three \nfour")) {
		if n != len(got)+1 {
			t.Errorf("%q is line %d", line, n)
		}
		got = append(got, line)
	}
	if strings.Join(got, "|") != "one||three|four" {
		t.Errorf("%q", got)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("a\r\nb"))
	f.Add([]byte("\xff\xfea\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, err := Decode(data)
		if err == nil && strings.ContainsAny(string(text), "\x00\r") {
			t.Errorf("%q became %q", data, text)
		}
	})
}
